/** Bounds on what a guest binary may ask of the compiler and of memory, each with its reason. */

/** V8 compiles a function in time that grows faster than its size; 64 KiB bounds one function to milliseconds. */
export const MAXIMUM_BODY_BYTES = 64 * 1024;
/** Parameters and locals of one function after rewriting: every control instruction merges all of them. */
export const MAXIMUM_LOCALS = 500;
/** (Locals + operand stack) x control instructions of one function: the quadratic term of V8's compile time. */
export const MAXIMUM_MERGES = 1_000_000;
/** Parameters or results of one type; V8's own bound is 1,000, and no toolchain comes near either. */
export const MAXIMUM_ARITY = 128;
/** Types, imports, functions, exports, elements, ... of one binary in all: each becomes an object of its own. */
export const MAXIMUM_ITEMS = 250_000;
/** Each table may grow to the quota, so their number is bounded as well. */
export const MAXIMUM_TABLES = 16;
/** Mutable globals of an instance that can be copied: each needs a function of its own. */
export const MAXIMUM_COPIED = 1000;
/** 2 GiB in pages: a guest's addresses are non-negative as i32, which the ABI's results rely on. */
export const MAXIMUM_MEMORY_PAGES = 32_768;
/** A frame of at most this many abstract bytes is not counted where it calls nothing: the host's headroom covers it. */
export const UNCOUNTED_FRAME = 1024;
