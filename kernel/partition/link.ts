/** What an imported operation may use of the partition that it runs in. */
import type { PostOffice } from "./post.ts";
import type { Incarnation } from "./cell.ts";
import type { Report } from "./protocol.ts";
import type { Timers } from "./timers.ts";

/** An import as Wasm calls it. A promise suspends the caller; only blocking operations may return one. */
export type GuestFunction = (...parameters: never[]) => number | bigint | undefined | Promise<number>;

export interface LinkContext {
  readonly incarnation: Incarnation;
  readonly isDirect: boolean;
  readonly post: PostOffice;
  readonly timers: Timers;
  readonly exhausted: () => undefined | Promise<number>;
  readonly overflow: () => never;
  readonly now: () => number;
  /** Suspends the running handler until `complete` is called with its result. */
  readonly suspend: (start: (complete: (result: number) => void) => void) => Promise<number>;
  readonly ready: () => void;
  readonly report: (report: Report) => void;
  /** Asks the host; `complete` gets its answer once. @returns the request's number, for a cancellation. */
  readonly request: (
    binding: number,
    operation: string,
    numbers: readonly number[],
    bytes: readonly Uint8Array[],
    capacity: number,
    complete: (result: number, bytes: Uint8Array) => void,
  ) => void;
}
