/** Generated from modules/interfaces/points.cddl; edit that. The contract `points`. */

import { Bytes, Fault, Reader, Writer } from "bulkhead/sdk";
import { key } from "bulkhead/sdk/reader";

/** A `point`. Make it once and use it for every message; what is decoded are views of the message. */
export class Point {
  name: Bytes = new Bytes();
  /** in the unit of its readings; of a coil, 0 is off and all else on */
  value: f64 = 0;

  /** Reads one; false, and the reader's fault set, where the bytes are not exactly a `point`. */
  decode(reader: Reader): bool {
    let seen: u32 = 0;
    for (let left = reader.map(); left > 0 && reader.ok; left--) {
      reader.text(key);
      seen = reader.once(seen, this.entry(reader));
    }
    if ((seen & 3) != 3) reader.fail(Fault.contract);
    return reader.finish();
  }

  private entry(reader: Reader): u32 {
    if (key.is("name")) {
      reader.textWithin(this.name, 1, 32);
      return 1;
    }
    if (key.is("value")) {
      this.value = reader.number();
      return 2;
    }
    return 0;
  }

  /** Writes one, keys in their deterministic order. @returns the writer. */
  encode(writer: Writer): Writer {
    writer.map(2);
    writer.text("name").textBytes(this.name);
    writer.text("value").float(this.value);
    return writer;
  }
}
