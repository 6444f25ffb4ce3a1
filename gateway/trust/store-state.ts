/** What the store remembers across restarts, and its two-slot file format. */

import {
  decodeCbor,
  encodeCbor,
  expectArray,
  expectBytes,
  expectMap,
  expectText,
  expectUnsigned,
  Refusal,
} from "../../kernel/index.ts";
import type { CborInput, CborMap, CborValue } from "../../kernel/index.ts";
import { sha256Hex } from "../wire/digest.ts";
import { isResultCode } from "../wire/update-report.ts";
import type { ResultCode } from "../wire/update-report.ts";

/** One module of a set. Digests are lower-case hexadecimal: they are file names and topic levels. */
export interface InstalledModule {
  readonly sequence: number;
  /** SHA-256 of the envelope without the wasm. */
  readonly envelope: string;
  /** SHA-256 of the wasm. */
  readonly blob: string;
}

/** What runs together: all or nothing of it. */
export interface ModuleSet {
  readonly modules: ReadonlyMap<string, InstalledModule>;
  /** Digest of the configuration envelope, or null where the local file rules alone. */
  readonly configuration: string | null;
  /** Digest of the plan envelope that asked for it; null for a set that came with the gateway. */
  readonly plan: string | null;
}

/** A set that has been staged and not been committed yet. */
export interface Candidate {
  readonly set: ModuleSet;
  /** Times it was started; written before each start. */
  readonly tries: number;
}

/** The end of the last attempt, for `reported`. */
export interface LastResult {
  readonly code: ResultCode;
  readonly reason: string;
  readonly plan: string;
}

export interface StoreState {
  /** The kernel's trust state; undefined before the first boot has read the initial root. */
  readonly trust: Uint8Array | undefined;
  readonly installed: ModuleSet | undefined;
  readonly previous: ModuleSet | undefined;
  readonly candidate: Candidate | undefined;
  /** Plans that were refused for good, by digest, oldest first. */
  readonly rejected: ReadonlyMap<string, LastResult>;
  readonly last: LastResult | undefined;
  /** No report above this counter has been signed. */
  readonly counter: number;
}

export const EMPTY_STATE: StoreState = Object.freeze({
  trust: undefined,
  installed: undefined,
  previous: undefined,
  candidate: undefined,
  rejected: new Map(),
  last: undefined,
  counter: 0,
});

/** Plans that are remembered as refused; the oldest is forgotten first, and is refused anew if it comes back. */
export const REJECTED_KEPT = 32;

const FORMAT = 1;
const limits = { maxBytes: 2 << 20, maxDepth: 12, maxItems: 200_000, tags: [], deterministic: true };

/** `[format, generation, state, SHA-256 of [format, generation, state]]` */
export function encodeSlot(generation: number, state: StoreState): Uint8Array {
  const body = encodeState(state);
  return encodeCbor([FORMAT, generation, body, slotDigest(generation, body)]);
}

export interface Slot {
  readonly generation: number;
  readonly state: StoreState;
}

/** @throws Refusal E_CBOR on anything that `encodeSlot` did not write whole. */
export function decodeSlot(bytes: Uint8Array): Slot {
  const parts = expectArray(decodeCbor(bytes, limits), "state slot", 4);
  expectUnsigned(parts[0], "state format", FORMAT);
  const generation = expectUnsigned(parts[1], "state generation");
  const body = expectBytes(parts[2], "state");
  if (expectBytes(parts[3], "state digest").toHex() !== slotDigest(generation, body).toHex()) {
    throw new Refusal("E_CBOR", "a state slot does not have its digest");
  }
  return { generation, state: decodeState(body) };
}

function slotDigest(generation: number, body: Uint8Array): Uint8Array {
  return Uint8Array.fromHex(sha256Hex(encodeCbor([FORMAT, generation, body])));
}

function encodeState(state: StoreState): Uint8Array {
  const map = new Map<string, CborInput>([
    ["counter", state.counter],
    ["rejected", Array.from(state.rejected.values(), encodeResult)],
  ]);
  if (state.trust !== undefined) map.set("trust", state.trust);
  if (state.installed !== undefined) map.set("installed", encodeSet(state.installed));
  if (state.previous !== undefined) map.set("previous", encodeSet(state.previous));
  if (state.last !== undefined) map.set("last", encodeResult(state.last));
  if (state.candidate !== undefined) {
    const { set, tries } = state.candidate;
    map.set("candidate", [encodeSet(set), tries]);
  }
  return encodeCbor(map);
}

function encodeSet(set: ModuleSet): CborInput {
  const modules = Array.from(
    set.modules,
    ([name, { sequence, envelope, blob }]) =>
      [name, [sequence, Uint8Array.fromHex(envelope), Uint8Array.fromHex(blob)]] as const,
  );
  return [new Map<string, CborInput>(modules), encodeDigest(set.configuration), encodeDigest(set.plan)];
}

function encodeDigest(digest: string | null): CborInput {
  return digest === null ? null : Uint8Array.fromHex(digest);
}

function encodeResult(result: LastResult): CborInput {
  return [result.code, result.reason, Uint8Array.fromHex(result.plan)];
}

function decodeState(bytes: Uint8Array): StoreState {
  const map = expectMap(decodeCbor(bytes, limits), "state");
  const results = expectArray(map.get("rejected"), "rejected plans").map(decodeResult);
  return {
    counter: expectUnsigned(map.get("counter"), "report counter"),
    rejected: new Map(results.map((result) => [result.plan, result])),
    trust: optional(map, "trust", (value) => expectBytes(value, "trust state")),
    installed: optional(map, "installed", decodeSet),
    previous: optional(map, "previous", decodeSet),
    last: optional(map, "last", decodeResult),
    candidate: optional(map, "candidate", decodeCandidate),
  };
}

function optional<Value>(map: CborMap, key: string, read: (value: CborValue) => Value): Value | undefined {
  const value = map.get(key);
  return value === undefined ? undefined : read(value);
}

function decodeCandidate(value: CborValue): Candidate {
  const [set, tries] = expectArray(value, "candidate", 2);
  return { set: decodeSet(set), tries: expectUnsigned(tries, "tries") };
}

function decodeSet(value: CborValue | undefined): ModuleSet {
  const [modules, configuration, plan] = expectArray(value, "module set", 3);
  const entries = Array.from(expectMap(modules, "modules"), ([name, entry]): [string, InstalledModule] => {
    const [sequence, envelope, blob] = expectArray(entry, "module", 3);
    return [
      expectText(String(name), "module name"),
      {
        sequence: expectUnsigned(sequence, "sequence number"),
        envelope: expectBytes(envelope, "envelope digest", 32).toHex(),
        blob: expectBytes(blob, "wasm digest", 32).toHex(),
      },
    ];
  });
  return {
    modules: new Map(entries),
    configuration: decodeDigest(configuration, "configuration digest"),
    plan: decodeDigest(plan, "plan digest"),
  };
}

function decodeDigest(value: CborValue | undefined, field: string): string | null {
  return value === null ? null : expectBytes(value, field, 32).toHex();
}

function decodeResult(value: CborValue): LastResult {
  const [code, reason, plan] = expectArray(value, "result", 3);
  const text = expectText(code, "result code");
  return {
    code: isResultCode(text) ? text : "E_ABORTED",
    reason: expectText(reason, "reason"),
    plan: expectBytes(plan, "plan digest", 32).toHex(),
  };
}
