/** Generated from module.yaml by `bulkhead build`; edit that. The slots and ports of this module. */

import { Log, Mqtt } from "bulkhead/sdk";

/** The name and version of this module. */
export const MODULE_NAME: string = "uplink";
// @ts-ignore: decorator
@lazy
export const MODULE_VERSION: string = "1.0.0";

/** The ports, as `message` gets them. */
export namespace Port {
  export const readings: i32 = 0;
  export const alarms: i32 = 1;
  export const windows: i32 = 2;
}

// @ts-ignore: decorator
@external("log", "write")
declare function log_write(a0: i32, a1: usize, a2: i32): i32;

@unmanaged
class LogImports {
  @inline
  write(a0: i32, a1: usize, a2: i32): i32 {
    return log_write(a0, a1, a2);
  }
}

/** log: write. */
export const log = changetype<Log<LogImports>>(<usize>0);

// @ts-ignore: decorator
@external("north", "publish")
declare function north_publish(a0: usize, a1: i32, a2: usize, a3: i32, a4: i32): i32;

@unmanaged
class NorthImports {
  @inline
  publish(a0: usize, a1: i32, a2: usize, a3: i32, a4: i32): i32 {
    return north_publish(a0, a1, a2, a3, a4);
  }
}

/** mqtt: publish. */
export const north = changetype<Mqtt<NorthImports>>(<usize>0);
