/** Generated from modules/interfaces/switches.cddl; edit that. The contract `switches`. */

import { Bytes, Fault, Reader, Writer } from "bulkhead/sdk";
import { key } from "bulkhead/sdk/reader";

/** A `switch`. Make it once and use it for every message; what is decoded are views of the message. */
export class Switch {
  on: bool = false;
  /** only for this module; without it for every module that receives it */
  module: Bytes = new Bytes();
  hasModule: bool = false;

  /** Reads one; false, and the reader's fault set, where the bytes are not exactly a `switch`. */
  decode(reader: Reader): bool {
    let seen: u32 = 0;
    for (let left = reader.map(); left > 0 && reader.ok; left--) {
      reader.text(key);
      seen = reader.once(seen, this.entry(reader));
    }
    if ((seen & 1) != 1) reader.fail(Fault.contract);
    this.hasModule = (seen & 2) != 0;
    return reader.finish();
  }

  private entry(reader: Reader): u32 {
    if (key.is("on")) {
      this.on = reader.boolean();
      return 1;
    }
    if (key.is("module")) {
      reader.textWithin(this.module, 1, 48);
      return 2;
    }
    return 0;
  }

  /** Writes one, keys in their deterministic order. @returns the writer. */
  encode(writer: Writer): Writer {
    writer.map(1 + <u32>this.hasModule);
    writer.text("on").boolean(this.on);
    if (this.hasModule) writer.text("module").textBytes(this.module);
    return writer;
  }
}
