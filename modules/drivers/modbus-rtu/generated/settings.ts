/** Generated from the settings of module.yaml by `bulkhead build`; edit those. What the operator has set. */

import { Bytes, Fault, Reader } from "bulkhead/sdk";
import { trap } from "bulkhead/sdk/abort";
import { key } from "bulkhead/sdk/reader";

/** What `table` may be. */
export enum RegisterTable {
  coil = 0,
  discrete = 1,
  holding = 2,
  input = 3,
}

/** What `type` may be. */
export enum RegisterType {
  u16 = 0,
  i16 = 1,
  u32 = 2,
  i32 = 3,
  f32 = 4,
}

/** What `word-order` may be. */
export enum RegisterWordOrder {
  highFirst = 0,
  lowFirst = 1,
}

/** What `byte-order` may be. */
export enum RegisterByteOrder {
  highFirst = 0,
  lowFirst = 1,
}

/** What `write` may be. */
export enum RegisterWrite {
  never = 0,
  single = 1,
  multiple = 2,
}

export class Register {
  /** the quantity of its readings, and its name for `points` */
  name: Bytes = new Bytes();
  table: i32 = 0;
  /** as in the frame, from 0: register 40001 of a manual is holding 0 */
  address: i32 = 0;
  station: i32 = 1;
  hasStation: bool = false;
  type_: i32 = 0;
  wordOrder: i32 = 0;
  byteOrder: i32 = 0;
  /** value = raw * scale + offset */
  scale: f64 = 1;
  offset: f64 = 0;
  unit: Bytes = Bytes.fromText("1");
  /** milliseconds between two readings */
  period: i32 = 1000;
  /** by functions 5 and 6, or by 15 and 16 */
  write: i32 = 0;

  /** Reads one; the reader's fault is set where the bytes are not exactly one. */
  decode(reader: Reader): void {
    let seen: u32 = 0;
    for (let left = reader.map(); left > 0 && reader.ok; left--) {
      reader.text(key);
      seen = reader.once(seen, this.entry(reader));
    }
    if ((seen & 7) != 7) reader.fail(Fault.contract);
    this.hasStation = (seen & 8) != 0;
  }

  private entry(reader: Reader): u32 {
    if (key.is("name")) {
      reader.textWithin(text, 1, 32);
      this.name = text.copy();
      return 1;
    }
    if (key.is("table")) {
      reader.text(text);
      if (text.is("coil")) this.table = 0;
      else if (text.is("discrete")) this.table = 1;
      else if (text.is("holding")) this.table = 2;
      else if (text.is("input")) this.table = 3;
      else reader.fail(Fault.contract);
      return 2;
    }
    if (key.is("address")) {
      this.address = <i32>reader.within(0, 65535);
      return 4;
    }
    if (key.is("station")) {
      this.station = <i32>reader.within(1, 247);
      return 8;
    }
    if (key.is("type")) {
      reader.text(text);
      if (text.is("u16")) this.type_ = 0;
      else if (text.is("i16")) this.type_ = 1;
      else if (text.is("u32")) this.type_ = 2;
      else if (text.is("i32")) this.type_ = 3;
      else if (text.is("f32")) this.type_ = 4;
      else reader.fail(Fault.contract);
      return 16;
    }
    if (key.is("word-order")) {
      reader.text(text);
      if (text.is("high-first")) this.wordOrder = 0;
      else if (text.is("low-first")) this.wordOrder = 1;
      else reader.fail(Fault.contract);
      return 32;
    }
    if (key.is("byte-order")) {
      reader.text(text);
      if (text.is("high-first")) this.byteOrder = 0;
      else if (text.is("low-first")) this.byteOrder = 1;
      else reader.fail(Fault.contract);
      return 64;
    }
    if (key.is("scale")) {
      this.scale = reader.number();
      return 128;
    }
    if (key.is("offset")) {
      this.offset = reader.number();
      return 256;
    }
    if (key.is("unit")) {
      reader.textWithin(text, 1, 16);
      this.unit = text.copy();
      return 512;
    }
    if (key.is("period")) {
      this.period = <i32>reader.within(10, 3600000);
      return 1024;
    }
    if (key.is("write")) {
      reader.text(text);
      if (text.is("never")) this.write = 0;
      else if (text.is("single")) this.write = 1;
      else if (text.is("multiple")) this.write = 2;
      else reader.fail(Fault.contract);
      return 2048;
    }
    return 0;
  }
}

export class Settings {
  /** as in the grant: the silence between frames is 3.5 characters of it */
  baud: i32 = 9600;
  /** milliseconds until an answer must be whole */
  timeout: i32 = 500;
  /** further attempts after a timeout or a damaged answer */
  retries: i32 = 2;
  /** of registers that name none */
  station: i32 = 1;
  registers: Array<Register> = [];

  /** Reads one; the reader's fault is set where the bytes are not exactly one. */
  decode(reader: Reader): void {
    let seen: u32 = 0;
    for (let left = reader.map(); left > 0 && reader.ok; left--) {
      reader.text(key);
      seen = reader.once(seen, this.entry(reader));
    }
    if ((seen & 16) != 16) reader.fail(Fault.contract);
  }

  private entry(reader: Reader): u32 {
    if (key.is("baud")) {
      this.baud = <i32>reader.within(300, 1000000);
      return 1;
    }
    if (key.is("timeout")) {
      this.timeout = <i32>reader.within(10, 10000);
      return 2;
    }
    if (key.is("retries")) {
      this.retries = <i32>reader.within(0, 5);
      return 4;
    }
    if (key.is("station")) {
      this.station = <i32>reader.within(1, 247);
      return 8;
    }
    if (key.is("registers")) {
      this.registers = new Array<Register>();
      const count = reader.array();
      if (count < 1 || count > 32) reader.fail(Fault.contract);
      for (let left = count; left > 0 && reader.ok; left--) {
        const item = new Register();
        item.decode(reader);
        this.registers.push(item);
      }
      return 16;
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
