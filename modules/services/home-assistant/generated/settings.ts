/** Generated from the settings of module.yaml by `bulkhead build`; edit those. What the operator has set. */

import { Bytes, Fault, Reader } from "bulkhead/sdk";
import { trap } from "bulkhead/sdk/abort";
import { key } from "bulkhead/sdk/reader";

export class Settings {
  /** of topics: `site/7` gives site/7/states/<sensor>/<quantity> */
  prefix: Bytes = new Bytes();
  /** this gateway in Home Assistant; another one for each gateway of a broker */
  id: Bytes = new Bytes();
  discovery: Bytes = Bytes.fromText("homeassistant");

  /** Reads one; the reader's fault is set where the bytes are not exactly one. */
  decode(reader: Reader): void {
    let seen: u32 = 0;
    for (let left = reader.map(); left > 0 && reader.ok; left--) {
      reader.text(key);
      seen = reader.once(seen, this.entry(reader));
    }
    if ((seen & 3) != 3) reader.fail(Fault.contract);
  }

  private entry(reader: Reader): u32 {
    if (key.is("prefix")) {
      reader.textWithin(text, 1, 64);
      this.prefix = text.copy();
      return 1;
    }
    if (key.is("id")) {
      reader.textWithin(text, 1, 32);
      this.id = text.copy();
      return 2;
    }
    if (key.is("discovery")) {
      reader.textWithin(text, 1, 32);
      this.discovery = text.copy();
      return 4;
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
