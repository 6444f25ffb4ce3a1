/** Names the WebAssembly proposals that are not accepted, so that a refusal says what to switch off. */

import { refuseWasm } from "./bytes.ts";

/** Refuses a use of a proposal beyond WebAssembly 2.0 and tail calls, by name. */
export function refuseProposal(proposal: string, what: string, at: number): never {
  refuseWasm(`${what} belongs to the ${proposal} proposal, which is not accepted`, at, {
    expected: "WebAssembly 2.0 and tail calls",
    found: proposal,
    hint: `compile without ${proposal}`,
  });
}

const GC = "garbage collection";
const REFERENCES = "typed function references";
const EXCEPTIONS = "exception handling";
const STACKS = "stack switching";
const DESCRIPTORS = "custom descriptors";
const STRINGS = "reference-typed strings";

/** Proposals by the bytes or opcodes that are theirs. */
function byByte(rows: readonly (readonly [string, ...number[]])[]): ReadonlyMap<number, string> {
  return new Map(rows.flatMap(([proposal, ...bytes]) => bytes.map((byte) => [byte, proposal] as const)));
}

const TYPE_BYTES = byByte([
  [EXCEPTIONS, 0x74, 0x69],
  [STACKS, 0x75, 0x68, 0x5d],
  ["shared-everything threads", 0x65],
  [REFERENCES, 0x64, 0x63, 0x60],
  [DESCRIPTORS, 0x62, 0x4d, 0x4c],
  [STRINGS, 0x67, 0x66, 0x61],
  [GC, 0x73, 0x72, 0x71, 0x6e, 0x6d, 0x6c, 0x6b, 0x6a, 0x78, 0x77, 0x5f, 0x5e, 0x50, 0x4f, 0x4e],
]);

/** Refuses a byte where a value, reference or composite type was expected. */
export function refuseType(byte: number, at: number): never {
  const proposal = TYPE_BYTES.get(byte);
  if (proposal !== undefined) refuseProposal(proposal, `type 0x${byte.toString(16)}`, at);
  return refuseWasm("an unknown type", at, { found: `0x${byte.toString(16)}` });
}

const OPCODES = byByte([
  [EXCEPTIONS, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f],
  [REFERENCES, 0x14, 0x15, 0x16, 0xd4, 0xd5, 0xd6],
  [GC, 0xd3, 0xfb],
  [STACKS, 0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6],
  ["threads", 0xfe],
]);

/** Refuses an opcode that is none of WebAssembly 2.0; `prefix` is 0 for the one-byte opcodes. */
export function refuseOpcode(prefix: number, opcode: number, at: number): never {
  const what = `opcode 0x${prefix === 0 ? "" : `${prefix.toString(16)} 0x`}${opcode.toString(16)}`;
  if (prefix === 0xfd && opcode >= 0x120) refuseProposal("half precision", what, at);
  if (prefix === 0xfd && opcode >= 0x100) refuseProposal("relaxed SIMD", what, at);
  if (prefix === 0xfc && opcode === 0x12) refuseProposal("memory control", what, at);
  if (prefix === 0xfc && opcode >= 0x13 && opcode <= 0x16) refuseProposal("wide arithmetic", what, at);
  const proposal = prefix === 0 ? OPCODES.get(opcode) : undefined;
  if (proposal !== undefined) refuseProposal(proposal, what, at);
  return refuseWasm("an unknown instruction", at, { found: what });
}

/** Refuses limits whose flag byte says more than `maximum present`. */
export function refuseLimits(flags: number, at: number): never {
  const what = `a limit with flags 0x${flags.toString(16)}`;
  if (flags > 0x0f) refuseWasm("unknown limits", at, { found: `flags 0x${flags.toString(16)}` });
  if ((flags & 8) !== 0) refuseProposal("custom page sizes", what, at);
  if ((flags & 2) !== 0) refuseProposal("threads", what, at);
  return refuseProposal("memory64", what, at);
}

/** Refuses a section that WebAssembly 2.0 does not have. */
export function refuseSection(id: number, at: number): never {
  if (id === 13) refuseProposal(EXCEPTIONS, "the tag section", at);
  if (id === 14) refuseProposal(STRINGS, "the string section", at);
  return refuseWasm("an unknown section", at, { found: `section ${id}` });
}

/** Refuses an import or export kind that WebAssembly 2.0 does not have. */
export function refuseKind(kind: number, at: number): never {
  if (kind === 4) refuseProposal(EXCEPTIONS, "a tag", at);
  return refuseWasm("an unknown kind of import or export", at, { found: `kind ${kind}` });
}
