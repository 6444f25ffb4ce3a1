/** Driver of the Microchip MCP3008 (DS21295): its eight inputs over SPI, as parts of the reference voltage. */

import { Bytes, Code, Driver, Message, none, Reader, register, Reply, Result, Writer } from "bulkhead/sdk";
import { Source } from "bulkhead/sdk/source";
import { settings } from "./generated/settings";
import { clock, converter, log, MODULE_NAME, Port, readings, tick } from "./generated/slots";

const INPUTS: i32 = 8;
/** Figure 6-1: the start bit ends the first byte; single-ended and the input's number head the second. */
const START: u8 = 0x01;
const SINGLE_ENDED: u8 = 0x80;
const INPUT_SHIFT: u8 = 4;
/** Equation 4-2: the code is 1024 times the input over the reference. */
const CODES: f64 = 1024;
/** Figure 6-1: a null bit comes before the ten bits of the result. */
const NULL_BIT: u8 = 0x04;

const PERIOD_MS: i32 = 1000;
const FAILURES_PER_LINE: u32 = 60;

class Mcp3008 extends Driver {
  private source: Source = new Source(MODULE_NAME, PERIOD_MS);
  private failures: u32 = 0;
  private request: Bytes = Bytes.allocate(3);
  private answer: Bytes = Bytes.allocate(3);
  private quantities: StaticArray<Bytes> = new StaticArray<Bytes>(INPUTS);
  private ratio: Bytes = Bytes.fromText("1");

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

  private measureAll(): void {
    for (let input = 0; input < INPUTS; input++) {
      const result = this.convert(input);
      if (result.failed) {
        if (this.failures++ % FAILURES_PER_LINE == 0) log.failure("no measurement", result);
        return;
      }
      const code = this.answer.u16be(1) & 0x3ff;
      const sent = readings.send(this.source.next(this.quantities[input], this.ratio, <f64>code / CODES, clock.wall()));
      if (sent.failed) log.failure("a reading was not taken", sent);
    }
    this.failures = 0;
  }

  /** A line that is pulled up, because no chip drives it, shows in the null bit. */
  private convert(input: i32): Result {
    this.request[0] = START;
    this.request[1] = SINGLE_ENDED | ((<u8>input) << INPUT_SHIFT);
    const result = converter.transfer(this.request, this.answer);
    if (result.failed) return result;
    const isWhole = result.value == this.answer.length && (this.answer[1] & NULL_BIT) == 0;
    return isWhole ? result : Result.of(Code.io);
  }

  save(writer: Writer): void {
    this.source.save(writer);
  }

  restore(reader: Reader, schema: u32): bool {
    return schema == 1 && this.source.restore(reader);
  }
}

register(new Mcp3008());
