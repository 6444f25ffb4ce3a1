/** What an operation of a slot gives back: a value of 0 and above, or a result code that must be looked at. */

import { trap } from "./abort";

/** The kernel's result codes by name (`docs/abi.md`), and the first code that is a module's own. */
export namespace Code {
  export const denied: i32 = -1;
  export const deadPeer: i32 = -2;
  export const timeout: i32 = -3;
  export const full: i32 = -4;
  export const busy: i32 = -5;
  export const tooLarge: i32 = -6;
  export const badAddress: i32 = -7;
  export const badHandle: i32 = -8;
  export const notFound: i32 = -9;
  export const io: i32 = -10;
  export const invalid: i32 = -11;
  export const unsupported: i32 = -12;
  export const noFuel: i32 = -13;
  export const noStack: i32 = -14;
  export const level: i32 = -15;
  export const quota: i32 = -16;
  export const contract: i32 = -17;
  export const notAcknowledged: i32 = -18;
  export const cancelled: i32 = -19;
  /** A module's own errors are this and below. */
  export const firstOfModule: i32 = -1000;
}

/**
 * A result without a place in memory: the code is the reference itself, so it costs nothing.
 * The build refuses a statement that drops one (`sensor.write(x);`): take `value`, ask `ok`, or say `ignore()`.
 */
@unmanaged
export class Result {
  /** Wraps a number that an import returned. */
  @inline
  static of(code: i32): Result {
    return changetype<Result>(<usize>code);
  }

  /** The number as the kernel gave it: 0 and above is success, below is a result code. */
  @inline
  get code(): i32 {
    return <i32>changetype<usize>(this);
  }

  @inline
  get ok(): bool {
    return this.code >= 0;
  }

  @inline
  get failed(): bool {
    return this.code < 0;
  }

  /** The value of a success; a failure that was not looked at ends the activation here. */
  get value(): i32 {
    if (this.failed) trap("a failed result", this.code);
    return this.code;
  }

  /** The value, or this instead where the operation failed. */
  @inline
  or(fallback: i32): i32 {
    return this.ok ? this.code : fallback;
  }

  /** The value; a failure traps with this text: for what cannot fail unless the module or its grant is wrong. */
  must(what: string): i32 {
    if (this.failed) trap(what, this.code);
    return this.code;
  }

  /** Says in the source that a failure does not matter here. */
  @inline
  ignore(): void {}
}
