/** What stands between the ABI's exports and the driver: the generated entry file calls these, and nothing else does. */

import { trap } from "./abort";
import { Bytes } from "./bytes";
import { Driver, none, Reply } from "./driver";
import { Message } from "./message";
import { Reader } from "./reader";
import { Code } from "./result";
import { Writer } from "./writer";

const KERNEL_PORT: i32 = 0xffff;
const NOTICE_START: u32 = 1;
const NOTICE_PEER_LOST: u32 = 2;
const NOTICE_PEER_BACK: u32 = 3;
const NOTICE_SAFE_STATE: u32 = 4;

/** Between two collections of garbage: an author's temporary objects live at most this many activations. */
const ACTIVATIONS_PER_COLLECTION: u32 = 16;

let driver: Driver | null = null;
let activations: u32 = 0;
const message = new Message();
const name = new Bytes();
const stateReader = new Reader();

/** Makes this the module's driver: `register(new MyDriver())`, once, at the top level. */
export function register(module: Driver): void {
  driver = module;
}

function registered(): Driver {
  const module = driver;
  if (module === null) trap("no register()", 0);
  return changetype<Driver>(module);
}

/** `bulkhead_handle`. Garbage is collected at the start, where the stack holds no reference. */
export function handle(port: i32, length: i32): Reply {
  if (++activations % ACTIVATIONS_PER_COLLECTION == 0) __collect();
  if (port != KERNEL_PORT) return registered().message(port, message);
  notice();
  return none;
}

function notice(): void {
  const reader = message.read();
  reader.array();
  const number = reader.u32();
  const module = registered();
  if (number == NOTICE_START) module.start(reader.boolean());
  else if (number == NOTICE_SAFE_STATE) module.safeState();
  else if (number == NOTICE_PEER_LOST || number == NOTICE_PEER_BACK) {
    reader.text(name);
    if (number == NOTICE_PEER_LOST) module.peerLost(name);
    else module.peerBack(name);
  }
}

/** An empty map: a start without settings. */
const noSettings = memory.data<u8>([0xa0]);

/** A reader at the operator's settings, where the message that has come is a start notice; else null. */
export function openSettings(port: i32): Reader | null {
  if (port != KERNEL_PORT) return null;
  const reader = message.read();
  const elements = reader.array();
  if (reader.u32() != NOTICE_START) return null;
  reader.boolean();
  return elements > 2 ? reader : reader.openAt(noSettings, 1);
}

/** `bulkhead_save`. */
export function save(writer: Writer): Reply {
  registered().save(writer.begin());
  return writer.failed ? <i64>Code.firstOfModule : ((<i64>writer.address) << 32) | <i64>writer.length;
}

/** `bulkhead_restore`: a state that is not read to its end is refused too. */
export function restore(address: usize, length: i32, schema: u32): i32 {
  const reader = stateReader.openAt(address, length);
  return registered().restore(reader, schema) && reader.finish() ? 0 : Code.firstOfModule;
}

/** `bulkhead_health`. */
export function health(): i32 {
  return registered().health();
}
