/** Service that raises an alarm when a reading crosses its limit, and clears it with hysteresis. */

import { Alarm } from "bulkhead/interfaces/alarms";
import { Reading } from "bulkhead/interfaces/readings";
import { Settings } from "bulkhead/interfaces/settings";
import { Bytes, Code, Driver, Message, none, Reader, refuse, register, Reply, Writer } from "bulkhead/sdk";
import { setDefaultLimits } from "./defaults";
import { Limit, settings } from "./generated/settings";
import { alarms, log, Port } from "./generated/slots";
import { Table, Watch } from "./table";

const ALARM_BYTES: i32 = 224;
const WRONG_MESSAGE: i32 = Code.firstOfModule;
const SCHEMA: u32 = 1;

class Threshold extends Driver {
  private table: Table = new Table();
  private reading: Reading = new Reading();
  private wanted: Settings = new Settings();
  private alarm: Alarm = new Alarm();
  private writer: Writer = new Writer(ALARM_BYTES);
  private raised: Bytes = Bytes.fromText("raised");
  private cleared: Bytes = Bytes.fromText("cleared");

  start(restored: bool): void {
    if (!restored && settings.limits.length == 0) setDefaultLimits(this.table);
    this.setLimits(settings.limits);
  }

  private setLimits(limits: Array<Limit>): void {
    for (let i = 0; i < limits.length; i++) {
      const limit = limits[i];
      if (!this.table.setLimit(limit.quantity, limit.high, limit.clear)) log.warning("limits that cannot be");
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
    this.table.seen++;
    this.table.lastTime = reading.time;
    const limit = this.table.findLimit(reading.quantity);
    if (limit === null) return;
    const watch = this.table.findWatch(reading.sensor, reading.quantity);
    if (watch === null) return;
    if (!watch.isRaised && reading.value > limit.high) {
      watch.count++;
      this.change(watch, true, limit.high);
    } else if (watch.isRaised && reading.value < limit.clear) this.change(watch, false, limit.clear);
  }

  private change(watch: Watch, isRaised: bool, limit: f64): void {
    watch.isRaised = isRaised;
    const alarm = this.alarm;
    alarm.sensor = watch.sensor;
    alarm.quantity = watch.quantity;
    alarm.state = isRaised ? this.raised : this.cleared;
    alarm.value = this.reading.value;
    alarm.limit = limit;
    alarm.count = watch.count;
    alarm.time = this.reading.time;
    const sent = alarms.send(alarm.encode(this.writer.begin()));
    if (sent.failed) log.failure("an alarm was not taken", sent);
  }

  private configure(message: Message): void {
    const wanted = this.wanted;
    if (!wanted.decode(message.read())) return;
    if (!wanted.hasQuantity || !wanted.hasHigh || !wanted.hasClear) return;
    if (!this.table.setLimit(wanted.quantity, wanted.high, wanted.clear)) log.warning("limits that cannot be");
  }

  save(writer: Writer): void {
    this.table.save(writer);
  }

  restore(reader: Reader, schema: u32): bool {
    return schema == SCHEMA && this.table.restore(reader);
  }
}

register(new Threshold());
