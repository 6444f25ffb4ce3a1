/** The contract `settings`. */
import { Bytes, Fault, Reader, Writer } from "bulkhead/sdk";

/** A `settings`. Make it once; `decode` and `encode` use it for every message. Texts are views of what was decoded. */
export class Settings {
  hasModule: bool = false;
  module: Bytes = new Bytes();
  hasPeriod: bool = false;
  period: u32 = 0;
  hasQuantity: bool = false;
  quantity: Bytes = new Bytes();
  hasHigh: bool = false;
  high: f64 = 0;
  hasClear: bool = false;
  clear: f64 = 0;

  /** Reads one; false, and the reader's fault set, where the bytes are not exactly a `settings`. */
  decode(reader: Reader): bool {
    let seen: u32 = 0;
    for (let left = reader.map(); left > 0 && reader.ok; left--) {
      reader.text(key);
      const bit = this.entry(reader);
      if (bit == 0 || (seen & bit) != 0) reader.fail(Fault.contract);
      seen |= bit;
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
      this.period = <u32>reader.within(10, 3600000);
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
}

const key = new Bytes();
