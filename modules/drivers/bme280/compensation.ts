/** The integer compensation of the BME280, as in section 4.2.3 of the datasheet (BST-BME280-DS002). */

import { Bytes } from "bulkhead/sdk";

export class Compensation {
  private t1: i32 = 0;
  private t2: i32 = 0;
  private t3: i32 = 0;
  private p1: i64 = 0;
  private p2: i64 = 0;
  private p3: i64 = 0;
  private p4: i64 = 0;
  private p5: i64 = 0;
  private p6: i64 = 0;
  private p7: i64 = 0;
  private p8: i64 = 0;
  private p9: i64 = 0;
  private h1: i32 = 0;
  private h2: i32 = 0;
  private h3: i32 = 0;
  private h4: i32 = 0;
  private h5: i32 = 0;
  private h6: i32 = 0;

  /** Hundredths of a degree Celsius. */
  temperature: i32 = 0;
  /** Pascal, Q24.8. */
  pressure: u32 = 0;
  /** Percent relative humidity, Q22.10. */
  humidity: u32 = 0;

  /** Takes registers 0x88 to 0xa1 and 0xe1 to 0xe7 (table 16). */
  calibrate(low: Bytes, high: Bytes): void {
    this.t1 = low.u16le(0);
    this.t2 = low.i16le(2);
    this.t3 = low.i16le(4);
    this.p1 = low.u16le(6);
    this.p2 = low.i16le(8);
    this.p3 = low.i16le(10);
    this.p4 = low.i16le(12);
    this.p5 = low.i16le(14);
    this.p6 = low.i16le(16);
    this.p7 = low.i16le(18);
    this.p8 = low.i16le(20);
    this.p9 = low.i16le(22);
    this.h1 = low[25];
    this.h2 = high.i16le(0);
    this.h3 = high[2];
    this.h4 = ((<i32>(<i8>high[3])) << 4) | (high[4] & 0x0f);
    this.h5 = ((<i32>(<i8>high[5])) << 4) | (high[4] >> 4);
    this.h6 = <i8>high[6];
  }

  /** Takes registers 0xf7 to 0xfe. */
  compensate(data: Bytes): void {
    const pressure = ((<i32>data[0]) << 12) | ((<i32>data[1]) << 4) | (data[2] >> 4);
    const temperature = ((<i32>data[3]) << 12) | ((<i32>data[4]) << 4) | (data[5] >> 4);
    const humidity = <i32>data.u16be(6);
    const fine = this.fineTemperature(temperature);
    this.temperature = (fine * 5 + 128) >> 8;
    this.pressure = this.compensatePressure(pressure, fine);
    this.humidity = this.compensateHumidity(humidity, fine);
  }

  /** `t_fine`: the temperature that the other two are corrected by. */
  private fineTemperature(raw: i32): i32 {
    const linear = (((raw >> 3) - (this.t1 << 1)) * this.t2) >> 11;
    const offset = (raw >> 4) - this.t1;
    return linear + ((((offset * offset) >> 12) * this.t3) >> 14);
  }

  private compensatePressure(raw: i32, fine: i32): u32 {
    let var1 = <i64>fine - 128000;
    let var2 = var1 * var1 * this.p6;
    var2 = var2 + ((var1 * this.p5) << 17);
    var2 = var2 + (this.p4 << 35);
    var1 = ((var1 * var1 * this.p3) >> 8) + ((var1 * this.p2) << 12);
    var1 = ((((<i64>1) << 47) + var1) * this.p1) >> 33;
    if (var1 == 0) return 0;
    let p: i64 = 1048576 - raw;
    p = (((p << 31) - var2) * 3125) / var1;
    var1 = (this.p9 * (p >> 13) * (p >> 13)) >> 25;
    var2 = (this.p8 * p) >> 19;
    p = ((p + var1 + var2) >> 8) + (this.p7 << 4);
    return <u32>p;
  }

  private compensateHumidity(raw: i32, fine: i32): u32 {
    const x = fine - 76800;
    const scaled = ((raw << 14) - (this.h4 << 20) - this.h5 * x + 16384) >> 15;
    const slope = (((x * this.h6) >> 10) * (((x * this.h3) >> 11) + 32768)) >> 10;
    let v = scaled * (((slope + 2097152) * this.h2 + 8192) >> 14);
    v = v - (((((v >> 15) * (v >> 15)) >> 7) * this.h1) >> 4);
    v = max(0, min(v, 419430400));
    return <u32>(v >> 12);
  }
}
