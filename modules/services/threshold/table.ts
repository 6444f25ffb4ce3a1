/** What `threshold` remembers: the limits by quantity, and for each sensor and quantity whether its alarm is raised. */

import { Bytes, Reader, Writer } from "bulkhead/sdk";

/** Both are bounds of the state's size: 16 * 60 + 32 * 95 bytes are below 4096. */
const LIMITS: i32 = 16;
const WATCHES: i32 = 32;
const SENSOR_BYTES: i32 = 48;
const QUANTITY_BYTES: i32 = 32;

/** A name that is kept: a copy, because a message's texts are gone when the handler returns. */
class Name extends Bytes {
  constructor(capacity: i32) {
    super();
    this.reserve(capacity);
  }

  take(bytes: Bytes): void {
    memory.copy(this.address, bytes.address, bytes.length);
    this.length = bytes.length;
  }
}

/** An alarm is raised above `high` and cleared below `clear`. */
export class Limit {
  quantity: Name = new Name(QUANTITY_BYTES);
  high: f64 = 0;
  clear: f64 = 0;
}

export class Watch {
  sensor: Name = new Name(SENSOR_BYTES);
  quantity: Name = new Name(QUANTITY_BYTES);
  isRaised: bool = false;
  /** How often it was raised. */
  count: u32 = 0;
}

export class Table {
  private limits: StaticArray<Limit> = new StaticArray<Limit>(LIMITS);
  private limitCount: i32 = 0;
  private watches: StaticArray<Watch> = new StaticArray<Watch>(WATCHES);
  watchCount: i32 = 0;
  /** Readings judged, and the time of the last one. */
  seen: u32 = 0;
  lastTime: u64 = 0;

  constructor() {
    for (let i = 0; i < LIMITS; i++) this.limits[i] = new Limit();
    for (let i = 0; i < WATCHES; i++) this.watches[i] = new Watch();
  }

  watch(index: i32): Watch {
    return this.watches[index];
  }

  /** Sets the limits of a quantity; false where the table is full or they are the wrong way round. */
  setLimit(quantity: Bytes, high: f64, clear: f64): bool {
    if (!(clear <= high)) return false;
    let limit = this.findLimit(quantity);
    if (limit === null) {
      if (this.limitCount == LIMITS) return false;
      limit = this.limits[this.limitCount++];
      limit.quantity.take(quantity);
    }
    limit.high = high;
    limit.clear = clear;
    return true;
  }

  findLimit(quantity: Bytes): Limit | null {
    for (let i = 0; i < this.limitCount; i++) if (this.limits[i].quantity.equals(quantity)) return this.limits[i];
    return null;
  }

  /** The watch of a sensor's quantity, made where there is none yet; null where the table is full. */
  findWatch(sensor: Bytes, quantity: Bytes): Watch | null {
    for (let i = 0; i < this.watchCount; i++) {
      const watch = this.watches[i];
      if (watch.sensor.equals(sensor) && watch.quantity.equals(quantity)) return watch;
    }
    return this.addWatch(sensor, quantity);
  }

  private addWatch(sensor: Bytes, quantity: Bytes): Watch | null {
    if (this.watchCount == WATCHES) return null;
    const watch = this.watches[this.watchCount++];
    watch.sensor.take(sensor);
    watch.quantity.take(quantity);
    watch.isRaised = false;
    watch.count = 0;
    return watch;
  }

  /** Schema 1: `[seen, last time, [+ [quantity, high, clear]], [+ [sensor, quantity, raised, count]]]`. */
  save(writer: Writer): void {
    writer.array(4).unsigned(this.seen).unsigned(this.lastTime).array(this.limitCount);
    for (let i = 0; i < this.limitCount; i++) {
      const limit = this.limits[i];
      writer.array(3).textBytes(limit.quantity).float(limit.high).float(limit.clear);
    }
    writer.array(this.watchCount);
    for (let i = 0; i < this.watchCount; i++) {
      const watch = this.watches[i];
      writer.array(4).textBytes(watch.sensor).textBytes(watch.quantity);
      writer.boolean(watch.isRaised).unsigned(watch.count);
    }
  }

  /** False, and an empty table, where it is not what `save` writes. */
  restore(reader: Reader): bool {
    this.limitCount = 0;
    this.watchCount = 0;
    const isWhole = reader.array() == 4;
    this.seen = reader.u32();
    this.lastTime = reader.u64();
    const good = isWhole && this.restoreLimits(reader) && this.restoreWatches(reader) && reader.ok;
    if (!good) {
      this.limitCount = 0;
      this.watchCount = 0;
    }
    return good;
  }

  private restoreLimits(reader: Reader): bool {
    for (let left = reader.array(); left > 0; left--) {
      if (reader.array() != 3) return false;
      reader.textWithin(first, 1, QUANTITY_BYTES);
      const high = reader.number();
      if (!reader.ok || !this.setLimit(first, high, reader.number())) return false;
    }
    return true;
  }

  private restoreWatches(reader: Reader): bool {
    for (let left = reader.array(); left > 0; left--) {
      if (reader.array() != 4) return false;
      reader.textWithin(first, 1, SENSOR_BYTES);
      reader.textWithin(second, 1, QUANTITY_BYTES);
      if (!reader.ok) return false;
      // None is looked for: `save` writes each once, and looking would take time by the square of their number.
      const watch = this.addWatch(first, second);
      if (watch === null) return false;
      watch.isRaised = reader.boolean();
      watch.count = reader.u32();
    }
    return true;
  }
}

const first = new Bytes();
const second = new Bytes();
