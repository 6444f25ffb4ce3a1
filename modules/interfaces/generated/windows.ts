/** Generated from modules/interfaces/windows.cddl; edit that. The contract `windows`. */

import { Bytes, Fault, Reader, Writer } from "bulkhead/sdk";
import { key } from "bulkhead/sdk/reader";

/** A `window`. Make it once and use it for every message; what is decoded are views of the message. */
export class Window {
  sensor: Bytes = new Bytes();
  quantity: Bytes = new Bytes();
  unit: Bytes = new Bytes();
  /** readings in the window, 1 or more */
  count: u32 = 0;
  least: f64 = 0;
  greatest: f64 = 0;
  mean: f64 = 0;
  /** standard deviation of the readings, 0 for one */
  deviation: f64 = 0;
  /** time of the first reading, milliseconds since 1970-01-01T00:00:00Z */
  begin: u64 = 0;
  /** and of the last */
  end: u64 = 0;

  /** Reads one; false, and the reader's fault set, where the bytes are not exactly a `window`. */
  decode(reader: Reader): bool {
    let seen: u32 = 0;
    for (let left = reader.map(); left > 0 && reader.ok; left--) {
      reader.text(key);
      seen = reader.once(seen, this.entry(reader));
    }
    if ((seen & 1023) != 1023) reader.fail(Fault.contract);
    return reader.finish();
  }

  private entry(reader: Reader): u32 {
    if (key.is("sensor")) {
      reader.textWithin(this.sensor, 1, 48);
      return 1;
    }
    if (key.is("quantity")) {
      reader.textWithin(this.quantity, 1, 32);
      return 2;
    }
    if (key.is("unit")) {
      reader.textWithin(this.unit, 1, 16);
      return 4;
    }
    if (key.is("count")) {
      this.count = reader.u32();
      return 8;
    }
    if (key.is("least")) {
      this.least = reader.number();
      return 16;
    }
    if (key.is("greatest")) {
      this.greatest = reader.number();
      return 32;
    }
    if (key.is("mean")) {
      this.mean = reader.number();
      return 64;
    }
    if (key.is("deviation")) {
      this.deviation = reader.number();
      return 128;
    }
    if (key.is("begin")) {
      this.begin = reader.u64();
      return 256;
    }
    if (key.is("end")) {
      this.end = reader.u64();
      return 512;
    }
    return 0;
  }

  /** Writes one, keys in their deterministic order. @returns the writer. */
  encode(writer: Writer): Writer {
    writer.map(10);
    writer.text("end").unsigned(this.end);
    writer.text("mean").float(this.mean);
    writer.text("unit").textBytes(this.unit);
    writer.text("begin").unsigned(this.begin);
    writer.text("count").unsigned(this.count);
    writer.text("least").float(this.least);
    writer.text("sensor").textBytes(this.sensor);
    writer.text("greatest").float(this.greatest);
    writer.text("quantity").textBytes(this.quantity);
    writer.text("deviation").float(this.deviation);
    return writer;
  }
}
