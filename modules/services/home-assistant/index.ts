/** Service that shows every sensor and switch in Home Assistant by itself, through its MQTT discovery. */

import { Reading } from "bulkhead/interfaces/readings";
import { Switch } from "bulkhead/interfaces/switches";
import {
  Bytes,
  Code,
  Driver,
  Message,
  none,
  Publish,
  Reader,
  refuse,
  register,
  Reply,
  Result,
  Writer,
} from "bulkhead/sdk";
import { isName, isSwitch, nameOfCommand, writeDiscovery, writeDiscoveryTopic, writeStateTopic } from "./entity";
import { settings } from "./generated/settings";
import { broker, log, Port, switches } from "./generated/slots";

/** The longest prefix, what comes below it, a sensor and a quantity. */
const TOPIC_BYTES: i32 = 192;
const DISCOVERY_BYTES: i32 = 1024;
const STATE_BYTES: i32 = 32;
const DECIMALS: i32 = 3;
/** Entities that were made known; a hundred are more than a gateway's sensors have. */
const MOST_ENTITIES: i32 = 100;
const WRONG_MESSAGE: i32 = Code.firstOfModule;

class HomeAssistant extends Driver {
  private reading: Reading = new Reading();
  private topic: Writer = new Writer(TOPIC_BYTES);
  private payload: Writer = new Writer(DISCOVERY_BYTES);
  private state: Writer = new Writer(STATE_BYTES);
  private known: StaticArray<u32> = new StaticArray<u32>(MOST_ENTITIES);
  private knownCount: i32 = 0;
  private failures: u32 = 0;
  private commandTopic: Bytes = new Bytes();
  private commandPayload: Bytes = new Bytes();
  private command: Switch = new Switch();

  start(restored: bool): void {
    assert(isPlain(settings.prefix) && isPlain(settings.discovery) && isPlain(settings.id), "settings unfit for JSON");
  }

  message(port: i32, message: Message): Reply {
    if (port == Port.commands) this.obey(message.read());
    else if (port == Port.readings) {
      if (!this.reading.decode(message.read())) return refuse(WRONG_MESSAGE);
      this.show();
    }
    return none;
  }

  private show(): void {
    const reading = this.reading;
    if (!isName(reading.sensor) || !isName(reading.quantity)) return;
    this.makeKnown();
    writeStateTopic(this.topic, reading);
    this.state.begin().rawFixed(reading.value, isSwitch(reading) ? 0 : DECIMALS);
    if (!this.state.failed) this.note(broker.publish(this.topic, this.state, Publish.retain));
  }

  /** An entity is made known once; a failure is made good at the next reading. */
  private makeKnown(): void {
    writeDiscoveryTopic(this.topic, this.reading);
    const digest = hash(this.topic);
    for (let i = 0; i < this.knownCount; i++) if (this.known[i] == digest) return;
    if (this.knownCount == MOST_ENTITIES) return;
    writeDiscovery(this.payload, this.reading);
    const published = broker.publish(this.topic, this.payload, Publish.qos1 | Publish.retain);
    this.note(published);
    if (published.ok) this.known[this.knownCount++] = digest;
  }

  /** The event is `[topic, payload]`: the last level names the switch, the payload is `1` or `0`. */
  private obey(reader: Reader): void {
    reader.array();
    reader.text(this.commandTopic);
    reader.bytes(this.commandPayload);
    if (!reader.finish()) return;
    const on = this.commandPayload.is("1");
    if (!on && !this.commandPayload.is("0")) {
      log.warning("a command that is neither 1 nor 0");
      return;
    }
    if (!nameOfCommand(this.commandTopic, this.command.module)) {
      log.warning("a command for no switch");
      return;
    }
    this.command.on = on;
    this.command.hasModule = true;
    const sent = switches.send(this.command.encode(this.payload.begin()));
    if (sent.failed) log.failure("a command was not taken", sent);
  }

  /** The first failure of a row is told. */
  private note(published: Result): void {
    if (published.ok) this.failures = 0;
    else if (this.failures++ == 0) log.failure("not published", published);
  }
}

/** Nothing that JSON would have to escape. */
function isPlain(text: Bytes): bool {
  for (let i = 0; i < text.length; i++) if (text[i] < 32 || text[i] == 34 || text[i] == 92) return false;
  return true;
}

/** FNV-1a of 32 bits. Two entities that collide in a hundred are less likely than one in 800,000. */
function hash(bytes: Bytes): u32 {
  let digest: u32 = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i++) digest = (digest ^ bytes[i]) * 0x01000193;
  return digest;
}

register(new HomeAssistant());
