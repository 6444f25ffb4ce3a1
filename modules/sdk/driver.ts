/** What an author writes: a class with `start` and `message`, and `save`, `restore`, `health` where it wants them. */

import { Bytes } from "./bytes";
import { Message } from "./message";
import { Reader } from "./reader";
import { Writer } from "./writer";
import { Code } from "./result";
import { trap } from "./abort";

/** What a handler gives back to a caller: `none`, `reply(bytes)` or `refuse(code)`. */
export type Reply = i64;

/** No reply: for everything but a call. */
export const none: Reply = 0;

/** Answers a call with these bytes, which must outlive the handler: a field of the driver, or a view of the message. */
export function reply(bytes: Bytes): Reply {
  if (bytes.length < 0) trap("a reply that did not fit its writer", Code.tooLarge);
  return ((<i64>bytes.address) << 32) | <i64>bytes.length;
}

/** Answers a call with an error of the module's own, -1000 or below. */
export function refuse(code: i32): Reply {
  assert(code <= Code.firstOfModule, "an error of a module is -1000 or below");
  return <i64>code;
}

/** A driver or a service. One activation at a time: nothing here is ever entered twice at once. */
export abstract class Driver {
  /**
   * Runs once, before any message; `restored` says that `restore` took over a state. Arm timers here. What the operator
   * has set is complete: `settings` of `generated/settings`, where `module.yaml` names a file of settings.
   */
  start(restored: bool): void {}

  /** Handles one message; `port` is one of the generated `Port`. */
  abstract message(port: i32, message: Message): Reply;

  /** Writes the state, at most as many bytes as `state` in `module.yaml` says. May not block. */
  save(writer: Writer): void {
    writer.nil();
  }

  /** Takes a state back that a module of schema `schema` saved; false refuses it. May not block. */
  restore(reader: Reader, schema: u32): bool {
    return reader.nil();
  }

  /** 0 is well. Asked only while nothing runs. May not block. */
  health(): i32 {
    return 0;
  }

  /** The module behind this endpoint slot is gone; calls to it fail until `peerBack`. */
  peerLost(slot: Bytes): void {}

  /** The module behind this endpoint slot runs again. */
  peerBack(slot: Bytes): void {}

  /**
   * The last message, when the gateway stops or the module is held: put what it drives into a safe state, within half a
   * second. The state was saved before, so the next start goes on as it was commanded. None comes at an update, nor to a
   * module that failed: `restart: { policy: safe-state }` has another one told then.
   */
  safeState(): void {}
}
