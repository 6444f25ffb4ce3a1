/** Driver of the machine itself: load, memory and processor use, from three files of `/proc`. */

import { Bytes, Driver, Message, none, Reader, register, Reply, Result, Writer } from "bulkhead/sdk";
import { Source } from "bulkhead/sdk/source";
import { settings } from "./generated/settings";
import { clock, loadavg, log, meminfo, MODULE_NAME, Port, readings, stat, tick } from "./generated/slots";
import { ProcText } from "./proc-text";

const PERIOD_MS: i32 = 1000;
/** The lines that are needed are at the start of each file. */
const FILE_BYTES: i32 = 512;
/** `user nice system idle iowait irq softirq steal` of the first line of /proc/stat (proc_stat(5)). */
const CPU_FIELDS: i32 = 8;
const IDLE: i32 = 3;
const WAITING: i32 = 4;

class SystemMonitor extends Driver {
  private source: Source = new Source(MODULE_NAME, PERIOD_MS);
  private buffer: Bytes = Bytes.allocate(FILE_BYTES);
  private text: ProcText = new ProcText();
  /** Processor time so far, in ticks of the system clock; 0 before the first look. */
  private busyBefore: f64 = 0;
  private totalBefore: f64 = 0;
  private load: Bytes = Bytes.fromText("load");
  private memoryUsed: Bytes = Bytes.fromText("memory-used");
  private processor: Bytes = Bytes.fromText("processor");
  private ratio: Bytes = Bytes.fromText("1");
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
    this.measureLoad(loadavg.read(0, this.buffer));
    this.measureMemory(meminfo.read(0, this.buffer));
    this.measureProcessor(stat.read(0, this.buffer));
  }

  /** `0.52 0.58 0.59 1/467 12345`: the first is the load of the last minute. */
  private measureLoad(read: Result): void {
    if (!this.opened(read, "loadavg")) return;
    const load = this.text.number();
    if (this.text.ok) this.send(this.load, this.ratio, load);
  }

  /** `MemTotal:       16303428 kB`, and the same for `MemAvailable`. */
  private measureMemory(read: Result): void {
    if (!this.opened(read, "meminfo")) return;
    const total = this.text.numberAfter("MemTotal:");
    const available = this.text.numberAfter("MemAvailable:");
    if (this.text.ok && total > 0) this.send(this.memoryUsed, this.percent, (100 * (total - available)) / total);
  }

  /** What part of the time since the last look was not idle. The first look has nothing to compare with. */
  private measureProcessor(read: Result): void {
    if (!this.opened(read, "stat")) return;
    let total: f64 = 0;
    let idle: f64 = 0;
    this.text.after("cpu");
    for (let field = 0; field < CPU_FIELDS; field++) {
      const ticks = this.text.number();
      total += ticks;
      if (field == IDLE || field == WAITING) idle += ticks;
    }
    if (!this.text.ok) return;
    const busy = total - idle;
    const elapsed = total - this.totalBefore;
    const used = busy - this.busyBefore;
    const isFirst = this.totalBefore == 0;
    this.totalBefore = total;
    this.busyBefore = busy;
    if (!isFirst && elapsed > 0) this.send(this.processor, this.percent, max(0, min(100, (100 * used) / elapsed)));
  }

  private opened(read: Result, name: string): bool {
    if (read.failed) {
      log.failure(name, read);
      return false;
    }
    this.text.open(this.buffer, read.value);
    return true;
  }

  private send(quantity: Bytes, unit: Bytes, value: f64): void {
    const sent = readings.send(this.source.next(quantity, unit, value, clock.wall()));
    if (sent.failed) log.failure("a reading was not taken", sent);
  }

  save(writer: Writer): void {
    this.source.save(writer);
  }

  restore(reader: Reader, schema: u32): bool {
    return schema == 1 && this.source.restore(reader);
  }
}

register(new SystemMonitor());
