/** Service that sends least, greatest, mean and deviation of the readings of each window of time. */

import { Reading } from "bulkhead/interfaces/readings";
import { Settings } from "bulkhead/interfaces/settings";
import { Window } from "bulkhead/interfaces/windows";
import { Bytes, Code, Driver, Message, none, Reader, refuse, register, Reply, Writer } from "bulkhead/sdk";
import { settings } from "./generated/settings";
import { log, MODULE_NAME, Port, tick, windows } from "./generated/slots";
import { Series } from "./series";

/** A bound of the state's size: 32 times 200 bytes are below 8192. */
const MOST_SERIES: i32 = 32;
const WINDOW_BYTES: i32 = 288;
const PERIOD_MS: i32 = 60000;
const WRONG_MESSAGE: i32 = Code.firstOfModule;

class Aggregate extends Driver {
  private period: i32 = PERIOD_MS;
  private series: StaticArray<Series> = new StaticArray<Series>(MOST_SERIES);
  private seriesCount: i32 = 0;
  private reading: Reading = new Reading();
  private change: Settings = new Settings();
  private window: Window = new Window();
  private writer: Writer = new Writer(WINDOW_BYTES);
  private name: Bytes = Bytes.fromText(MODULE_NAME);

  constructor() {
    super();
    for (let i = 0; i < MOST_SERIES; i++) this.series[i] = new Series();
  }

  start(restored: bool): void {
    if (settings.hasPeriod) this.period = settings.period;
    this.arm();
  }

  private arm(): void {
    tick.every(this.period).must("the timer");
  }

  message(port: i32, message: Message): Reply {
    if (port == Port.readings) return this.take(message);
    if (port == Port.tick) this.closeAll();
    else if (port == Port.settings) this.configure(message);
    return none;
  }

  private take(message: Message): Reply {
    if (!this.reading.decode(message.read())) return refuse(WRONG_MESSAGE);
    // Not a number stays out: one would be the mean of all.
    if (!isFinite(this.reading.value)) return none;
    const series = this.find();
    if (series === null) log.warning("more series than there is room for");
    else series.add(this.reading);
    return none;
  }

  private find(): Series | null {
    for (let i = 0; i < this.seriesCount; i++) if (this.series[i].isOf(this.reading)) return this.series[i];
    if (this.seriesCount == MOST_SERIES) return null;
    const series = this.series[this.seriesCount++];
    series.name(this.reading);
    return series;
  }

  private closeAll(): void {
    for (let i = 0; i < this.seriesCount; i++) {
      if (this.series[i].count == 0) continue;
      this.series[i].close(this.window);
      const sent = windows.send(this.window.encode(this.writer.begin()));
      if (sent.failed) log.failure("a window was not taken", sent);
    }
  }

  private configure(message: Message): void {
    const change = this.change;
    if (!change.decode(message.read()) || !change.hasPeriod) return;
    // The period of windows is this module's own: a change for everybody is for measurements.
    if (!change.hasModule || !change.module.equals(this.name)) return;
    this.period = <i32>change.period;
    this.arm();
  }

  save(writer: Writer): void {
    writer.array(2).unsigned(this.period).array(this.seriesCount);
    for (let i = 0; i < this.seriesCount; i++) this.series[i].save(writer);
  }

  restore(reader: Reader, schema: u32): bool {
    if (schema != 1 || reader.array() != 2) return false;
    const period = <i32>reader.within(10, 3600000);
    const count = reader.array();
    if (!reader.ok || count > <u32>MOST_SERIES) return false;
    for (let i = 0; i < <i32>count; i++) if (!this.series[i].restore(reader)) return false;
    this.period = period;
    this.seriesCount = <i32>count;
    return true;
  }
}

register(new Aggregate());
