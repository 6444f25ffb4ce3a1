/** Generated from the settings of module.yaml by `bulkhead build`; edit those. What the operator has set. */

import { Bytes, Fault, Reader } from "bulkhead/sdk";
import { trap } from "bulkhead/sdk/abort";
import { key } from "bulkhead/sdk/reader";

export class Limit {
  quantity: Bytes = new Bytes();
  /** an alarm is raised above */
  high: f64 = 0;
  /** and cleared below */
  clear: f64 = 0;

  /** Reads one; the reader's fault is set where the bytes are not exactly one. */
  decode(reader: Reader): void {
    let seen: u32 = 0;
    for (let left = reader.map(); left > 0 && reader.ok; left--) {
      reader.text(key);
      seen = reader.once(seen, this.entry(reader));
    }
    if ((seen & 7) != 7) reader.fail(Fault.contract);
  }

  private entry(reader: Reader): u32 {
    if (key.is("quantity")) {
      reader.textWithin(text, 1, 32);
      this.quantity = text.copy();
      return 1;
    }
    if (key.is("high")) {
      this.high = reader.number();
      return 2;
    }
    if (key.is("clear")) {
      this.clear = reader.number();
      return 4;
    }
    return 0;
  }
}

export class Settings {
  /** in place of those that the service begins with */
  limits: Array<Limit> = [];

  /** Reads one; the reader's fault is set where the bytes are not exactly one. */
  decode(reader: Reader): void {
    let seen: u32 = 0;
    for (let left = reader.map(); left > 0 && reader.ok; left--) {
      reader.text(key);
      seen = reader.once(seen, this.entry(reader));
    }
  }

  private entry(reader: Reader): u32 {
    if (key.is("limits")) {
      this.limits = new Array<Limit>();
      const count = reader.array();
      if (count > 16) reader.fail(Fault.contract);
      for (let left = count; left > 0 && reader.ok; left--) {
        const item = new Limit();
        item.decode(reader);
        this.limits.push(item);
      }
      return 1;
    }
    return 0;
  }
}

const text = new Bytes();

/** The settings of this instance: complete when `start` is called, and never changed afterwards. */
export const settings = new Settings();

/** Takes the settings of a start notice: the entry file calls it. */
export function takeSettings(reader: Reader): void {
  settings.decode(reader);
  if (!reader.finish()) trap("settings", reader.fault);
}
