/** Endpoint capabilities as values, and the table of handles that one module holds. */
import { ENDPOINT_RIGHT, type EndpointRight } from "../abi.ts";
import { LIMITS } from "../limits.ts";

/** Where a message goes: one port of one module. `partition` is where that module runs. */
export interface Target {
  readonly edge: number;
  readonly module: number;
  readonly partition: number;
  readonly port: number;
  /** The delegations by which it came here, as edges: the path to it in the tree of derivation. Empty for a slot's own. */
  readonly via: readonly number[];
}

/** Delegations that may follow one another: a path is looked at in each use. */
export const MAXIMUM_VIA = 7;

/** The authority to send to, or call, one port. Values are immutable; narrowing makes another. */
export interface Capability {
  readonly target: Target;
  /** Bits of ENDPOINT_RIGHT. */
  readonly rights: number;
  readonly badge: number;
}

export const NO_CAPABILITIES: readonly Capability[] = Object.freeze([]);

export function rightBits(rights: readonly EndpointRight[]): number {
  return rights.reduce((bits, right) => bits | ENDPOINT_RIGHT[right], 0);
}

/** Handles carry a generation above the index, so that a closed one is never mistaken for a later one. */
const INDEX_BITS = 11;
const INDEX_MASK = (1 << INDEX_BITS) - 1;
const GENERATION_LIMIT = 1 << (30 - INDEX_BITS);

/** A table's handles, with their numbers, as plain data. */
export interface HandleContents {
  readonly entries: readonly (Capability | undefined)[];
  readonly generations: readonly number[];
  readonly free: readonly number[];
}

export class HandleTable {
  readonly #entries: (Capability | undefined)[];
  readonly #generations: number[];
  readonly #free: number[];

  constructor({ entries, generations, free }: HandleContents = { entries: [], generations: [], free: [] }) {
    this.#entries = [...entries];
    this.#generations = [...generations];
    this.#free = [...free];
  }

  get size(): number {
    return this.#entries.length - this.#free.length;
  }

  contents(): HandleContents {
    return { entries: [...this.#entries], generations: [...this.#generations], free: [...this.#free] };
  }

  /** @returns the new handle, 1 or more, or undefined where the module holds as many as it may. */
  add(capability: Capability): number | undefined {
    const index = this.#free.pop() ?? this.#entries.length;
    if (index >= LIMITS.handles) return undefined;
    this.#entries[index] = capability;
    this.#generations[index] ??= 1;
    return ((this.#generations[index] ?? 1) << INDEX_BITS) | index;
  }

  find(handle: number): Capability | undefined {
    const index = handle & INDEX_MASK;
    return this.#generations[index] === handle >>> INDEX_BITS ? this.#entries[index] : undefined;
  }

  /** The handles that lead to this module. */
  leadingTo(module: number): number[] {
    return this.#entries.flatMap((entry, index) =>
      entry?.target.module === module ? [((this.#generations[index] ?? 0) << INDEX_BITS) | index] : [],
    );
  }

  /** Closes every handle. Their numbers stay stale, also for a successor that has them from a saved state. */
  closeAll(): void {
    for (const index of this.#entries.keys()) this.close(((this.#generations[index] ?? 0) << INDEX_BITS) | index);
  }

  /** @returns false where there is no such handle. */
  close(handle: number): boolean {
    if (this.find(handle) === undefined) return false;
    const index = handle & INDEX_MASK;
    this.#entries[index] = undefined;
    this.#generations[index] = ((this.#generations[index] ?? 0) + 1) % GENERATION_LIMIT || 1;
    this.#free.push(index);
    return true;
  }
}
