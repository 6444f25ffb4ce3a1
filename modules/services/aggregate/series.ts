/** The readings of one sensor and quantity since the last window ended: five numbers, however many readings. */

import { Reading } from "bulkhead/interfaces/readings";
import { Window } from "bulkhead/interfaces/windows";
import { Bytes, Reader, Writer } from "bulkhead/sdk";

const SENSOR_BYTES: i32 = 48;
const QUANTITY_BYTES: i32 = 32;
const UNIT_BYTES: i32 = 16;

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

export class Series {
  private sensor: Name = new Name(SENSOR_BYTES);
  private quantity: Name = new Name(QUANTITY_BYTES);
  private unit: Name = new Name(UNIT_BYTES);
  count: u32 = 0;
  private least: f64 = 0;
  private greatest: f64 = 0;
  private mean: f64 = 0;
  /** Sum of the squared distances from the mean (Welford 1962): no large numbers are subtracted from each other. */
  private squares: f64 = 0;
  private begin: u64 = 0;
  private end: u64 = 0;

  isOf(reading: Reading): bool {
    return this.sensor.equals(reading.sensor) && this.quantity.equals(reading.quantity);
  }

  name(reading: Reading): void {
    this.sensor.take(reading.sensor);
    this.quantity.take(reading.quantity);
    this.count = 0;
  }

  add(reading: Reading): void {
    const value = reading.value;
    if (this.count == 0) {
      this.unit.take(reading.unit);
      this.least = value;
      this.greatest = value;
      this.mean = 0;
      this.squares = 0;
      this.begin = reading.time;
    }
    this.count++;
    this.least = min(this.least, value);
    this.greatest = max(this.greatest, value);
    const distance = value - this.mean;
    this.mean += distance / <f64>this.count;
    this.squares += distance * (value - this.mean);
    this.end = reading.time;
  }

  /** Ends the window and describes it. */
  close(window: Window): void {
    window.sensor = this.sensor;
    window.quantity = this.quantity;
    window.unit = this.unit;
    window.count = this.count;
    window.least = this.least;
    window.greatest = this.greatest;
    window.mean = this.mean;
    window.deviation = sqrt(max(0, this.squares / <f64>this.count));
    window.begin = this.begin;
    window.end = this.end;
    this.count = 0;
  }

  save(writer: Writer): void {
    writer.array(10).textBytes(this.sensor).textBytes(this.quantity).textBytes(this.unit).unsigned(this.count);
    writer.float(this.least).float(this.greatest).float(this.mean).float(this.squares);
    writer.unsigned(this.begin).unsigned(this.end);
  }

  restore(reader: Reader): bool {
    if (reader.array() != 10) return false;
    restoreName(reader, this.sensor, SENSOR_BYTES);
    restoreName(reader, this.quantity, QUANTITY_BYTES);
    restoreName(reader, this.unit, UNIT_BYTES);
    this.count = reader.u32();
    this.least = reader.float();
    this.greatest = reader.float();
    this.mean = reader.float();
    this.squares = reader.float();
    this.begin = reader.u64();
    this.end = reader.u64();
    return reader.ok;
  }
}

const text = new Bytes();

function restoreName(reader: Reader, name: Name, capacity: i32): void {
  reader.textWithin(text, 0, capacity);
  name.take(text);
}
