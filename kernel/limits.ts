/** Every bound of the kernel, each with its reason. */

const KiB = 1024;
const MiB = 1024 * KiB;

export const LIMITS = Object.freeze({
  /** A module binary. Larger ones take too long to verify and compile on a Pi, and eat the SD card. */
  binaryBytes: 8 * MiB,
  /** A message's payload. Larger ones wait for an interface `buffer`, whose name is reserved. */
  payloadBytes: 64 * KiB,
  /** The smallest inbox that can hold a header and a useful message. */
  inboxBytesMinimum: 256,
  /** A saved state. It is copied at every checkpoint. */
  stateBytes: 256 * KiB,
  /** A module's settings. They go into its inbox, behind the start notice's own bytes. */
  settingsBytes: 4 * KiB,
  /** A manifest. It is decoded before anything else of the binary is believed. */
  manifestBytes: 16 * KiB,
  /** Ports of one module, slots of one module: a table scan stays short. */
  ports: 64,
  slots: 64,
  /** Names of modules, ports and slots: file names and topic levels are built from them. */
  nameLength: 48,
  /** Pages of 64 KiB that a module may be granted: the ABI's 2 GiB less one page, so that a length never overflows i32. */
  memoryPages: 32767,
  /** Entries of all tables of a module after clamping: each takes up to 24 bytes of its partition's heap. */
  tableEntries: 65_536,
  /** The most that a module can be rewritten for: 2 GiB, so that addresses are non-negative as i32, as the ABI's results need. */
  quotaPages: 32_768,
  /** Tables of one binary; they share the entries. */
  binaryTables: 16,
  /** Types, imports, functions, exports, elements, ... of one binary in all: each becomes an object of its own. */
  binaryItems: 250_000,
  /** Parameters or results of one type; V8's own bound is 1,000, and no toolchain comes near either. */
  typeArity: 128,
  /** V8 compiles a function in time that grows faster than its size; 64 KiB bounds one function to milliseconds. */
  functionBytes: 64 * KiB,
  /** Parameters and locals of one function after rewriting: every control instruction merges all of them. */
  functionLocals: 500,
  /** (Locals + operand stack) x control instructions of one function: the quadratic term of V8's compile time. */
  functionMerges: 1_000_000,
  /** Mutable globals of an instance that can be copied: each needs a function of its own. */
  copiedGlobals: 1000,
  /** Abstract bytes of a frame that is not counted where it calls nothing: the host's headroom covers it. */
  uncountedFrameBytes: 1024,
  /** Abstract stack bytes of an activation; leaves V8's 1 MiB worker stack its headroom for host frames. */
  stackBytes: 256 * KiB,
  /** Most fuel of one slice, and what manifests may count with; a machine on which it takes more than 200 µs gives less. */
  sliceFuel: 200_000,
  /** Fuel an activation can declare: fits the i32 counter with room below zero. */
  activationFuelMaximum: 1_000_000_000_000,
  /** Fuel of one entry outside a handler (start, save, restore, health): it can't be sliced, so it holds up its neighbours. */
  entryFuel: 20_000_000,
  /** How often an idle module is asked whether it is well, in milliseconds. */
  healthMilliseconds: 1000,
  /** Messages that wait in one mailbox, where the route names no depth. */
  mailboxDepth: 64,
  /** Bytes of one route that wait in a mailbox: four messages of the greatest size. */
  edgeBytes: 256 * KiB,
  /** Bytes of buffers that a mailbox keeps for later messages. */
  spareBytes: 512 * KiB,
  /** Bytes of inputs that are kept during a probation, for the old version should it come back. */
  probationBytes: 4 * MiB,
  /** Edges that are ever made in one run: routes, and those of regranted slots. One word of shared memory each. */
  edges: 65_536,
  /** Handles that one module may hold. */
  handles: 1024,
  /** Calls and requests of one module that wait for an answer. */
  pendingRequests: 64,
  /** Of the message that was being handled at a fault: told to whoever looks for its cause. */
  faultInputBytes: 1 * KiB,
  /** Of what goes into a module, kept for a capsule should it fail: some hundreds of small messages. */
  recordingBytes: 320 * KiB,
  /** Linear memory that a recording begins anew from when it is full: copied, so it holds up its neighbours. */
  snapshotBytes: 4 * MiB,
  /** A log line; a longer one is cut. */
  logBytes: 1 * KiB,
  /** Log lines a second and module; more are counted, not written. */
  logLinesPerSecond: 50,
  /** Denials told a second and module; more are counted. */
  denialsPerSecond: 10,
  /** Bytes of one ring between two partitions, each direction. */
  channelBytes: 1 * MiB,
} as const);
