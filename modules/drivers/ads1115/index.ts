/** Driver of the Texas Instruments ADS1115 (SBAS444): the voltages of its four inputs, single-ended, over I2C. */

import { Bytes, Code, Driver, Message, none, Reader, register, Reply, Result, Writer } from "bulkhead/sdk";
import { Source } from "bulkhead/sdk/source";
import { settings } from "./generated/settings";
import { clock, converter, log, MODULE_NAME, Port, readings, tick } from "./generated/slots";

/** Registers, table 8-2. */
const CONVERSION: u8 = 0x00;
const CONFIGURATION: u8 = 0x01;

/** Bits of the configuration, table 8-3: start, input n against ground, 4.096 V full scale, single shot. */
const START_HIGH: u8 = 0x80 | 0x40 | (1 << 1) | 1;
const INPUT_SHIFT: u8 = 4;
/** 128 samples a second, comparator off. */
const LOW: u8 = (4 << 5) | 3;
/** The highest bit of the configuration reads 1 when no conversion runs. */
const IDLE: u8 = 0x80;

const INPUTS: i32 = 4;
const FULL_SCALE_VOLTS: f64 = 4.096;
/** 7.8 ms at 128 samples a second, and 10 % for the oscillator's tolerance. */
const CONVERSION_MS: i32 = 9;
const POLLS: i32 = 5;
const POLL_MS: i32 = 2;

const PERIOD_MS: i32 = 1000;
const FAILURES_PER_LINE: u32 = 60;

class Ads1115 extends Driver {
  private source: Source = new Source(MODULE_NAME, PERIOD_MS);
  private failures: u32 = 0;
  private configuration: Bytes = Bytes.allocate(3);
  private word: Bytes = Bytes.allocate(2);
  private quantities: StaticArray<Bytes> = new StaticArray<Bytes>(INPUTS);
  private volt: Bytes = Bytes.fromText("V");

  constructor() {
    super();
    for (let input = 0; input < INPUTS; input++) this.quantities[input] = Bytes.fromText("input-" + input.toString());
  }

  start(restored: bool): void {
    if (settings.hasPeriod) this.source.period = settings.period;
    this.arm();
  }

  private arm(): void {
    tick.every(this.source.period).must("the timer");
  }

  message(port: i32, message: Message): Reply {
    if (port == Port.tick) this.measureAll();
    else if (port == Port.settings && this.source.configure(message)) this.arm();
    return none;
  }

  /** One input that fails ends the round: the chip is away, or the bus is. */
  private measureAll(): void {
    for (let input = 0; input < INPUTS; input++) {
      const result = this.convert(input);
      if (result.failed) {
        if (this.failures++ % FAILURES_PER_LINE == 0) log.failure("no measurement", result);
        return;
      }
      const volts = (<f64>this.word.i16be(0) * FULL_SCALE_VOLTS) / 32768;
      const sent = readings.send(this.source.next(this.quantities[input], this.volt, volts, clock.wall()));
      if (sent.failed) log.failure("a reading was not taken", sent);
    }
    this.failures = 0;
  }

  /** Leaves the result of one conversion in `word`. */
  private convert(input: i32): Result {
    this.configuration[0] = CONFIGURATION;
    this.configuration[1] = START_HIGH | ((<u8>input) << INPUT_SHIFT);
    this.configuration[2] = LOW;
    const started = converter.write(this.configuration);
    if (started.failed) return started;
    const slept = tick.sleep(CONVERSION_MS);
    if (slept.failed) return slept;
    for (let poll = 0; poll < POLLS; poll++) {
      const state = this.readWord(CONFIGURATION);
      if (state.failed) return state;
      if ((this.word[0] & IDLE) != 0) return this.readWord(CONVERSION);
      const waited = tick.sleep(POLL_MS);
      if (waited.failed) return waited;
    }
    return Result.of(Code.timeout);
  }

  private readWord(register: u8): Result {
    const read = converter.readRegisters(register, this.word);
    return read.ok && read.value != this.word.length ? Result.of(Code.io) : read;
  }

  save(writer: Writer): void {
    this.source.save(writer);
  }

  restore(reader: Reader, schema: u32): bool {
    return schema == 1 && this.source.restore(reader);
  }
}

register(new Ads1115());
