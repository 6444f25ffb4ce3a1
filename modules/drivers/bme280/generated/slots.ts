/** Generated from module.yaml by `bulkhead build`; edit that. The slots and ports of this module. */

import { Clock, Endpoint, I2cDevice, Log, Timer } from "bulkhead/sdk";

/** The name and version of this module. */
export const MODULE_NAME: string = "bme280";
// @ts-ignore: decorator
@lazy
export const MODULE_VERSION: string = "1.0.0";

/** The ports, as `message` gets them. */
export namespace Port {
  export const tick: i32 = 0;
  export const settings: i32 = 1;
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
@external("sensor", "read")
declare function sensor_read(a0: usize, a1: i32): i32;

// @ts-ignore: decorator
@external("sensor", "write")
declare function sensor_write(a0: usize, a1: i32): i32;

// @ts-ignore: decorator
@external("sensor", "write-read")
declare function sensor_writeRead(a0: usize, a1: i32, a2: usize, a3: i32): i32;

@unmanaged
class SensorImports {
  @inline
  read(a0: usize, a1: i32): i32 {
    return sensor_read(a0, a1);
  }
  @inline
  write(a0: usize, a1: i32): i32 {
    return sensor_write(a0, a1);
  }
  @inline
  writeRead(a0: usize, a1: i32, a2: usize, a3: i32): i32 {
    return sensor_writeRead(a0, a1, a2, a3);
  }
}

/** i2c-device: read, write. */
export const sensor = changetype<I2cDevice<SensorImports>>(<usize>0);

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
