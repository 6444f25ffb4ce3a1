/** Driver of a relay on a GPIO line: switched by messages, off when nobody knows better. */

import { Switch } from "bulkhead/interfaces/switches";
import {
  Bytes,
  Code,
  Driver,
  Kind,
  Message,
  none,
  Reader,
  refuse,
  register,
  Reply,
  reply,
  Result,
  Writer,
} from "bulkhead/sdk";
import { Source } from "bulkhead/sdk/source";
import { settings } from "./generated/settings";
import { clock, line, log, MODULE_NAME, readings } from "./generated/slots";

const WRONG_MESSAGE: i32 = Code.firstOfModule;
const LINE_FAILED: i32 = Code.firstOfModule - 1;
const OTHER_MODULE: i32 = Code.firstOfModule - 2;
/** Nothing is measured in a period here, but what is carried over a restart is the same. */
const UNUSED_PERIOD_MS: i32 = 1000;

class GpioRelay extends Driver {
  private source: Source = new Source(MODULE_NAME, UNUSED_PERIOD_MS);
  private command: Switch = new Switch();
  private answer: Writer = new Writer(16);
  private isOn: bool = false;
  private hasFailed: bool = false;
  private quantity: Bytes = Bytes.fromText("on");
  private ratio: Bytes = Bytes.fromText("1");
  private name: Bytes = Bytes.fromText(MODULE_NAME);

  /** After a crash the relay stays as it was: whatever it drives should not stutter. Else it begins switched off. */
  start(restored: bool): void {
    const set = this.set(this.isOn);
    if (set.failed) log.failure("the line cannot be set", set);
    else this.tell();
  }

  /** A call is answered with the state that the relay has now. */
  message(port: i32, message: Message): Reply {
    if (!this.command.decode(message.read())) return refuse(WRONG_MESSAGE);
    if (this.command.hasModule && !this.command.module.equals(this.name)) {
      return message.kind == Kind.call ? refuse(OTHER_MODULE) : none;
    }
    const wasOn = this.isOn;
    const set = this.set(this.command.on);
    if (set.failed) {
      log.failure("the line cannot be set", set);
      return refuse(LINE_FAILED);
    }
    if (this.isOn != wasOn) this.tell();
    this.command.on = this.isOn;
    this.command.hasModule = false;
    return reply(this.command.encode(this.answer.begin()));
  }

  private set(on: bool): Result {
    const set = line.set(on != settings.activeLow ? 1 : 0);
    this.hasFailed = set.failed;
    if (set.ok) this.isOn = on;
    return set;
  }

  private tell(): void {
    const sent = readings.send(this.source.next(this.quantity, this.ratio, this.isOn ? 1 : 0, clock.wall()));
    if (sent.failed) log.failure("a reading was not taken", sent);
  }

  /** Who shows the relay has been away, and may have missed how it is. */
  peerBack(slot: Bytes): void {
    this.tell();
  }

  safeState(): void {
    this.set(false).ignore();
  }

  /** Not well while the line does not obey. */
  health(): i32 {
    return this.hasFailed ? 1 : 0;
  }

  save(writer: Writer): void {
    writer.array(2).boolean(this.isOn);
    this.source.save(writer);
  }

  restore(reader: Reader, schema: u32): bool {
    if (schema != 1 || reader.array() != 2) return false;
    const isOn = reader.boolean();
    if (!this.source.restore(reader)) return false;
    this.isOn = isOn;
    return true;
  }
}

register(new GpioRelay());
