/** Driver of the Texas Instruments TMP102 (SBOS397): 12 bits of temperature, 0.0625 degrees each. The README shows it. */
import { Bytes, Driver, Message, none, register, Reply } from "bulkhead/sdk";
import { Source } from "bulkhead/sdk/source";
import { clock, log, MODULE_NAME, readings, sensor, tick } from "./generated/slots";

class Tmp102 extends Driver {
  private source: Source = new Source(MODULE_NAME, 1000);
  private raw: Bytes = Bytes.allocate(2);
  private temperature: Bytes = Bytes.fromText("temperature");
  private celsius: Bytes = Bytes.fromText("Cel");

  start(restored: bool): void {
    tick.every(this.source.period).must("the timer");
  }

  message(port: i32, message: Message): Reply {
    const read = sensor.readRegisters(0x00, this.raw);
    const degrees = <f64>(this.raw.i16be(0) >> 4) * 0.0625;
    if (read.failed) log.failure("no temperature", read);
    else readings.send(this.source.next(this.temperature, this.celsius, degrees, clock.wall())).ignore();
    return none;
  }
}

register(new Tmp102());
