/** Generated from module.yaml by `bulkhead build`; edit that. The slots and ports of this module. */

import { Clock, Endpoint, GpioLine, Log, Timer } from "bulkhead/sdk";

/** The name and version of this module. */
export const MODULE_NAME: string = "gpio-button";
// @ts-ignore: decorator
@lazy
export const MODULE_VERSION: string = "1.0.0";

/** The ports, as `message` gets them. */
export namespace Port {
  export const edges: i32 = 0;
  export const settle: i32 = 1;
}

// @ts-ignore: decorator
@external("line", "get")
declare function line_get(): i32;

@unmanaged
class LineImports {
  @inline
  get(): i32 {
    return line_get();
  }
}

/** gpio-line: read, edges; events on port edges. */
export const line = changetype<GpioLine<LineImports>>(<usize>0);

// @ts-ignore: decorator
@external("settle", "after")
declare function settle_after(a0: i32): i32;

// @ts-ignore: decorator
@external("settle", "every")
declare function settle_every(a0: i32): i32;

// @ts-ignore: decorator
@external("settle", "cancel")
declare function settle_cancel(): i32;

// @ts-ignore: decorator
@external("settle", "sleep")
declare function settle_sleep(a0: i32): i32;

@unmanaged
class SettleImports {
  @inline
  after(a0: i32): i32 {
    return settle_after(a0);
  }
  @inline
  every(a0: i32): i32 {
    return settle_every(a0);
  }
  @inline
  cancel(): i32 {
    return settle_cancel();
  }
  @inline
  sleep(a0: i32): i32 {
    return settle_sleep(a0);
  }
}

/** timer: use; events on port settle. */
export const settle = changetype<Timer<SettleImports>>(<usize>0);

// @ts-ignore: decorator
@external("clock", "monotonic")
declare function clock_monotonic(): i64;

// @ts-ignore: decorator
@external("clock", "wall")
declare function clock_wall(): i64;

@unmanaged
class ClockImports {
  @inline
  monotonic(): i64 {
    return clock_monotonic();
  }
  @inline
  wall(): i64 {
    return clock_wall();
  }
}

/** clock: use. */
export const clock = changetype<Clock<ClockImports>>(<usize>0);

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
@external("readings", "send")
declare function readings_send(a0: usize, a1: i32, a2: usize, a3: i32): i32;

@unmanaged
class ReadingsImports {
  @inline
  send(a0: usize, a1: i32, a2: usize, a3: i32): i32 {
    return readings_send(a0, a1, a2, a3);
  }
}

/** endpoint: send. */
export const readings = changetype<Endpoint<ReadingsImports>>(<usize>0);
