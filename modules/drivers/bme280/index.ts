import { Driver, Message, none, register, Reply, Bytes, Writer } from "bulkhead/sdk";
import { Reading } from "bulkhead/interfaces/readings";
import { clock, log, Port, readings, sensor, tick } from "./generated/slots";

class Bme280 extends Driver {
  private buffer: Bytes = Bytes.allocate(8);
  private reading: Reading = new Reading();
  private writer: Writer = new Writer(256);
  start(restored: bool): void {
    tick.every(1000).must("the timer");
  }
  message(port: i32, message: Message): Reply {
    const got = sensor.readRegisters(0xf7, this.buffer);
    if (got.failed) log.failure("no reading", got);
    this.reading.time = clock.wall();
    this.reading.encode(this.writer.begin());
    readings.send(this.writer).ignore();
    return none;
  }
}
register(new Bme280());
