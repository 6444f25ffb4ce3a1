/** Generated from module.yaml by `bulkhead build`; edit that. The slots and ports of this module. */

import { Endpoint, Log } from "bulkhead/sdk";

/** The name and version of this module. */
export const MODULE_NAME: string = "threshold";
// @ts-ignore: decorator
@lazy
export const MODULE_VERSION: string = "1.0.0";

/** The ports, as `message` gets them. */
export namespace Port {
  export const readings: i32 = 0;
  export const settings: i32 = 1;
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
@external("alarms", "send")
declare function alarms_send(a0: usize, a1: i32, a2: usize, a3: i32): i32;

@unmanaged
class AlarmsImports {
  @inline
  send(a0: usize, a1: i32, a2: usize, a3: i32): i32 {
    return alarms_send(a0, a1, a2, a3);
  }
}

/** endpoint: send. */
export const alarms = changetype<Endpoint<AlarmsImports>>(<usize>0);
