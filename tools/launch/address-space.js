/** How much address space a process gets here, and what follows for Wasm memories: V8 reserves gigabytes for each. */
import { readFileSync } from "node:fs";

/**
 * With its trap handler V8 reserves 8 GiB of address space and more for each memory, so that it need not check bounds: 63
 * modules fill 512 GiB. Without, a memory reserves its declared maximum, and code checks its bounds. From 16 TiB on a
 * thousand modules fit with it.
 */
const ROOMY_BYTES = 2 ** 44;
const NO_TRAP_HANDLER = "--disable-wasm-trap-handler";

/**
 * @typedef {{
 *   readonly bytes: number;
 *   readonly bits: number;
 *   readonly limitBytes: number;
 *   readonly isSmall: boolean;
 *   readonly flags: readonly string[];
 *   readonly text: string;
 * }} AddressSpace `bits` as the kernel lays processes out, `limitBytes` by `ulimit -v`, `bytes` what both leave
 */

/**
 * Measures this process: where its stack lies says how many bits there are. What cannot be read counts as roomy.
 *
 * @param {(path: string) => string} read
 * @returns {AddressSpace}
 */
export function measureAddressSpace(read = (path) => readFileSync(path, "utf8")) {
  const bits = bitsOf(attempt(() => read("/proc/self/maps")));
  const limitBytes = limitOf(attempt(() => read("/proc/self/limits")));
  const bytes = Math.min(2 ** bits, limitBytes);
  const isSmall = bytes < ROOMY_BYTES;
  const room = `${bits} bits of address space${limitBytes === Infinity ? "" : `, limited to ${limitBytes / 2 ** 30} GiB`}`;
  const decision = isSmall ? "Wasm memories are checked in code, so that a thousand fit" : "Wasm memories are guarded";
  return { bytes, bits, limitBytes, isSmall, flags: isSmall ? [NO_TRAP_HANDLER] : [], text: `${room}: ${decision}` };
}

/** @param {() => string} read */
function attempt(read) {
  try {
    return read();
  } catch {
    return "";
  }
}

/** @param {string} maps */
function bitsOf(maps) {
  const stack = /^[0-9a-f]+-([0-9a-f]+) .*\[stack\]$/m.exec(maps)?.[1];
  return stack === undefined ? 47 : Math.ceil(Math.log2(Number.parseInt(stack, 16)));
}

/** @param {string} limits */
function limitOf(limits) {
  const soft = /^Max address space\s+(\d+)/m.exec(limits)?.[1];
  return soft === undefined ? Infinity : Number(soft);
}
