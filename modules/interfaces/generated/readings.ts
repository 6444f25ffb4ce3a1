/** Generated from modules/interfaces/readings.cddl; edit that. The contract `readings`. */

import { Bytes, Fault, Reader, Writer } from "bulkhead/sdk";
import { key } from "bulkhead/sdk/reader";

/** A `reading`. Make it once and use it for every message; what is decoded are views of the message. */
export class Reading {
  /** the module that measured */
  sensor: Bytes = new Bytes();
  /** from 0, over all quantities of the sensor */
  sequence: u32 = 0;
  /** temperature, pressure, ... */
  quantity: Bytes = new Bytes();
  value: f64 = 0;
  /** UCUM: Cel, Pa, %, ... */
  unit: Bytes = new Bytes();
  /** milliseconds since 1970-01-01T00:00:00Z */
  time: u64 = 0;

  /** Reads one; false, and the reader's fault set, where the bytes are not exactly a `reading`. */
  decode(reader: Reader): bool {
    let seen: u32 = 0;
    for (let left = reader.map(); left > 0 && reader.ok; left--) {
      reader.text(key);
      seen = reader.once(seen, this.entry(reader));
    }
    if ((seen & 63) != 63) reader.fail(Fault.contract);
    return reader.finish();
  }

  private entry(reader: Reader): u32 {
    if (key.is("sensor")) {
      reader.textWithin(this.sensor, 1, 48);
      return 1;
    }
    if (key.is("sequence")) {
      this.sequence = reader.u32();
      return 2;
    }
    if (key.is("quantity")) {
      reader.textWithin(this.quantity, 1, 32);
      return 4;
    }
    if (key.is("value")) {
      this.value = reader.number();
      return 8;
    }
    if (key.is("unit")) {
      reader.textWithin(this.unit, 1, 16);
      return 16;
    }
    if (key.is("time")) {
      this.time = reader.u64();
      return 32;
    }
    return 0;
  }

  /** Writes one, keys in their deterministic order. @returns the writer. */
  encode(writer: Writer): Writer {
    writer.map(6);
    writer.text("time").unsigned(this.time);
    writer.text("unit").textBytes(this.unit);
    writer.text("value").float(this.value);
    writer.text("sensor").textBytes(this.sensor);
    writer.text("quantity").textBytes(this.quantity);
    writer.text("sequence").unsigned(this.sequence);
    return writer;
  }
}
