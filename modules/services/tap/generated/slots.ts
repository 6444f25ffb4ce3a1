/** Generated from module.yaml by `bulkhead build`; edit that. The slots and ports of this module. */

import { Mqtt } from "bulkhead/sdk";

/** The name and version of this module. */
export const MODULE_NAME: string = "tap";
// @ts-ignore: decorator
@lazy
export const MODULE_VERSION: string = "1.0.0";

/** The ports, as `message` gets them. */
export namespace Port {
  export const edge0: i32 = 0;
  export const edge1: i32 = 1;
  export const edge2: i32 = 2;
  export const edge3: i32 = 3;
  export const edge4: i32 = 4;
  export const edge5: i32 = 5;
  export const edge6: i32 = 6;
  export const edge7: i32 = 7;
}

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
