/** Master of a Modbus RTU line (MODBUS over serial line V1.02): polls the registers of its settings, and sets those that may be. */

import { Point } from "bulkhead/interfaces/points";
import { Bytes, Code, Driver, Message, none, Reader, refuse, register, Reply, Type, Writer } from "bulkhead/sdk";
import { Source } from "bulkhead/sdk/source";
import { Answer, Frame } from "./frame";
import { Register, RegisterTable, RegisterWrite, settings } from "./generated/settings";
import { clock, line, log, MODULE_NAME, Port, readings, timer } from "./generated/slots";
import { appendWords, encoded, encodeValue, isBit, valueAt, wordsOf } from "./value";

/** Functions (application protocol V1.1b3, section 6). Those that read stand in the order of the tables. */
const READ: StaticArray<i32> = [1, 2, 3, 4];
const WRITE_COIL: i32 = 5;
const WRITE_REGISTER: i32 = 6;
const WRITE_COILS: i32 = 15;
const WRITE_REGISTERS: i32 = 16;
const COIL_ON: i32 = 0xff00;

/** Exceptions 5 and 6: the device works on it, or is busy; it wants to be asked again. */
const ACKNOWLEDGE: i32 = 5;
const DEVICE_BUSY: i32 = 6;

const WRONG_MESSAGE: i32 = Code.firstOfModule;
const NO_SUCH_POINT: i32 = Code.firstOfModule - 1;
const OUT_OF_RANGE: i32 = Code.firstOfModule - 2;
const TOO_MANY: i32 = Code.firstOfModule - 3;

/** Sections 2.5.1.1: above 19,200 baud the silence is 1.750 ms whatever the rate. */
const LEAST_SILENCE_MS: f64 = 1.75;
/** 3.5 characters of 11 bits. */
const SILENCE_BITS: f64 = 38.5;
const MILLISECOND: i64 = 1000000;
const MOST_WRITES: i32 = 8;
const FAILURES_PER_LINE: u32 = 60;
const UNUSED_PERIOD_MS: i32 = 1000;

/** What the line is doing. */
namespace State {
  /** Nothing is asked: the timer tells when the next register is due. */
  export const idle: i32 = 0;
  /** A request is out: the timer tells when its answer is overdue. */
  export const asking: i32 = 1;
  /** The silence between two frames. */
  export const silent: i32 = 2;
}

/** A value on its way to a register. */
class Write {
  target: i32 = 0;
  bits: u32 = 0;
}

class ModbusRtu extends Driver {
  private source: Source = new Source(MODULE_NAME, UNUSED_PERIOD_MS);
  private point: Point = new Point();
  private state: i32 = State.idle;
  /** When the timer means it: a tick that was on its way already is not for what came since. */
  private deadline: i64 = 0;
  private silence: i32 = 2;
  private due: StaticArray<i64> = new StaticArray<i64>(0);
  private failures: StaticArray<u32> = new StaticArray<u32>(0);
  private writes: StaticArray<Write> = new StaticArray<Write>(MOST_WRITES);
  private writeCount: i32 = 0;
  /** The register that is asked, and whether it is being set. */
  private current: i32 = 0;
  private isWriting: bool = false;
  private attempts: i32 = 0;
  private request: Frame = new Frame();
  private answer: Frame = new Frame();
  private expected: i32 = 0;
  private view: Bytes = new Bytes();
  private chunk: Bytes = new Bytes();
  /** What has come since the request is not an answer: the rest is waited for and dropped. */
  private isSpoilt: bool = false;

  constructor() {
    super();
    for (let i = 0; i < MOST_WRITES; i++) this.writes[i] = new Write();
  }

  start(restored: bool): void {
    this.silence = <i32>ceil(max(LEAST_SILENCE_MS, (SILENCE_BITS * 1000) / <f64>settings.baud));
    this.due = new StaticArray<i64>(settings.registers.length);
    this.failures = new StaticArray<u32>(settings.registers.length);
    this.writeCount = 0;
    // The device may still be answering an earlier instance.
    this.arm(State.silent, settings.timeout);
  }

  message(port: i32, message: Message): Reply {
    if (port == Port.received) this.receive(message);
    else if (port == Port.timer) this.tick();
    else return this.set(message);
    return none;
  }

  private arm(state: i32, milliseconds: i32): void {
    this.state = state;
    this.deadline = clock.monotonic() + <i64>milliseconds * MILLISECOND;
    timer.after(milliseconds).must("the timer");
  }

  private tick(): void {
    const left = this.deadline - clock.monotonic();
    if (left > 0) timer.after(<i32>((left + MILLISECOND - 1) / MILLISECOND)).must("the timer");
    else if (this.state == State.asking) this.fail("no answer in time", 0);
    else this.next();
  }

  /** Sends what is next: a write, or the register that has been due the longest. */
  private next(): void {
    if (this.writeCount > 0) {
      this.current = this.writes[0].target;
      this.isWriting = true;
      this.buildWrite(settings.registers[this.current], this.writes[0].bits);
      this.ask(0);
      return;
    }
    const first = this.earliest();
    const wait = this.due[first] - clock.monotonic();
    if (wait > 0) {
      this.arm(State.idle, <i32>((wait + MILLISECOND - 1) / MILLISECOND));
      return;
    }
    this.current = first;
    this.isWriting = false;
    this.buildRead(settings.registers[first]);
    this.ask(0);
  }

  private earliest(): i32 {
    let first = 0;
    for (let i = 1; i < this.due.length; i++) if (this.due[i] < this.due[first]) first = i;
    return first;
  }

  private station(target: Register): i32 {
    return target.hasStation ? target.station : settings.station;
  }

  private buildRead(target: Register): void {
    const words = isBit(target) ? 1 : wordsOf(target);
    this.request
      .begin(this.station(target), READ[functionIndex(target)])
      .word(target.address)
      .word(words)
      .end(this.view);
    // Station, function, count of bytes, the bytes, CRC.
    this.expected = 5 + (isBit(target) ? 1 : 2 * words);
  }

  private buildWrite(target: Register, bits: u32): void {
    const request = this.request;
    const isSingle = target.write == RegisterWrite.single;
    if (isBit(target)) {
      request.begin(this.station(target), isSingle ? WRITE_COIL : WRITE_COILS).word(target.address);
      if (isSingle) request.word(bits != 0 ? COIL_ON : 0);
      else
        request
          .word(1)
          .byte(1)
          .byte(bits != 0 ? 1 : 0);
    } else if (isSingle && wordsOf(target) == 1) {
      request.begin(this.station(target), WRITE_REGISTER).word(target.address);
      appendWords(target, bits, request);
    } else {
      const words = wordsOf(target);
      request
        .begin(this.station(target), WRITE_REGISTERS)
        .word(target.address)
        .word(words)
        .byte(2 * words);
      appendWords(target, bits, request);
    }
    request.end(this.view);
    this.expected = 8;
  }

  private ask(attempt: i32): void {
    this.attempts = attempt;
    this.answer.length = 0;
    this.isSpoilt = false;
    const written = line.write(this.view);
    if (written.failed) this.fail("the line does not take a request", written.code);
    else this.arm(State.asking, settings.timeout);
  }

  /** Bytes come as they please; null says that some were lost. Those that nobody asked for are dropped. */
  private receive(message: Message): void {
    if (this.state != State.asking) return;
    const reader = message.read();
    if (message.lost > 0 || reader.peek() == Type.nil) {
      this.isSpoilt = true;
      return;
    }
    reader.bytes(this.chunk);
    if (!reader.finish() || !this.answer.append(this.chunk)) this.isSpoilt = true;
    if (this.isSpoilt) return;
    const verdict = this.answer.judge(this.request, this.expected);
    if (verdict == Answer.unfinished) return;
    // What is damaged may go on: the time-out ends it, and with it the silence that the device needs.
    if (verdict == Answer.damaged) this.isSpoilt = true;
    else if (verdict != Answer.good) this.refused(verdict);
    else if (this.isWriting) this.written();
    else this.emit();
  }

  private emit(): void {
    const target = settings.registers[this.current];
    const answer = this.answer.bytes;
    if (<i32>answer[2] != this.expected - 5) {
      this.isSpoilt = true;
      return;
    }
    const value = valueAt(target, answer, 3);
    const sent = readings.send(this.source.next(target.name, target.unit, value, clock.wall()));
    if (sent.failed) log.failure("a reading was not taken", sent);
    this.done();
  }

  /** A write is answered by its own beginning; the register is read next, so that the new value is told. */
  private written(): void {
    if (!this.answer.echoes(this.request)) {
      this.isSpoilt = true;
      return;
    }
    this.done();
    this.due[this.current] = 0;
  }

  private done(): void {
    this.failures[this.current] = 0;
    this.finish();
  }

  /** The register has had its turn: the next one after the silence. */
  private finish(): void {
    if (this.isWriting) this.dropWrite();
    else this.schedule();
    this.arm(State.silent, this.silence);
  }

  /** In the rhythm of its period; periods that were missed are missed. */
  private schedule(): void {
    const period = <i64>settings.registers[this.current].period * MILLISECOND;
    const now = clock.monotonic();
    const next = this.due[this.current] + period;
    this.due[this.current] = next > now ? next : now + period;
  }

  private dropWrite(): void {
    const first = this.writes[0];
    for (let i = 1; i < this.writeCount; i++) this.writes[i - 1] = this.writes[i];
    this.writes[--this.writeCount] = first;
  }

  private refused(exception: i32): void {
    const isAgain = exception == ACKNOWLEDGE || exception == DEVICE_BUSY;
    if (isAgain && this.attempts < settings.retries) {
      this.again();
      return;
    }
    this.tell("exception " + exception.toString(), 0);
    this.finish();
  }

  private fail(what: string, code: i32): void {
    if (this.attempts < settings.retries) {
      this.ask(this.attempts + 1);
      return;
    }
    this.tell(this.isSpoilt ? "a damaged answer" : what, code);
    this.finish();
  }

  /** Asks again when the device has had its time. */
  private again(): void {
    this.answer.length = 0;
    this.isSpoilt = true;
    this.arm(State.asking, settings.timeout);
  }

  /** One line in so many failures of a register; a write that fails is always told. */
  private tell(what: string, code: i32): void {
    const isDue = this.failures[this.current]++ % FAILURES_PER_LINE == 0;
    if (!isDue && !this.isWriting) return;
    const where = this.current.toString() + (this.isWriting ? " (write): " : ": ");
    log.warning("register " + where + what + (code == 0 ? "" : " (" + code.toString() + ")"));
  }

  /** Takes a value for a register that may be set. A call is answered once it waits for the line, not once it is set. */
  private set(message: Message): Reply {
    if (!this.point.decode(message.read())) return refuse(WRONG_MESSAGE);
    const registers = settings.registers;
    for (let i = 0; i < registers.length; i++) {
      const target = registers[i];
      if (!target.name.equals(this.point.name) || target.write == RegisterWrite.never) continue;
      if (target.table != RegisterTable.coil && target.table != RegisterTable.holding) break;
      return this.enqueue(i, target);
    }
    return refuse(NO_SUCH_POINT);
  }

  private enqueue(index: i32, target: Register): Reply {
    const isOn: u32 = this.point.value != 0 ? 1 : 0;
    if (!isBit(target) && !encodeValue(target, this.point.value)) return refuse(OUT_OF_RANGE);
    if (this.writeCount == MOST_WRITES) return refuse(TOO_MANY);
    const write = this.writes[this.writeCount++];
    write.target = index;
    write.bits = isBit(target) ? isOn : encoded;
    if (this.state == State.idle) this.arm(State.silent, this.silence);
    return none;
  }

  save(writer: Writer): void {
    this.source.save(writer);
  }

  restore(reader: Reader, schema: u32): bool {
    return schema == 1 && this.source.restore(reader);
  }
}

function functionIndex(target: Register): i32 {
  return target.table;
}

register(new ModbusRtu());
