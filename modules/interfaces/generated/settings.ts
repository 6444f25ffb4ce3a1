/** Generated from modules/interfaces/settings.cddl; edit that. The contract `settings`. */

import { Bytes, Fault, Reader, Writer } from "bulkhead/sdk";
import { key } from "bulkhead/sdk/reader";

/** A `settings`. Make it once and use it for every message; what is decoded are views of the message. */
export class Settings {
  /** only for this module; without it for every module that receives it */
  module: Bytes = new Bytes();
  hasModule: bool = false;
  /** milliseconds between two readings */
  period: i64 = 10;
  hasPeriod: bool = false;
  /** of `high` and `clear` */
  quantity: Bytes = new Bytes();
  hasQuantity: bool = false;
  /** an alarm is raised above */
  high: f64 = 0;
  hasHigh: bool = false;
  /** and cleared below */
  clear: f64 = 0;
  hasClear: bool = false;

  /** Reads one; false, and the reader's fault set, where the bytes are not exactly a `settings`. */
  decode(reader: Reader): bool {
    let seen: u32 = 0;
    for (let left = reader.map(); left > 0 && reader.ok; left--) {
      reader.text(key);
      seen = reader.once(seen, this.entry(reader));
    }
    this.hasModule = (seen & 1) != 0;
    this.hasPeriod = (seen & 2) != 0;
    this.hasQuantity = (seen & 4) != 0;
    this.hasHigh = (seen & 8) != 0;
    this.hasClear = (seen & 16) != 0;
    return reader.finish();
  }

  private entry(reader: Reader): u32 {
    if (key.is("module")) {
      reader.textWithin(this.module, 1, 48);
      return 1;
    }
    if (key.is("period")) {
      this.period = reader.within(10, 3600000);
      return 2;
    }
    if (key.is("quantity")) {
      reader.textWithin(this.quantity, 1, 32);
      return 4;
    }
    if (key.is("high")) {
      this.high = reader.number();
      return 8;
    }
    if (key.is("clear")) {
      this.clear = reader.number();
      return 16;
    }
    return 0;
  }

  /** Writes one, keys in their deterministic order. @returns the writer. */
  encode(writer: Writer): Writer {
    writer.map(0 + <u32>this.hasModule + <u32>this.hasPeriod + <u32>this.hasQuantity + <u32>this.hasHigh + <u32>this.hasClear);
    if (this.hasHigh) writer.text("high").float(this.high);
    if (this.hasClear) writer.text("clear").float(this.clear);
    if (this.hasModule) writer.text("module").textBytes(this.module);
    if (this.hasPeriod) writer.text("period").integer(this.period);
    if (this.hasQuantity) writer.text("quantity").textBytes(this.quantity);
    return writer;
  }
}
