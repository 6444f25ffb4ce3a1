/**
 * What the owner of a gateway may ask it through its socket: to look, to stop and start what is placed, and to turn simulated
 * values. Nothing here changes what is placed or what it may do: that takes a signed document.
 */
import { expectBoolean, expectKeys, expectMap, expectText, expectUnsigned, Refusal } from "../../kernel/index.ts";
import type { CborValue } from "../../kernel/index.ts";
import { parseOperatorRequest } from "./operator.ts";
import type { OperatorRequest } from "./operator.ts";
import { parseCoreToHost } from "./parse.ts";
import type { CoreToHost } from "./protocol.ts";

/** The socket's name in the data folder. */
export const CONTROL_SOCKET = "control.sock";

/**
 * Each is answered by `{ id, value }`, or by `{ id, code, message, detail }`. After `events`, frames `{ event }` and, where
 * the reader was too slow, `{ missed }` follow until the connection ends.
 */
export type ControlRequest =
  | { readonly kind: "top" | "events"; readonly id: number }
  /** Begins a trace or goes on with it, or ends it. Answer: `TraceAnswer`. */
  | { readonly kind: "trace"; readonly id: number; readonly isWanted: boolean }
  | { readonly kind: "operator"; readonly id: number; readonly request: OperatorRequest }
  | Extract<CoreToHost, { readonly kind: "simulate" | "simulators" }>;

const KIND_CHARACTERS = 16;
const U32 = 0xffff_ffff;

/** @throws Refusal E_CBOR */
export function parseControlRequest(value: CborValue): ControlRequest {
  const map = expectMap(value, "request");
  const kind = expectText(map.get("kind"), "kind", KIND_CHARACTERS);
  switch (kind) {
    case "top":
    case "events":
      expectKeys(map, ["kind", "id"], "request");
      return { kind, id: expectUnsigned(map.get("id"), "id", U32) };
    case "trace":
      expectKeys(map, ["kind", "id", "isWanted"], "request");
      return {
        kind,
        id: expectUnsigned(map.get("id"), "id", U32),
        isWanted: expectBoolean(map.get("isWanted"), "isWanted"),
      };
    case "operator":
      expectKeys(map, ["kind", "id", "request"], "request");
      return {
        kind,
        id: expectUnsigned(map.get("id"), "id", U32),
        request: parseOperatorRequest(map.get("request")),
      };
    case "simulate":
    case "simulators":
      // SAFETY: the kind has just been compared, and decides what comes back.
      return parseCoreToHost(value) as Extract<ControlRequest, { kind: "simulate" | "simulators" }>;
    default:
      throw new Refusal("E_CBOR", "a request of an unknown kind", { found: kind });
  }
}
