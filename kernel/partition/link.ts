/** What an imported operation may use of the partition that it runs in. */
import { RESULT, type ResultName } from "../abi.ts";
import { LIMITS } from "../limits.ts";
import { GuestStopped } from "./fault.ts";
import type { Incarnation, ModuleCell } from "./cell.ts";
import type { Environment } from "./runner.ts";

/** An import as Wasm calls it. A promise suspends the caller; only blocking operations may return one. */
export type GuestFunction = (...parameters: never[]) => number | bigint | undefined | Promise<number>;

/** Suspends the running handler until `complete` is called; what `start` returns undoes it where the handler is killed. */
export type Suspend = (start: (complete: (result: number) => void) => (() => void) | undefined) => Promise<number>;

/** Asks the host for a module; `complete` gets its answer once. @returns what forgets the request. */
export type HostRequest = (
  cell: ModuleCell,
  binding: number,
  operation: string,
  numbers: readonly number[],
  bytes: readonly Uint8Array[],
  capacity: number,
  complete: HostCompletion,
) => () => void;
export type HostCompletion = (result: number, bytes: Uint8Array) => void;

export interface LinkContext extends Environment {
  readonly incarnation: Incarnation;
  readonly exhausted: () => undefined | Promise<number>;
  /** Ends the slice before it is used up: 0 with a new one, 1 where the activation has no fuel left for one. */
  readonly nextSlice: () => number | Promise<number>;
  readonly suspend: Suspend;
}

/** Tells the supervisor of a denial, which the guest pays for, unless this module floods it. @returns the result code. */
export function deny(
  context: LinkContext,
  slot: string,
  operation: string,
  code: ResultName = "denied",
  text = "",
): number {
  const { incarnation, now, report } = context;
  const { cell, instance } = incarnation;
  const result = RESULT[code];
  instance.charge(OPERATION_FUEL.denial);
  const untold = cell.denials.admit(now(), `${slot}.${operation} ${code}`);
  if (untold !== undefined) report({ type: "denied", module: cell.id, slot, operation, result, text, untold });
  return result;
}

/**
 * Fuel of one use of an operation that the host carries out: about what it takes in nanoseconds, as a slice is 200,000 for
 * 200 µs. What crosses to another thread costs as much as `resource`. Endpoints pay `handles` at least.
 */
export const OPERATION_FUEL = Object.freeze({
  send: 150,
  handles: 50,
  timer: 600,
  clock: 50,
  random: 300,
  log: 300,
  denial: 300,
  resource: 3000,
});

/**
 * The guest pays before the host works: a slice of operations then takes about as long as one of its own code. A meter looks at its counter only where code loops or enters a function, so what
 * a straight line of operations may owe is bounded here. @throws GuestStopped: then nothing of it is charged.
 */
export function pay(context: LinkContext, fuel: number): void {
  const { instance } = context.incarnation;
  if (instance.charge(fuel) >= -LIMITS.entryFuel) return;
  instance.charge(-fuel);
  throw new GuestStopped("budget", `operations of the host in a straight line may owe ${LIMITS.entryFuel} fuel`);
}

/** Shorter work is paid by the call itself. */
const FREE_BYTES = 512;

/** Charges the guest for what the host does with its bytes, eight for one fuel as the meter counts its own bulk work. */
export function chargeBytes({ incarnation: { instance } }: LinkContext, bytes: number): void {
  if (bytes > FREE_BYTES) instance.charge(bytes >>> 3);
}
