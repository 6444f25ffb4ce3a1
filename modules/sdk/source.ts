/** A source of readings: numbers them, keeps the period that an operator may change, and carries both over a restart. */

import { Reading } from "bulkhead/interfaces/readings";
import { Settings } from "bulkhead/interfaces/settings";
import { Bytes } from "./bytes";
import { Message } from "./message";
import { Reader } from "./reader";
import { Writer } from "./writer";

/** Room for any `reading`: 96 bytes of texts, 16 of numbers, 50 of keys. */
const READING_BYTES: i32 = 192;

/** Give it `state: 32` in `module.yaml`, and pass `save` and `restore` on to it. */
export class Source {
  /** Number of the next reading. */
  sequence: u32 = 0;
  /** Milliseconds between two measurements. */
  period: i32;
  private reading: Reading = new Reading();
  private settings: Settings = new Settings();
  private writer: Writer = new Writer(READING_BYTES);

  constructor(name: string, period: i32) {
    this.reading.sensor = Bytes.fromText(name);
    this.period = period;
  }

  /** The next reading, ready to be sent; good until the next call. `time` is that of `Clock.wall`. */
  next(quantity: Bytes, unit: Bytes, value: f64, time: i64): Bytes {
    const reading = this.reading;
    reading.sequence = this.sequence++;
    reading.quantity = quantity;
    reading.unit = unit;
    reading.value = value;
    reading.time = <u64>max<i64>(time, 0);
    return reading.encode(this.writer.begin());
  }

  /** Takes a message of the contract `settings`. @returns true where the period is another now. */
  configure(message: Message): bool {
    const settings = this.settings;
    if (!settings.decode(message.read())) return false;
    if (settings.hasModule && !settings.module.equals(this.reading.sensor)) return false;
    if (!settings.hasPeriod || <i32>settings.period == this.period) return false;
    this.period = <i32>settings.period;
    return true;
  }

  save(writer: Writer): void {
    writer.array(2).unsigned(this.sequence).unsigned(this.period);
  }

  restore(reader: Reader): bool {
    if (reader.array() != 2) return false;
    const sequence = reader.u32();
    const period = <i32>reader.within(10, 3600000);
    if (!reader.ok) return false;
    this.sequence = sequence;
    this.period = period;
    return true;
  }
}
