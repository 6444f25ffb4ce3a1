/** The SDK of Bulkhead modules: everything a driver's source imports. */

export { Bytes } from "./bytes";
export { Fault, Reader, Type, Writer } from "./cbor";
export { Driver, none, refuse, Reply, reply } from "./driver";
export { Kind, Message } from "./message";
export { register } from "./module";
export { Code, Result } from "./result";
export {
  Clock,
  Endpoint,
  File,
  GpioLine,
  Handles,
  Http,
  I2cDevice,
  Log,
  Mqtt,
  OneWire,
  Publish,
  Random,
  Right,
  SpiDevice,
  Store,
  Timer,
  Uart,
} from "./slots";
export { isText } from "./text";
