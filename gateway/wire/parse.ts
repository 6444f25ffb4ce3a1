/** Turns decoded frames into the typed messages of protocol.ts; whatever does not have exactly their shape is refused. */
import {
  decodeCbor,
  describeCbor,
  expectArray,
  expectBytes,
  expectInteger,
  expectKeys,
  expectMap,
  expectText,
  expectUnsigned,
  isInterfaceName,
  LIMITS,
  Refusal,
} from "../../kernel/index.ts";
import type { CborMap, CborValue, GrantParameter } from "../../kernel/index.ts";
import { FRAME_BYTES, FRAME_CBOR } from "./frames.ts";
import { parseOperatorRequest } from "./operator.ts";
import type { CoreToHost, HostBinding, HostToCore, SimulatedPart, Simulators } from "./protocol.ts";

const U32 = 0xffff_ffff;
const I32_MINIMUM = -0x8000_0000;
const I32_MAXIMUM = 0x7fff_ffff;
/** An operation has a handful of parameters; see the interface table. */
const PARAMETERS = 8;
const STATE_CHARACTERS = 48;
const PATH_CHARACTERS = 4096;

/** Object form of `CborValue`: maps with text keys. What `configure` carries as settings. */
export type Settings =
  | string
  | number
  | boolean
  | null
  | Uint8Array
  | readonly Settings[]
  | { readonly [key: string]: Settings };

/** @throws Refusal E_CBOR */
export function parseCoreToHost(value: CborValue): CoreToHost {
  const map = expectMap(value, "frame");
  const kind = expectText(map.get("kind"), "kind", STATE_CHARACTERS);
  switch (kind) {
    case "configure":
      only(map, ["settings", "bindings"]);
      return { kind, settings: plain(map.get("settings"), "settings"), bindings: bindings(map) };
    case "bind":
      only(map, ["bindings"]);
      return { kind, bindings: bindings(map) };
    case "unbind":
      only(map, ["ids"]);
      return { kind, ids: expectArray(map.get("ids"), "ids").map((id) => expectUnsigned(id, "ids", U32)) };
    case "request":
      return request(map);
    case "cancel":
      only(map, ["id"]);
      return { kind, id: expectUnsigned(map.get("id"), "id", U32) };
    case "simulate":
      only(map, ["id", "device", "quantity", "script"]);
      return {
        kind,
        id: expectUnsigned(map.get("id"), "id", U32),
        device: expectText(map.get("device"), "device", PATH_CHARACTERS),
        quantity: expectText(map.get("quantity"), "quantity", LIMITS.nameLength),
        script: plain(map.get("script"), "script"),
      };
    case "simulators":
      only(map, ["id"]);
      return { kind, id: expectUnsigned(map.get("id"), "id", U32) };
    case "answer":
      only(map, ["id", "value"]);
      return { kind, id: expectUnsigned(map.get("id"), "id", U32), value: plain(map.get("value"), "value") };
    case "refused":
      only(map, ["id", "code", "message", "hint"]);
      return {
        kind,
        id: expectUnsigned(map.get("id"), "id", U32),
        code: expectText(map.get("code"), "code", STATE_CHARACTERS),
        message: expectText(map.get("message"), "message", LIMITS.logBytes),
        hint: expectText(map.get("hint"), "hint", LIMITS.logBytes),
      };
    case "stop":
      only(map, []);
      return { kind };
    default:
      throw unknownKind(kind);
  }
}

/** The core's reading of a host process: every field is hostile. @throws Refusal E_CBOR */
export function parseHostToCore(value: CborValue): HostToCore {
  const map = expectMap(value, "frame");
  const kind = expectText(map.get("kind"), "kind", STATE_CHARACTERS);
  switch (kind) {
    case "ready":
    case "heartbeat":
      only(map, []);
      return { kind };
    case "reply":
      return reply(map);
    case "event":
      only(map, ["binding", "payload"]);
      return {
        kind,
        binding: expectUnsigned(map.get("binding"), "binding", U32),
        payload: expectBytes(map.get("payload"), "payload"),
      };
    case "status":
      only(map, ["state", "text"]);
      return {
        kind,
        state: printable(expectText(map.get("state"), "state", STATE_CHARACTERS)),
        text: printable(expectText(map.get("text"), "text", LIMITS.logBytes)),
      };
    case "log":
      only(map, ["level", "text"]);
      return {
        kind,
        level: expectUnsigned(map.get("level"), "level", 3),
        text: printable(expectText(map.get("text"), "text", LIMITS.logBytes)),
      };
    case "ask":
      only(map, ["id", "request"]);
      return {
        kind,
        id: expectUnsigned(map.get("id"), "id", U32),
        request: parseOperatorRequest(map.get("request")),
      };
    default:
      throw unknownKind(kind);
  }
}

/** What the device process says that it simulates. @throws Refusal E_CBOR */
export function parseSimulators(bytes: Uint8Array): Simulators {
  const map = expectMap(decodeCbor(bytes, FRAME_CBOR), "simulators");
  expectKeys(map, ["seconds", "parts"], "simulators");
  return {
    seconds: expectNumber(map.get("seconds"), "seconds"),
    parts: expectArray(map.get("parts"), "parts").map(parsePart),
  };
}

function parsePart(value: CborValue): SimulatedPart {
  const map = expectMap(value, "part");
  expectKeys(map, ["device", "chip", "quantities", "faults"], "part");
  const quantities = Array.from(expectMap(map.get("quantities"), "quantities"), ([name, quantity]) => [
    printable(expectText(name, "quantity", LIMITS.nameLength)),
    expectNumber(quantity, "quantity"),
  ]);
  return {
    device: printable(expectText(map.get("device"), "device", PATH_CHARACTERS)),
    chip: printable(expectText(map.get("chip"), "chip", LIMITS.nameLength)),
    quantities: Object.fromEntries(quantities) as Record<string, number>,
    faults: expectArray(map.get("faults"), "faults").map((kind) => expectText(kind, "faults", STATE_CHARACTERS)),
  };
}

function expectNumber(value: CborValue | undefined, field: string): number {
  if (typeof value === "number") return value;
  throw new Refusal("E_CBOR", `${field} is not a number`, { found: describeCbor(value) });
}

/** One line without control characters, at most a log line long: safe to write to a terminal. */
export function printable(text: string): string {
  return text
    .slice(0, LIMITS.logBytes)
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu, "·");
}

function request(map: CborMap): CoreToHost {
  only(map, ["id", "binding", "operation", "numbers", "bytes", "capacity"]);
  return {
    kind: "request",
    id: expectUnsigned(map.get("id"), "id", U32),
    binding: expectUnsigned(map.get("binding"), "binding", U32),
    operation: expectText(map.get("operation"), "operation", LIMITS.nameLength),
    numbers: few(map, "numbers").map((number) => expectInteger(number, "numbers")),
    bytes: few(map, "bytes").map((bytes) => expectBytes(bytes, "bytes")),
    capacity: expectUnsigned(map.get("capacity"), "capacity", FRAME_BYTES),
  };
}

function reply(map: CborMap): HostToCore {
  only(map, ["id", "result", "bytes"]);
  const result = expectInteger(map.get("result"), "result");
  if (result < I32_MINIMUM || result > I32_MAXIMUM) {
    throw new Refusal("E_CBOR", "result does not fit in an i32", { found: String(result) });
  }
  const bytes = expectBytes(map.get("bytes"), "bytes");
  return { kind: "reply", id: expectUnsigned(map.get("id"), "id", U32), result, bytes };
}

function few(map: CborMap, field: string): readonly CborValue[] {
  const list = expectArray(map.get(field), field);
  if (list.length > PARAMETERS) {
    throw new Refusal("E_CBOR", `${field} has too many elements`, { expected: `at most ${PARAMETERS}` });
  }
  return list;
}

function bindings(map: CborMap): HostBinding[] {
  return expectArray(map.get("bindings"), "bindings").map(parseBinding);
}

function parseBinding(value: CborValue): HostBinding {
  const map = expectMap(value, "binding");
  expectKeys(map, ["id", "interface", "owner", "rights", "parameters"], "binding");
  const name = expectText(map.get("interface"), "interface", LIMITS.nameLength);
  if (!isInterfaceName(name)) throw new Refusal("E_CBOR", "no such interface", { found: describeCbor(name) });
  const parameters = Array.from(expectMap(map.get("parameters"), "parameters"), ([key, parameter]) => [
    expectText(key, "parameter name", LIMITS.nameLength),
    grantParameter(parameter),
  ]);
  return {
    id: expectUnsigned(map.get("id"), "id", U32),
    interface: name,
    owner: printable(expectText(map.get("owner"), "owner", 2 * LIMITS.nameLength + 1)),
    rights: expectArray(map.get("rights"), "rights").map((right) => expectText(right, "rights", LIMITS.nameLength)),
    parameters: Object.fromEntries(parameters) as Record<string, GrantParameter>,
  };
}

function grantParameter(value: CborValue): GrantParameter {
  if (typeof value === "number" || typeof value === "boolean") return value;
  if (typeof value === "string") return expectText(value, "parameter", PATH_CHARACTERS);
  return expectArray(value, "parameter").map((item) => expectText(item, "parameter", U32));
}

/** Maps with text keys become objects. */
export function plain(value: CborValue | undefined, field: string): Settings {
  if (value === null || typeof value === "string" || typeof value === "number" || typeof value === "boolean")
    return value;
  if (value instanceof Uint8Array) return value;
  if (value instanceof Map) {
    return Object.fromEntries(Array.from(value as CborMap, ([key, item]) => [String(key), plain(item, field)]));
  }
  return expectArray(value, field).map((item) => plain(item, field));
}

function only(map: CborMap, keys: readonly string[]): void {
  expectKeys(map, ["kind", ...keys], "frame");
}

function unknownKind(kind: string): Refusal {
  return new Refusal("E_CBOR", "a frame is of an unknown kind", { found: describeCbor(kind) });
}
