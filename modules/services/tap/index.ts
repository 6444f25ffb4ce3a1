/** Service that shows the messages of a module under development: `bulkhead dev` adds it to the gateway that it starts. */

import { Driver, Message, none, register, Reply, Writer } from "bulkhead/sdk";
import { north } from "./generated/slots";

/** One topic for each edge, below what the grant allows. */
const TOPICS = "bulkhead-dev/";

class Tap extends Driver {
  private topic: Writer = new Writer(TOPICS.length + 1);

  /** The payload goes on as it came. What the link does not take is not shown: nobody waits for it. */
  message(port: i32, message: Message): Reply {
    this.topic
      .begin()
      .rawText(TOPICS)
      .rawFixed(<f64>port, 0);
    north.publish(this.topic, message.payload, 0).ignore();
    return none;
  }
}

register(new Tap());
