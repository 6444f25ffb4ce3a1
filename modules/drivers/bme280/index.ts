/** Driver of the Bosch BME280 (BST-BME280-DS002): temperature, pressure and humidity in forced mode over I2C. */

import { Bytes, Code, Driver, Message, none, Reader, register, Reply, Result, Writer } from "bulkhead/sdk";
import { Source } from "bulkhead/sdk/source";
import { Compensation } from "./compensation";
import { settings } from "./generated/settings";
import { clock, log, MODULE_NAME, Port, readings, sensor, tick } from "./generated/slots";

/** Registers, section 5.3. */
const ID: u8 = 0xd0;
const CALIBRATION_LOW: u8 = 0x88;
const CALIBRATION_HIGH: u8 = 0xe1;
const CONTROL_HUMIDITY: u8 = 0xf2;
const STATUS: u8 = 0xf3;
const CONTROL_MEASURE: u8 = 0xf4;
const DATA: u8 = 0xf7;

const CHIP_ID: u8 = 0x60;
const MEASURING: u8 = 0x08;
/** Each quantity sampled once. */
const HUMIDITY_ONCE: u8 = 0x01;
const FORCED_ONCE: u8 = (1 << 5) | (1 << 2) | 1;
/** Section 9.1: 1.25 + 2.3 + (2.3 + 0.575) + (2.3 + 0.575) = 9.3 ms at most. */
const MEASUREMENT_MS: i32 = 10;
const POLLS: i32 = 5;
const POLL_MS: i32 = 2;

const PERIOD_MS: i32 = 1000;
/** A sensor that is gone is reported once in so many attempts. */
const FAILURES_PER_LINE: u32 = 60;

class Bme280 extends Driver {
  private source: Source = new Source(MODULE_NAME, PERIOD_MS);
  private compensation: Compensation = new Compensation();
  private isCalibrated: bool = false;
  private failures: u32 = 0;
  private one: Bytes = Bytes.allocate(1);
  private low: Bytes = Bytes.allocate(26);
  private high: Bytes = Bytes.allocate(7);
  private data: Bytes = Bytes.allocate(8);
  private temperature: Bytes = Bytes.fromText("temperature");
  private pressure: Bytes = Bytes.fromText("pressure");
  private humidity: Bytes = Bytes.fromText("humidity");
  private celsius: Bytes = Bytes.fromText("Cel");
  private pascal: Bytes = Bytes.fromText("Pa");
  private percent: Bytes = Bytes.fromText("%");

  start(restored: bool): void {
    if (settings.hasPeriod) this.source.period = settings.period;
    this.arm();
  }

  private arm(): void {
    tick.every(this.source.period).must("the timer");
  }

  message(port: i32, message: Message): Reply {
    if (port == Port.tick) this.measure();
    else if (port == Port.settings && this.source.configure(message)) this.arm();
    return none;
  }

  private measure(): void {
    const result = this.readSensor();
    if (result.ok) {
      this.failures = 0;
      this.emit();
      return;
    }
    // It may have been unplugged, and another one may be plugged in.
    this.isCalibrated = false;
    if (this.failures++ % FAILURES_PER_LINE == 0) log.failure("no measurement", result);
  }

  /** Leaves the raw measurement in `data`. */
  private readSensor(): Result {
    if (!this.isCalibrated) {
      const calibrated = this.calibrate();
      if (calibrated.failed) return calibrated;
    }
    const humidity = sensor.writeRegister(CONTROL_HUMIDITY, HUMIDITY_ONCE);
    if (humidity.failed) return humidity;
    const forced = sensor.writeRegister(CONTROL_MEASURE, FORCED_ONCE);
    if (forced.failed) return forced;
    const done = this.waitForMeasurement();
    return done.failed ? done : readWhole(DATA, this.data);
  }

  private calibrate(): Result {
    const id = readWhole(ID, this.one);
    if (id.failed) return id;
    if (this.one[0] != CHIP_ID) return Result.of(Code.notFound);
    const low = readWhole(CALIBRATION_LOW, this.low);
    if (low.failed) return low;
    const high = readWhole(CALIBRATION_HIGH, this.high);
    if (high.failed) return high;
    this.compensation.calibrate(this.low, this.high);
    this.isCalibrated = true;
    return high;
  }

  private waitForMeasurement(): Result {
    const slept = tick.sleep(MEASUREMENT_MS);
    if (slept.failed) return slept;
    for (let poll = 0; poll < POLLS; poll++) {
      const status = readWhole(STATUS, this.one);
      if (status.failed || (this.one[0] & MEASURING) == 0) return status;
      const waited = tick.sleep(POLL_MS);
      if (waited.failed) return waited;
    }
    return Result.of(Code.timeout);
  }

  private emit(): void {
    const compensation = this.compensation;
    compensation.compensate(this.data);
    const time = clock.wall();
    this.send(this.temperature, this.celsius, <f64>compensation.temperature / 100, time);
    this.send(this.pressure, this.pascal, <f64>compensation.pressure / 256, time);
    this.send(this.humidity, this.percent, <f64>compensation.humidity / 1024, time);
  }

  private send(quantity: Bytes, unit: Bytes, value: f64, time: i64): void {
    const sent = readings.send(this.source.next(quantity, unit, value, time));
    if (sent.failed) log.failure("a reading was not taken", sent);
  }

  save(writer: Writer): void {
    this.source.save(writer);
  }

  restore(reader: Reader, schema: u32): bool {
    return schema == 1 && this.source.restore(reader);
  }
}

/** A read that gave fewer bytes than asked for is a failure. */
function readWhole(register: u8, buffer: Bytes): Result {
  const result = sensor.readRegisters(register, buffer);
  return result.ok && result.value != buffer.length ? Result.of(Code.io) : result;
}

register(new Bme280());
