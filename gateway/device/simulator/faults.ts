/** Faults of simulated devices: what goes wrong, when, and how often. */
import { Refusal } from "../../../kernel/index.ts";

export const FAULT_KINDS = Object.freeze({
  nack: "the device does not acknowledge",
  stuck: "the bus is held, until the adapter's time-out",
  noise: "bits of what is read are flipped",
  crc: "a checksum of what is read is wrong",
  short: "less is read than was asked for",
  silent: "the device does not answer",
} as const);

export type FaultKind = keyof typeof FAULT_KINDS;

/** Active from `from` to `until` seconds (for ever by default), each time with this probability (1 by default). */
export interface Fault {
  readonly kind: FaultKind;
  readonly from: number;
  readonly until: number;
  readonly probability: number;
}

/** The faults of one device. Random decisions come from a generator of its own, so that a run can be repeated. */
export class FaultScript {
  #faults: readonly Fault[];
  #seed = 0x9e37_79b9;

  constructor(faults: readonly Fault[]) {
    this.#faults = faults;
  }

  set(faults: readonly Fault[]): void {
    this.#faults = faults;
  }

  strikes(kind: FaultKind, seconds: number): boolean {
    return this.#faults.some(
      (fault) =>
        fault.kind === kind && seconds >= fault.from && seconds < fault.until && this.random() < fault.probability,
    );
  }

  /** The kinds that may strike at that time. */
  active(seconds: number): FaultKind[] {
    return this.#faults.filter(({ from, until }) => seconds >= from && seconds < until).map(({ kind }) => kind);
  }

  /** 0 up to 1. */
  random(): number {
    let seed = this.#seed;
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    this.#seed = seed;
    return (seed >>> 0) / 0x1_0000_0000;
  }
}

/** @throws Refusal E_CONFIG */
export function parseFaults(value: unknown): Fault[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw badFault("faults is not a list");
  return value.map(parseFault);
}

function parseFault(value: unknown): Fault {
  if (typeof value !== "object" || value === null) throw badFault("a fault is not a map");
  const {
    kind,
    from = 0,
    until = Number.POSITIVE_INFINITY,
    probability = 1,
    ...rest
  } = value as Record<string, unknown>;
  if (typeof kind !== "string" || !Object.hasOwn(FAULT_KINDS, kind)) throw badFault("a fault is of an unknown kind");
  if (Object.keys(rest).length > 0) throw badFault(`a fault has no '${Object.keys(rest).join(", ")}'`);
  if (typeof from !== "number" || typeof until !== "number" || typeof probability !== "number") {
    throw badFault("from, until and probability of a fault are numbers");
  }
  // SAFETY: just found among the keys of FAULT_KINDS.
  return { kind: kind as FaultKind, from, until, probability };
}

function badFault(message: string): Refusal {
  return new Refusal("E_CONFIG", message, {
    expected: `{ kind: ${Object.keys(FAULT_KINDS).join(" | ")}, from, until, probability }`,
  });
}
