/** Service that publishes readings, alarms and windows over MQTT, each sensor under a topic of its own. */

import { Alarm } from "bulkhead/interfaces/alarms";
import { Reading } from "bulkhead/interfaces/readings";
import { Window } from "bulkhead/interfaces/windows";
import { Bytes, Code, Driver, Message, none, Publish, refuse, register, Reply, Result, Writer } from "bulkhead/sdk";
import { settings } from "./generated/settings";
import { log, north, Port } from "./generated/slots";

/** Below the operator's prefix, whose grant decides whether it is allowed. */
const READINGS = "/readings/";
const ALARMS = "/alarms/";
const WINDOWS = "/windows/";
/** The longest prefix, what comes below it, and a module's name. */
const TOPIC_BYTES: i32 = 64 + 10 + 48;
/** What a caller gets for a message that breaks the contract. */
const WRONG_MESSAGE: i32 = Code.firstOfModule;

class Uplink extends Driver {
  private topic: Writer = new Writer(TOPIC_BYTES);
  private reading: Reading = new Reading();
  private alarm: Alarm = new Alarm();
  private window: Window = new Window();
  private failures: u32 = 0;

  message(port: i32, message: Message): Reply {
    if (message.lost > 0) log.warning(message.lost.toString() + " messages were lost before this one");
    if (port == Port.readings) {
      if (!this.reading.decode(message.read())) return this.wrong("a reading");
      this.publish(READINGS, this.reading.sensor, message.payload);
    } else if (port == Port.alarms) {
      if (!this.alarm.decode(message.read())) return this.wrong("an alarm");
      this.publish(ALARMS, this.alarm.sensor, message.payload);
    } else if (port == Port.windows) {
      if (!this.window.decode(message.read())) return this.wrong("a window");
      this.publish(WINDOWS, this.window.sensor, message.payload);
    }
    return none;
  }

  /** The payload goes on as it came: it is CBOR that was just found to be what the contract says. */
  private publish(below: string, sensor: Bytes, payload: Bytes): void {
    if (!isTopicLevel(sensor)) {
      log.warning("a sensor's name cannot be a topic level");
      return;
    }
    this.topic.begin().raw(settings.prefix).rawText(below).raw(sensor);
    this.note(north.publish(this.topic, payload, Publish.qos1));
  }

  /** A link that is away fails for every message: the first of a row is told, and the end of the row. */
  private note(published: Result): void {
    if (published.failed) {
      if (this.failures++ == 0) log.failure("not published", published);
    } else if (this.failures > 0) {
      log.information("publishing again after " + this.failures.toString() + " failures");
      this.failures = 0;
    }
  }

  private wrong(what: string): Reply {
    log.warning(what + " that breaks its contract");
    return refuse(WRONG_MESSAGE);
  }
}

/** Lower-case letters, digits and hyphens: no separator, no wildcard, nothing that a broker reads otherwise. */
function isTopicLevel(name: Bytes): bool {
  for (let i = 0; i < name.length; i++) {
    const character = name[i];
    const isLetter = character >= 97 && character <= 122;
    const isDigit = character >= 48 && character <= 57;
    if (!isLetter && !isDigit && character != 45) return false;
  }
  return name.length > 0;
}

register(new Uplink());
