/** Generated from module.yaml by `bulkhead build`; edit that. The slots and ports of this module. */

import { Clock, Endpoint, Log, Timer, Uart } from "bulkhead/sdk";

/** The name and version of this module. */
export const MODULE_NAME: string = "modbus-rtu";
// @ts-ignore: decorator
@lazy
export const MODULE_VERSION: string = "1.0.0";

/** The ports, as `message` gets them. */
export namespace Port {
  export const received: i32 = 0;
  export const timer: i32 = 1;
  export const points: i32 = 2;
}

// @ts-ignore: decorator
@external("line", "write")
declare function line_write(a0: usize, a1: i32): i32;

@unmanaged
class LineImports {
  @inline
  write(a0: usize, a1: i32): i32 {
    return line_write(a0, a1);
  }
}

/** uart: read, write; events on port received. */
export const line = changetype<Uart<LineImports>>(<usize>0);

// @ts-ignore: decorator
@external("timer", "after")
declare function timer_after(a0: i32): i32;

// @ts-ignore: decorator
@external("timer", "every")
declare function timer_every(a0: i32): i32;

// @ts-ignore: decorator
@external("timer", "cancel")
declare function timer_cancel(): i32;

// @ts-ignore: decorator
@external("timer", "sleep")
declare function timer_sleep(a0: i32): i32;

@unmanaged
class TimerImports {
  @inline
  after(a0: i32): i32 {
    return timer_after(a0);
  }
  @inline
  every(a0: i32): i32 {
    return timer_every(a0);
  }
  @inline
  cancel(): i32 {
    return timer_cancel();
  }
  @inline
  sleep(a0: i32): i32 {
    return timer_sleep(a0);
  }
}

/** timer: use; events on port timer. */
export const timer = changetype<Timer<TimerImports>>(<usize>0);

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
