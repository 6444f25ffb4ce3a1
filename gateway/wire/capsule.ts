/** The capsule file: a failure of a module with all that led to it, as deterministic CBOR, open or sealed to an operator's key. */
import { deflateRawSync, inflateRawSync } from "node:zlib";
import type { CborLimits, CborMap, FaultCause, ImportedOperation, RecordedFailure } from "../../kernel/index.ts";
import {
  decodeCbor,
  encodeCbor,
  expectArray,
  expectBoolean,
  expectBytes,
  expectInteger,
  expectKeys,
  expectMap,
  expectText,
  expectUnsigned,
  findOperation,
  isInterfaceName,
  LIMITS,
  Refusal,
} from "../../kernel/index.ts";
import { readEvents } from "./capsule-events.ts";
import { isSealed, seal, unseal } from "./capsule-seal.ts";

export interface Capsule extends RecordedFailure {
  /** When it was made, milliseconds since 1970. */
  readonly time: number;
  /** As `process.arch` of the gateway has it. */
  readonly architecture: string;
  /** True where secrets were left out: it can be looked at, and not be run again. */
  readonly isRedacted: boolean;
}

/** The longest file: memory that does not compress, and the events. */
export const CAPSULE_BYTES = LIMITS.snapshotBytes + 2 * LIMITS.recordingBytes;
/** Below the data folder: a folder of capsules for each module. */
export const CAPSULE_FOLDER = "capsules";
export const CAPSULE_SUFFIX = ".capsule";
const FORMAT = 2;
const MAXIMUM_IMPORTS = 4096;
const TEXT = 4096;
/** The last millisecond that a date can have (ECMA-262, section 21.4.1.1). */
const LATEST = 8_640_000_000_000_000;
const CBOR_LIMITS: CborLimits = {
  maxBytes: CAPSULE_BYTES,
  maxDepth: 4,
  maxItems: 4 * MAXIMUM_IMPORTS + 256,
  tags: [],
  deterministic: true,
};
const CAUSES: readonly FaultCause[] = ["trap", "budget", "stack", "timeout", "contract", "host", "state", "health"];
const KEYS = (
  "format time architecture nans redacted module generation sha256 metered imports cause text trace fuel slice memory " +
  "before messages whole events base"
).split(" ");

/** True for an operation that hands the module, or takes from it, what nobody else may see. */
function isSecretOperation({ interface: name, operation }: ImportedOperation): boolean {
  return findOperation(name, operation)?.parameters.some(({ isSecret }) => isSecret === true) ?? false;
}

/** What may be kept in the open: nothing that a secret operation gave, nor memory and state that may hold it. */
function redacted(capsule: Capsule): Capsule {
  const { events } = capsule;
  const words = events.words.slice();
  // What was written for no call is a state.
  let isSecret = true;
  for (const event of readEvents(words, capsule.imports)) {
    if (event.kind === "called") isSecret = isSecretOperation(event.operation);
    else if (event.kind !== "wrote") isSecret = true;
    else if (isSecret) event.bytes.fill(0);
  }
  return { ...capsule, isRedacted: true, events: { ...events, words, base: undefined, isWhole: false } };
}

/** What a capsule's file holds: all, all but secrets, or all for one reader. */
export type CapsuleForm = "whole" | "redacted" | "sealed";

export function formOf({ imports }: Pick<Capsule, "imports">, recipient: Uint8Array | undefined): CapsuleForm {
  if (recipient !== undefined) return "sealed";
  return imports.some(isSecretOperation) ? "redacted" : "whole";
}

/** The file's bytes: sealed where there is a recipient; else without what may be secret. */
export function encodeCapsule(capsule: Capsule, recipient: Uint8Array | undefined): Uint8Array {
  if (recipient !== undefined) return seal(encodePlain(capsule), recipient);
  return encodePlain(formOf(capsule, recipient) === "redacted" ? redacted(capsule) : capsule);
}

function encodePlain(capsule: Capsule): Uint8Array {
  const { words, before, messages, base, isWhole } = capsule.events;
  return encodeCbor({
    format: FORMAT,
    time: capsule.time,
    architecture: capsule.architecture,
    nans: capsule.canonicalNans,
    redacted: capsule.isRedacted,
    module: capsule.name,
    generation: capsule.generation,
    sha256: fromHex(capsule.sha256),
    metered: fromHex(capsule.metered),
    imports: capsule.imports.map(({ slot, operation, interface: name }) => [slot, operation, name]),
    cause: capsule.cause,
    text: cut(capsule.text),
    trace: cut(capsule.trace ?? ""),
    fuel: capsule.fuel,
    slice: capsule.sliceFuel,
    memory: capsule.memoryBytes,
    before,
    messages,
    whole: isWhole,
    events: packed(bytesOf(words)),
    base: base === undefined ? null : [packed(base.memory), base.memory.length, bytesOf(base.globals), base.inbox],
  });
}

/**
 * Reads a capsule from anywhere.
 * @param key the private key for a sealed one
 * @throws Refusal E_CBOR, E_SIZE for what is no capsule; E_KEY where it is sealed and the key is missing or another
 */
export function decodeCapsule(file: Uint8Array, key?: Uint8Array): Capsule {
  try {
    const map = expectMap(decodeCbor(file, CBOR_LIMITS), "capsule");
    if (!isSealed(map)) return readCapsule(map);
    return readCapsule(expectMap(decodeCbor(unseal(map, key), CBOR_LIMITS), "capsule"));
  } catch (error) {
    if (!(error instanceof Refusal) || error.code === "E_KEY") throw error;
    throw new Refusal(error.code, `this is not a sound capsule: ${error.message}`, error.detail);
  }
}

function readCapsule(map: CborMap): Capsule {
  expectKeys(map, KEYS, "capsule");
  const text = (key: string): string => expectText(map.get(key), key, TEXT);
  const unsigned = (key: string, most?: number): number => expectUnsigned(map.get(key), key, most);
  const format = expectInteger(map.get("format"), "format");
  if (format !== FORMAT)
    throw new Refusal("E_CBOR", "another format of capsule", { expected: `${FORMAT}`, found: `${format}` });
  const cause = CAUSES.find((known) => known === map.get("cause"));
  if (cause === undefined) throw new Refusal("E_CBOR", "an unknown cause", { expected: CAUSES.join(", ") });
  const imports = expectArray(map.get("imports"), "imports").map(readImport);
  const events = readRecorded(map);
  // Reading them once proves that they are sound.
  readEvents(events.words, imports);
  return {
    time: unsigned("time", LATEST),
    architecture: text("architecture"),
    canonicalNans: expectBoolean(map.get("nans"), "nans"),
    isRedacted: expectBoolean(map.get("redacted"), "redacted"),
    name: text("module"),
    generation: unsigned("generation"),
    sha256: expectBytes(map.get("sha256"), "sha256", 32).toHex(),
    metered: expectBytes(map.get("metered"), "metered", 32).toHex(),
    imports,
    cause,
    text: text("text"),
    trace: text("trace"),
    fuel: expectInteger(map.get("fuel"), "fuel"),
    sliceFuel: unsigned("slice", 0x7fff_ffff),
    memoryBytes: unsigned("memory", 2 ** 32),
    events,
  };
}

function readRecorded(map: CborMap): RecordedFailure["events"] {
  const events = unpacked(expectBytes(map.get("events"), "events"), LIMITS.recordingBytes, "events");
  const written = map.get("base");
  const [memory, size, globals, inbox] = written === null ? [] : expectArray(written, "base", 4);
  const bytes = expectUnsigned(size ?? 0, "size of the memory", LIMITS.snapshotBytes);
  return {
    words: wordsOf(events, "events"),
    before: expectUnsigned(map.get("before"), "before"),
    messages: expectUnsigned(map.get("messages"), "messages"),
    isWhole: expectBoolean(map.get("whole"), "whole"),
    base:
      written === null
        ? undefined
        : {
            inbox: expectUnsigned(inbox, "inbox", bytes),
            memory: exactly(unpacked(expectBytes(memory, "memory"), bytes, "memory"), bytes),
            globals: wordsOf(expectBytes(globals, "globals"), "globals"),
          },
  };
}

function readImport(value: unknown): ImportedOperation {
  const [slot, operation, name] = expectArray(value as never, "import", 3).map((text) =>
    expectText(text, "import", 64),
  );
  if (slot === undefined || operation === undefined || name === undefined || !isInterfaceName(name))
    throw new Refusal("E_CBOR", "an import of no known interface", { found: name ?? "nothing" });
  if (findOperation(name, operation) === undefined)
    throw new Refusal("E_CBOR", `the interface ${name} has no operation ${operation}`);
  return { slot, operation, interface: name };
}

function exactly(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length === length) return bytes;
  throw new Refusal("E_SIZE", "the memory is not as long as it says", {
    expected: `${length} bytes`,
    found: `${bytes.length}`,
  });
}

function packed(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(deflateRawSync(bytes));
}

function unpacked(bytes: Uint8Array, most: number, what: string): Uint8Array {
  try {
    return new Uint8Array(inflateRawSync(bytes, { maxOutputLength: Math.max(most, 1) }));
  } catch (error) {
    const found = error instanceof Error ? error.message : "";
    throw new Refusal("E_SIZE", `the ${what} cannot be unpacked`, { expected: `at most ${most} bytes`, found });
  }
}

/** Both are little-endian on every processor that Bulkhead runs on. */
function bytesOf({ buffer, byteOffset, byteLength }: Int32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function wordsOf(bytes: Uint8Array, what: string): Int32Array {
  if (bytes.length % 4 !== 0)
    throw new Refusal("E_SIZE", `the ${what} are not whole words`, { found: `${bytes.length}` });
  return new Int32Array(bytes.slice().buffer);
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.fromHex(text);
}

function cut(text: string): string {
  return text.slice(0, TEXT).toWellFormed();
}
