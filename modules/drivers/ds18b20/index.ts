/** Driver of the Maxim DS18B20 (19-7487): temperature over 1-Wire; the host's w1 driver starts the conversion. */

import { Bytes, Code, Driver, Message, none, Reader, register, Reply, Result, Writer } from "bulkhead/sdk";
import { Source } from "bulkhead/sdk/source";
import { settings } from "./generated/settings";
import { clock, log, MODULE_NAME, Port, readings, sensor, tick } from "./generated/slots";
import { isPowerOn, isWhole, temperature } from "./scratchpad";

/** A conversion of twelve bits takes 750 ms. */
const PERIOD_MS: i32 = 2000;
const FAILURES_PER_LINE: u32 = 60;

class Ds18b20 extends Driver {
  private source: Source = new Source(MODULE_NAME, PERIOD_MS);
  private scratchpad: Bytes = Bytes.allocate(9);
  private failures: u32 = 0;
  private quantity: Bytes = Bytes.fromText("temperature");
  private celsius: Bytes = Bytes.fromText("Cel");

  start(restored: bool): void {
    if (settings.hasPeriod) this.source.period = settings.period;
    this.arm();
  }

  private arm(): void {
    tick.every(this.source.period).must("the timer");
  }

  message(port: i32, message: Message): Reply {
    if (port == Port.tick) this.measure();
    else if (port == Port.settings && this.source.configure(message)) this.arm();
    return none;
  }

  private measure(): void {
    const result = this.readSensor();
    if (result.failed) {
      if (this.failures++ % FAILURES_PER_LINE == 0) log.failure("no measurement", result);
      return;
    }
    this.failures = 0;
    const reading = this.source.next(this.quantity, this.celsius, temperature(this.scratchpad), clock.wall());
    const sent = readings.send(reading);
    if (sent.failed) log.failure("a reading was not taken", sent);
  }

  /** A wrong CRC is a fault of the wire; 85 degrees after power-on are no measurement. */
  private readSensor(): Result {
    const read = sensor.read(this.scratchpad);
    if (read.failed) return read;
    if (read.value != this.scratchpad.length || !isWhole(this.scratchpad)) return Result.of(Code.io);
    return isPowerOn(this.scratchpad) ? Result.of(Code.busy) : read;
  }

  save(writer: Writer): void {
    this.source.save(writer);
  }

  restore(reader: Reader, schema: u32): bool {
    return schema == 1 && this.source.restore(reader);
  }
}

register(new Ds18b20());
