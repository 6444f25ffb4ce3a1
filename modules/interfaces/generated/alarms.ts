/** Generated from modules/interfaces/alarms.cddl; edit that. The contract `alarms`. */

import { Bytes, Fault, Reader, Writer } from "bulkhead/sdk";
import { key } from "bulkhead/sdk/reader";

/** A `alarm`. Make it once and use it for every message; what is decoded are views of the message. */
export class Alarm {
  sensor: Bytes = new Bytes();
  quantity: Bytes = new Bytes();
  state: Bytes = new Bytes();
  value: f64 = 0;
  limit: f64 = 0;
  /** how often this alarm was raised since the service was first started */
  count: u32 = 0;
  /** of the reading */
  time: u64 = 0;
  severity: Bytes = new Bytes();
  hasSeverity: bool = false;

  /** Reads one; false, and the reader's fault set, where the bytes are not exactly a `alarm`. */
  decode(reader: Reader): bool {
    let seen: u32 = 0;
    for (let left = reader.map(); left > 0 && reader.ok; left--) {
      reader.text(key);
      seen = reader.once(seen, this.entry(reader));
    }
    if ((seen & 127) != 127) reader.fail(Fault.contract);
    this.hasSeverity = (seen & 128) != 0;
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
    if (key.is("state")) {
      reader.text(this.state);
      if (!this.state.is("raised") && !this.state.is("cleared") && !this.state.is("active") && !this.state.is("takeover")) reader.fail(Fault.contract);
      return 4;
    }
    if (key.is("value")) {
      this.value = reader.number();
      return 8;
    }
    if (key.is("limit")) {
      this.limit = reader.number();
      return 16;
    }
    if (key.is("count")) {
      this.count = reader.u32();
      return 32;
    }
    if (key.is("time")) {
      this.time = reader.u64();
      return 64;
    }
    if (key.is("severity")) {
      reader.text(this.severity);
      if (!this.severity.is("warning") && !this.severity.is("critical")) reader.fail(Fault.contract);
      return 128;
    }
    return 0;
  }

  /** Writes one, keys in their deterministic order. @returns the writer. */
  encode(writer: Writer): Writer {
    writer.map(7 + <u32>this.hasSeverity);
    writer.text("time").unsigned(this.time);
    writer.text("count").unsigned(this.count);
    writer.text("limit").float(this.limit);
    writer.text("state").textBytes(this.state);
    writer.text("value").float(this.value);
    writer.text("sensor").textBytes(this.sensor);
    writer.text("quantity").textBytes(this.quantity);
    if (this.hasSeverity) writer.text("severity").textBytes(this.severity);
    return writer;
  }
}
