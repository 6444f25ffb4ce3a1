/** Version 2 of `threshold`: alarms carry a severity, and whoever takes over tells what it took over. */

import { Alarm } from "bulkhead/interfaces/alarms";
import { Reading } from "bulkhead/interfaces/readings";
import { Settings } from "bulkhead/interfaces/settings";
import { Bytes, Code, Driver, Message, none, Reader, refuse, register, Reply, Writer } from "bulkhead/sdk";
import { setDefaultLimits } from "../defaults";
import { Limit, Table, Watch } from "../table";
import { settings } from "./generated/settings";
import { alarms, log, MODULE_NAME, Port } from "./generated/slots";

const ALARM_BYTES: i32 = 256;
const WRONG_MESSAGE: i32 = Code.firstOfModule;
/** Schema 2 is schema 1 and the number of takeovers: `[takeovers, state of schema 1]`. */
const SCHEMA: u32 = 2;
/** Critical is so many times the hysteresis above the limit. */
const CRITICAL_STEPS: f64 = 2;

class Threshold extends Driver {
  private table: Table = new Table();
  private takeovers: u32 = 0;
  private reading: Reading = new Reading();
  private change: Settings = new Settings();
  private alarm: Alarm = new Alarm();
  private writer: Writer = new Writer(ALARM_BYTES);
  private name: Bytes = Bytes.fromText(MODULE_NAME);
  private seen: Bytes = Bytes.fromText("readings-seen");
  private raised: Bytes = Bytes.fromText("raised");
  private cleared: Bytes = Bytes.fromText("cleared");
  private active: Bytes = Bytes.fromText("active");
  private takeover: Bytes = Bytes.fromText("takeover");
  private warning: Bytes = Bytes.fromText("warning");
  private critical: Bytes = Bytes.fromText("critical");

  start(restored: bool): void {
    if (!restored && settings.limits.length == 0) setDefaultLimits(this.table);
    for (let i = 0; i < settings.limits.length; i++) {
      const limit = settings.limits[i];
      if (!this.table.setLimit(limit.quantity, limit.high, limit.clear)) log.warning("limits that cannot be");
    }
    if (restored) this.announce();
  }

  /** Tells the readings that were seen before, and repeats every alarm that is raised. */
  private announce(): void {
    const table = this.table;
    this.takeovers++;
    const alarm = this.alarm;
    alarm.sensor = this.name;
    alarm.quantity = this.seen;
    alarm.state = this.takeover;
    alarm.value = <f64>table.seen;
    alarm.limit = 0;
    alarm.count = this.takeovers;
    alarm.time = table.lastTime;
    alarm.hasSeverity = false;
    this.send();
    for (let i = 0; i < table.watchCount; i++) {
      const watch = table.watch(i);
      const limit = table.findLimit(watch.quantity);
      if (watch.isRaised && limit !== null) this.tell(watch, this.active, limit.high, limit, limit.high);
    }
  }

  message(port: i32, message: Message): Reply {
    if (port == Port.readings) {
      if (!this.reading.decode(message.read())) return refuse(WRONG_MESSAGE);
      this.judge();
    } else if (port == Port.settings) this.configure(message);
    return none;
  }

  private judge(): void {
    const reading = this.reading;
    const table = this.table;
    table.seen++;
    table.lastTime = reading.time;
    const limit = table.findLimit(reading.quantity);
    if (limit === null) return;
    const watch = table.findWatch(reading.sensor, reading.quantity);
    if (watch === null) return;
    if (!watch.isRaised && reading.value > limit.high) {
      watch.isRaised = true;
      watch.count++;
      this.tell(watch, this.raised, limit.high, limit, reading.value);
    } else if (watch.isRaised && reading.value < limit.clear) {
      watch.isRaised = false;
      this.tell(watch, this.cleared, limit.clear, limit, reading.value);
    }
  }

  private tell(watch: Watch, state: Bytes, crossed: f64, limit: Limit, value: f64): void {
    const alarm = this.alarm;
    const isCritical = value > limit.high + CRITICAL_STEPS * (limit.high - limit.clear);
    alarm.sensor = watch.sensor;
    alarm.quantity = watch.quantity;
    alarm.state = state;
    alarm.value = value;
    alarm.limit = crossed;
    alarm.count = watch.count;
    alarm.time = this.table.lastTime;
    alarm.hasSeverity = true;
    alarm.severity = isCritical ? this.critical : this.warning;
    this.send();
  }

  private send(): void {
    const sent = alarms.send(this.alarm.encode(this.writer.begin()));
    if (sent.failed) log.failure("an alarm was not taken", sent);
  }

  private configure(message: Message): void {
    const change = this.change;
    if (!change.decode(message.read())) return;
    if (!change.hasQuantity || !change.hasHigh || !change.hasClear) return;
    if (!this.table.setLimit(change.quantity, change.high, change.clear)) log.warning("limits that cannot be");
  }

  save(writer: Writer): void {
    writer.array(2).unsigned(this.takeovers);
    this.table.save(writer);
  }

  restore(reader: Reader, schema: u32): bool {
    if (schema == 1) return this.table.restore(reader);
    if (schema != SCHEMA || reader.array() != 2) return false;
    this.takeovers = reader.u32();
    return this.table.restore(reader);
  }
}

register(new Threshold());
