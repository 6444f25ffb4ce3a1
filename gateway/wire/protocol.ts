/** The messages between the core and a host process (device or link): one shape for every interface. */
import type { GrantParameter, InterfaceName } from "../../kernel/index.ts";

import type { OperatorRequest } from "./operator.ts";

/** One bound slot as the host process sees it; `id` is a number of the core's choosing, never reused in a process's life. */
export interface HostBinding {
  readonly id: number;
  readonly interface: InterfaceName;
  /** `module.slot`, for logs and errors only. */
  readonly owner: string;
  readonly rights: readonly string[];
  readonly parameters: Readonly<Record<string, GrantParameter>>;
}

/** A simulated device: its address as `simulate` takes it, and what can be turned. */
export interface SimulatedPart {
  readonly device: string;
  readonly chip: string;
  readonly quantities: Readonly<Record<string, number>>;
  /** Kinds of faults that are active. */
  readonly faults: readonly string[];
}

/** `seconds` is the clock that scripts and faults go by. */
export interface Simulators {
  readonly seconds: number;
  readonly parts: readonly SimulatedPart[];
}

/**
 * Core to host. `configure` comes first, once; `bind` and `unbind` may follow.
 * A request's `numbers` are the operation's i32 and i64 parameters in order, `bytes` its byte parameters in order,
 * `capacity` the room of its buffer parameter (0 where it has none).
 */
export type CoreToHost =
  | { readonly kind: "configure"; readonly settings: unknown; readonly bindings: readonly HostBinding[] }
  | { readonly kind: "bind"; readonly bindings: readonly HostBinding[] }
  | { readonly kind: "unbind"; readonly ids: readonly number[] }
  | {
      readonly kind: "request";
      readonly id: number;
      readonly binding: number;
      readonly operation: string;
      readonly numbers: readonly number[];
      readonly bytes: readonly Uint8Array[];
      readonly capacity: number;
    }
  | { readonly kind: "cancel"; readonly id: number }
  /** Turns a quantity of a simulated device live; `script` is plain data. Answered by a reply like a request. */
  | {
      readonly kind: "simulate";
      readonly id: number;
      readonly device: string;
      readonly quantity: string;
      readonly script: unknown;
    }
  /** Asks for the simulated devices. Answered by a reply whose bytes are the CBOR of a `Simulators`. */
  | { readonly kind: "simulators"; readonly id: number }
  /** Answers an `ask`: a value, or the code and message of the refusal. */
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | {
      readonly kind: "refused";
      readonly id: number;
      readonly code: string;
      readonly message: string;
      readonly hint: string;
    }
  | { readonly kind: "stop" };

/**
 * Host to core. `result` follows the ABI: 0 and above success, below a kernel result code.
 * `bytes` of a reply fill the operation's buffer (at most `capacity`); `payload` of an event is the CBOR of the interface
 * table's `event`. `status` is for people and health: a stable word and a sentence. `heartbeat` comes each second.
 */
export type HostToCore =
  | { readonly kind: "ready" }
  | { readonly kind: "reply"; readonly id: number; readonly result: number; readonly bytes: Uint8Array }
  | { readonly kind: "event"; readonly binding: number; readonly payload: Uint8Array }
  | { readonly kind: "status"; readonly state: string; readonly text: string }
  | { readonly kind: "log"; readonly level: number; readonly text: string }
  /** What an operator asks for, at the page that the process serves: the link process only. */
  | { readonly kind: "ask"; readonly id: number; readonly request: OperatorRequest }
  | { readonly kind: "heartbeat" };
