/** Generated from module.yaml by `bulkhead build`; edit that. The slots and ports of this module. */

import { Log } from "bulkhead/sdk";

/** The name and version of this module. */
export const MODULE_NAME: string = "counter-c";
export const MODULE_VERSION: string = "1.0.0";

/** The ports, as `message` gets them. */
export namespace Port {
  export const count: i32 = 0;
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
