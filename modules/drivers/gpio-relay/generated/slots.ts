/** Generated from module.yaml by `bulkhead build`; edit that. The slots and ports of this module. */

import { Clock, Endpoint, GpioLine, Log } from "bulkhead/sdk";

/** The name and version of this module. */
export const MODULE_NAME: string = "gpio-relay";
// @ts-ignore: decorator
@lazy
export const MODULE_VERSION: string = "1.0.0";

/** The ports, as `message` gets them. */
export namespace Port {
  export const commands: i32 = 0;
}

// @ts-ignore: decorator
@external("line", "set")
declare function line_set(a0: i32): i32;

@unmanaged
class LineImports {
  @inline
  set(a0: i32): i32 {
    return line_set(a0);
  }
}

/** gpio-line: write. */
export const line = changetype<GpioLine<LineImports>>(<usize>0);

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
