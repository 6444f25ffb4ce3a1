/** Generated from module.yaml by `bulkhead build`; edit that. The slots and ports of this module. */

import { Endpoint, Log, Mqtt } from "bulkhead/sdk";

/** The name and version of this module. */
export const MODULE_NAME: string = "control";
// @ts-ignore: decorator
@lazy
export const MODULE_VERSION: string = "1.0.0";

/** The ports, as `message` gets them. */
export namespace Port {
  export const commands: i32 = 0;
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

@unmanaged
class CommandsImports {
}

/** mqtt: subscribe; events on port commands. */
export const commands = changetype<Mqtt<CommandsImports>>(<usize>0);

// @ts-ignore: decorator
@external("settings", "send")
declare function settings_send(a0: usize, a1: i32, a2: usize, a3: i32): i32;

@unmanaged
class SettingsImports {
  @inline
  send(a0: usize, a1: i32, a2: usize, a3: i32): i32 {
    return settings_send(a0, a1, a2, a3);
  }
}

/** endpoint: send. */
export const settings = changetype<Endpoint<SettingsImports>>(<usize>0);
