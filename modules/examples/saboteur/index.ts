/** A driver that fails on command, to show that its neighbours do not: `trap` or `spin`, as MQTT payload. */

import { Bytes, Driver, Message, none, Reader, register, Reply, Writer } from "bulkhead/sdk";
import { Source } from "bulkhead/sdk/source";
import { settings } from "./generated/settings";
import { clock, log, MODULE_NAME, Port, readings, tick } from "./generated/slots";

const PERIOD_MS: i32 = 100;

class Saboteur extends Driver {
  private source: Source = new Source(MODULE_NAME, PERIOD_MS);
  private topic: Bytes = new Bytes();
  private command: Bytes = new Bytes();
  private quantity: Bytes = Bytes.fromText("heartbeat");
  private unit: Bytes = Bytes.fromText("1");

  start(restored: bool): void {
    if (restored) log.information("back, next reading is " + this.source.sequence.toString());
    if (settings.hasPeriod) this.source.period = settings.period;
    tick.every(this.source.period).must("the timer");
  }

  message(port: i32, message: Message): Reply {
    if (port == Port.commands) this.obey(message.read());
    else readings.send(this.source.next(this.quantity, this.unit, 1, clock.wall())).ignore();
    return none;
  }

  /** The event is `[topic, payload]`. */
  private obey(reader: Reader): void {
    reader.array();
    reader.text(this.topic);
    reader.bytes(this.command);
    if (!reader.finish()) return;
    if (this.command.is("trap")) unreachable();
    if (this.command.is("spin")) spin();
  }

  save(writer: Writer): void {
    this.source.save(writer);
  }

  restore(reader: Reader, schema: u32): bool {
    return schema == 1 && this.source.restore(reader);
  }
}

/** For ever: the counter is stored, so that no optimizer takes the loop away. */
function spin(): void {
  for (let turns: u32 = 0; ; turns++) store<u32>(counter, turns);
}

const counter = memory.data(4);

register(new Saboteur());
