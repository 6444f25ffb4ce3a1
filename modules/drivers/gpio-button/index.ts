/** Driver of a push button or contact on a GPIO line: its level after the bouncing has ended. */

import { Bytes, Driver, Message, none, Reader, register, Reply, Writer } from "bulkhead/sdk";
import { Source } from "bulkhead/sdk/source";
import { settings } from "./generated/settings";
import { clock, line, log, MODULE_NAME, Port, readings, settle } from "./generated/slots";

/** Nothing is measured in a period here, but what is carried over a restart is the same. */
const UNUSED_PERIOD_MS: i32 = 1000;
/** No level has been seen yet. */
const UNKNOWN: i32 = -1;

class GpioButton extends Driver {
  private source: Source = new Source(MODULE_NAME, UNUSED_PERIOD_MS);
  private level: i32 = UNKNOWN;
  private quantity: Bytes = Bytes.fromText("level");
  private ratio: Bytes = Bytes.fromText("1");

  start(restored: bool): void {
    this.look();
  }

  /** Each edge puts the look off: when none has come for a while, the level stands. A lost edge does no harm. */
  message(port: i32, message: Message): Reply {
    if (port == Port.edges) settle.after(settings.settle).must("the timer");
    else if (port == Port.settle) this.look();
    return none;
  }

  private look(): void {
    const got = line.get();
    if (got.failed) {
      log.failure("the line cannot be read", got);
      return;
    }
    if (got.value == this.level) return;
    this.level = got.value;
    const sent = readings.send(this.source.next(this.quantity, this.ratio, <f64>this.level, clock.wall()));
    if (sent.failed) log.failure("a reading was not taken", sent);
  }

  save(writer: Writer): void {
    this.source.save(writer);
  }

  restore(reader: Reader, schema: u32): bool {
    return schema == 1 && this.source.restore(reader);
  }
}

register(new GpioButton());
