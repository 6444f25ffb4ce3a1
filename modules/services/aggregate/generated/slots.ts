/** Generated from module.yaml by `bulkhead build`; edit that. The slots and ports of this module. */

import { Endpoint, Log, Timer } from "bulkhead/sdk";

/** The name and version of this module. */
export const MODULE_NAME: string = "aggregate";
// @ts-ignore: decorator
@lazy
export const MODULE_VERSION: string = "1.0.0";

/** The ports, as `message` gets them. */
export namespace Port {
  export const readings: i32 = 0;
  export const tick: i32 = 1;
  export const settings: i32 = 2;
}

// @ts-ignore: decorator
@external("tick", "after")
declare function tick_after(a0: i32): i32;

// @ts-ignore: decorator
@external("tick", "every")
declare function tick_every(a0: i32): i32;

// @ts-ignore: decorator
@external("tick", "cancel")
declare function tick_cancel(): i32;

// @ts-ignore: decorator
@external("tick", "sleep")
declare function tick_sleep(a0: i32): i32;

@unmanaged
class TickImports {
  @inline
  after(a0: i32): i32 {
    return tick_after(a0);
  }
  @inline
  every(a0: i32): i32 {
    return tick_every(a0);
  }
  @inline
  cancel(): i32 {
    return tick_cancel();
  }
  @inline
  sleep(a0: i32): i32 {
    return tick_sleep(a0);
  }
}

/** timer: use; events on port tick. */
export const tick = changetype<Timer<TickImports>>(<usize>0);

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
@external("windows", "send")
declare function windows_send(a0: usize, a1: i32, a2: usize, a3: i32): i32;

@unmanaged
class WindowsImports {
  @inline
  send(a0: usize, a1: i32, a2: usize, a3: i32): i32 {
    return windows_send(a0, a1, a2, a3);
  }
}

/** endpoint: send. */
export const windows = changetype<Endpoint<WindowsImports>>(<usize>0);
