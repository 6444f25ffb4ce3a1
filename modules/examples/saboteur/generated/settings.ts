/** Generated from the settings of module.yaml by `bulkhead build`; edit those. What the operator has set. */

import { Bytes, Fault, Reader } from "bulkhead/sdk";
import { trap } from "bulkhead/sdk/abort";
import { key } from "bulkhead/sdk/reader";

export class Settings {
  /** milliseconds between two readings; 100 where nothing is said */
  period: i32 = 10;
  hasPeriod: bool = false;

  /** Reads one; the reader's fault is set where the bytes are not exactly one. */
  decode(reader: Reader): void {
    let seen: u32 = 0;
    for (let left = reader.map(); left > 0 && reader.ok; left--) {
      reader.text(key);
      seen = reader.once(seen, this.entry(reader));
    }
    this.hasPeriod = (seen & 1) != 0;
  }

  private entry(reader: Reader): u32 {
    if (key.is("period")) {
      this.period = <i32>reader.within(10, 3600000);
      return 1;
    }
    return 0;
  }
}

/** The settings of this instance: complete when `start` is called, and never changed afterwards. */
export const settings = new Settings();

/** Takes the settings of a start notice: the entry file calls it. */
export function takeSettings(reader: Reader): void {
  settings.decode(reader);
  if (!reader.finish()) trap("settings", reader.fault);
}
