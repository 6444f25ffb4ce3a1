/** Service that takes settings from MQTT and hands them to the modules that the operator lets it reach. */

import { Settings } from "bulkhead/interfaces/settings";
import { Bytes, Driver, Message, none, Reader, register, Reply } from "bulkhead/sdk";
import { log, settings } from "./generated/slots";

class Control extends Driver {
  private topic: Bytes = new Bytes();
  private payload: Bytes = new Bytes();
  private inner: Reader = new Reader();
  private contract: Settings = new Settings();

  /** The event is `[topic, payload]`; which topics come is the operator's choice. */
  message(port: i32, message: Message): Reply {
    const reader = message.read();
    reader.array();
    reader.text(this.topic);
    reader.bytes(this.payload);
    if (!reader.finish() || !this.contract.decode(this.inner.open(this.payload))) {
      log.warning("settings that break their contract");
      return none;
    }
    const sent = settings.send(this.payload);
    if (sent.failed) log.failure("settings were not taken", sent);
    return none;
  }
}

register(new Control());
