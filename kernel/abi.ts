/** The guest ABI, version 1: the one source of every number that crosses between the kernel and a module. */

/** The version that a manifest must name and that every header carries. Frozen: a change of this file is a new version. */
export const ABI_VERSION = 1;

/** The custom section of the binary that holds the manifest as CBOR. */
export const MANIFEST_SECTION = "bulkhead";

/** Slots whose name starts so are the kernel's own; no module may name one, except `handles`. */
export const RESERVED_PREFIX = "bulkhead";

/** The slot of operations on handles that were received in messages or derived from endpoint slots. */
export const HANDLES_SLOT = "handles";

/** One export that a module must or may have; `type` is written as WAT writes it. */
export interface AbiExport {
  readonly name: string;
  readonly type: string;
  readonly required: boolean;
}

/**
 * The exports, in the order in which the kernel first uses them.
 * `_initialize` is the WASI reactor's; a `start` section runs just before it, metered like it.
 */
export const ABI_EXPORTS: readonly AbiExport[] = Object.freeze([
  { name: "memory", type: "memory", required: true },
  { name: "_initialize", type: "()->()", required: false },
  { name: "bulkhead_inbox", type: "()->i32", required: true },
  { name: "bulkhead_handle", type: "(i32,i32)->i64", required: true },
  { name: "bulkhead_save", type: "()->i64", required: false },
  { name: "bulkhead_state", type: "(i32)->i32", required: false },
  { name: "bulkhead_restore", type: "(i32,i32)->i32", required: false },
  { name: "bulkhead_health", type: "()->i32", required: false },
]);

/** `bulkhead_save`, `bulkhead_state` and `bulkhead_restore` come together or not at all. */
export const STATE_EXPORTS = Object.freeze(["bulkhead_save", "bulkhead_state", "bulkhead_restore"] as const);

/**
 * The header at the start of the inbox, little-endian. The kernel writes every byte of it; nothing in it can be forged.
 *
 *      0        2      3        4                 8               12
 *      +--------+------+--------+-----------------+---------------+
 *      | version| kind | handles| payload length  | sender module |
 *      +--------+------+--------+-----------------+---------------+
 *     12                16      20            24            28    32
 *      +----------------+-------+-------------+-------------+-----+
 *      | sender generat.| badge | correlation | lost before | 0   |
 *      +----------------+-------+-------------+-------------+-----+
 *     32                                                         64
 *      +----------------------------------------------------------+
 *      | eight handles, u32 each, valid for this module only      |
 *      +----------------------------------------------------------+
 */
export const HEADER = Object.freeze({
  version: 0,
  kind: 2,
  handles: 3,
  length: 4,
  senderModule: 8,
  senderGeneration: 12,
  badge: 16,
  correlation: 20,
  lost: 24,
  reserved: 28,
  handleList: 32,
  size: 64,
} as const);

/**
 * Where a module that gives up may say why, in the bytes just before its inbox; nobody has to. Read after a trap only.
 *
 *      -256     -252     -248     -244     -240                 0
 *      +--------+--------+--------+--------+--------------------+
 *      | "BKAB" | line   | column | length | text, UTF-8        | inbox
 *      +--------+--------+--------+--------+--------------------+
 *
 * The text is `file: message`; without a column it is a message alone, and the line is a code of the module's.
 */
export const ABORT_RECORD = Object.freeze({ size: 256, magic: 0x4241_4b42, line: 4, column: 8, length: 12, text: 16 });

/** Kinds of message. */
export const KIND = Object.freeze({ send: 1, call: 2, event: 3, reply: 4, notice: 5 } as const);
export type MessageKind = keyof typeof KIND;

/** The port of the kernel's own notices. Manifest ports are numbered from 0 in the order of the manifest. */
export const KERNEL_PORT = 0xffff;

/**
 * Notices on `KERNEL_PORT`; the payload is a CBOR array that starts with this number.
 * `start` comes first after every instantiation: `[1, restored (bool)]`, and the operator's settings as a third element
 * where the configuration has any. What follows the elements that a module knows is for a later ABI: it reads past them.
 * `peerLost` and `peerBack` name a slot: `[2, slot]`, `[3, slot]`, and where the slot is `handles` also the
 * handle: `[2, "handles", handle]`. `safeState` is the last message, `[4]`: see `Runner.hold`.
 */
export const NOTICE = Object.freeze({ start: 1, peerLost: 2, peerBack: 3, safeState: 4 } as const);

/** A message's handles, at most. */
export const MAXIMUM_HANDLES = 8;

/** In the array of handles given to `send`: this bit asks for a copy; without it the handle moves. */
export const HANDLE_COPY = 0x8000_0000;

/** Rights of an endpoint capability, as bits; `pass` allows handing it on in a message. */
export const ENDPOINT_RIGHT = Object.freeze({ send: 1, call: 2, pass: 4 } as const);
export type EndpointRight = keyof typeof ENDPOINT_RIGHT;

const RESULT_LIST = [
  ["denied", "the capability lacks the right, or was revoked"],
  ["dead-peer", "the other module died or was replaced before it answered, or the handle is stale"],
  ["timeout", "the deadline passed"],
  ["full", "the receiver's mailbox is full and the route refuses"],
  ["busy", "the callee is running and the caller cannot wait for it"],
  ["too-large", "the message, reply or buffer is larger than allowed or than the space given"],
  ["bad-address", "an address range lies outside the module's memory"],
  ["bad-handle", "no such handle"],
  ["not-found", "no such key, path or device"],
  ["io", "the device, bus, file or network failed"],
  ["invalid", "an argument is outside its range"],
  ["unsupported", "this host has no such operation"],
  ["no-fuel", "the caller's remaining fuel does not cover what the port declares"],
  ["no-stack", "the caller's remaining stack does not cover what the port declares"],
  ["level", "the call would not go upward and could close a cycle of waiting"],
  ["quota", "a quota of bytes, timers, handles or requests is used up"],
  ["contract", "the message does not satisfy the port's contract"],
  ["not-acknowledged", "the addressed device did not acknowledge (I2C NACK)"],
  ["cancelled", "the operation was given up because the module or the host process is stopping"],
] as const;

export type ResultName = (typeof RESULT_LIST)[number][0];

/** The kernel's result codes, from -1 downward in this order: -1 to -999 come from the kernel only, 0 and above are success. */
export const RESULT_CODES = Object.freeze(
  RESULT_LIST.map(([name, meaning], index) => Object.freeze({ code: -1 - index, name, meaning })),
);

/** Result code by name: `RESULT.denied` is -1. */
// SAFETY: the names are those of the list, each once.
export const RESULT = Object.freeze(Object.fromEntries(RESULT_CODES.map(({ name, code }) => [name, code]))) as Readonly<
  Record<ResultName, number>
>;

/** A module's own errors are this and below; a handler that returns a kernel code (-1 to -999) is itself at fault. */
export const FIRST_MODULE_ERROR = -1000;

/** Name of a result, for messages: `dead-peer`, `module error -1003`, `ok`. */
export function resultName(code: number): string {
  if (code >= 0) return "ok";
  return RESULT_CODES[-1 - code]?.name ?? (code <= FIRST_MODULE_ERROR ? `module error ${code}` : `unknown ${code}`);
}
