/** Runs the faults of a range of numbers against one system, and counts what came of them. */
import { Random } from "../../tools/fuzz/random.ts";
import type { FaultKind, Finding } from "./kinds.ts";
import { heal, pickKind } from "./kinds.ts";
import type { Victim } from "./system.ts";
import { FEEDERS, System } from "./system.ts";

export interface Failure {
  /** The number of the trial's first fault: `--only` runs it again. */
  readonly number: number;
  readonly kind: string;
  readonly victim: string;
  readonly what: string;
}

export interface Counts {
  injected: number;
  /** Faults of trials in which the kernel saw something: a fault, a denial, a refusal, a module that did not answer. */
  activated: number;
  /** Modules that were running again by themselves afterwards. */
  recovered: number;
  /** Modules that failed too often and were held, as their policy says. */
  held: number;
  /** Refused before they ran. */
  refused: number;
  /** Injected faults by kind, and detected failures by cause. */
  readonly kinds: Record<string, number>;
  readonly causes: Record<string, number>;
  readonly kernelFailures: Failure[];
  readonly neighboursDisturbed: Failure[];
  readonly hangs: Failure[];
}

export function noCounts(): Counts {
  return {
    injected: 0,
    activated: 0,
    recovered: 0,
    held: 0,
    refused: 0,
    kinds: {},
    causes: {},
    kernelFailures: [],
    neighboursDisturbed: [],
    hangs: [],
  };
}

export function addCounts(total: Counts, more: Counts): void {
  for (const key of ["injected", "activated", "recovered", "held", "refused"] as const) total[key] += more[key];
  for (const key of ["kinds", "causes"] as const)
    for (const [name, count] of Object.entries(more[key])) total[key][name] = (total[key][name] ?? 0) + count;
  for (const key of ["kernelFailures", "neighboursDisturbed", "hangs"] as const) total[key].push(...more[key]);
}

/** A seed of its own for each number, so that a trial can be run alone. */
function randomFor(seed: number, number: number): Random {
  const random = new Random(Math.imul(seed, 0x9e37_79b1) ^ number);
  random.below(2);
  return random;
}

export class Campaign {
  readonly #system: System;
  readonly #seed: number;
  readonly counts = noCounts();

  constructor(system: System, seed: number) {
    this.#system = system;
    this.#seed = seed;
  }

  /** Runs the trial that begins with this number. @returns the number that the next one begins with. */
  async trial(number: number, end: number): Promise<number> {
    const random = randomFor(this.#seed, number);
    const victim = random.pick(this.#system.victims);
    const kind = pickKind(random, victim);
    const batch = Math.min(kind.batch, end - number);
    const from = random.pick(FEEDERS);
    const fail = (list: Failure[], what: string): void => {
      list.push({ number, kind: kind.name, victim: victim.name, what });
    };
    const system = this.#system;
    system.expectsLoss = kind.losesPartition === true;
    const before = system.disturbances.length;
    let finding: Finding | undefined;
    try {
      finding = await kind.run({ system, victim, random, from }, batch);
      const answer = finding === undefined ? await system.barrier(victim, from) : 0;
      if (answer === undefined) fail(this.counts.hangs, "no answer to a call, neither a result nor an error");
      await this.#settle(victim, fail);
    } catch (error) {
      fail(this.counts.kernelFailures, error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    system.perturbations.delete(victim.name);
    for (const { module, what } of system.disturbances.slice(before))
      fail(this.counts.neighboursDisturbed, `${module}: ${what}`);
    this.#count(kind, batch, finding);
    return number + batch;
  }

  /** Waits until the victim, and whoever else failed by its doing, runs again or is held; what is held is taken up again. */
  async #settle(victim: Victim, fail: (list: Failure[], what: string) => void): Promise<void> {
    const failed = new Set(this.#system.effects.flatMap(({ module, cause }) => (cause === "denied" ? [] : [module])));
    failed.add(victim.name);
    for (const name of failed) {
      const state = await this.#system.rest(name);
      if (state === undefined) fail(this.counts.hangs, `${name} was neither restarted nor held`);
      else if (state === "held") {
        this.counts.held++;
        this.#system.kernel.restart(name);
        await this.#system.rest(name);
        await heal(this.#system, this.#system.victim(name));
      }
    }
  }

  #count(kind: FaultKind, batch: number, finding: Finding | undefined): void {
    const { counts } = this;
    const effects = this.#system.effects.splice(0);
    counts.injected += batch;
    counts.kinds[kind.name] = (counts.kinds[kind.name] ?? 0) + batch;
    if (effects.length > 0 || finding !== undefined || kind.losesPartition === true) counts.activated += batch;
    if (finding?.refused !== undefined) {
      counts.refused += batch;
      counts.causes[finding.refused] = (counts.causes[finding.refused] ?? 0) + 1;
    }
    const failures = effects.filter(({ cause }) => cause !== "denied");
    counts.recovered += failures.length;
    for (const { cause } of effects) counts.causes[cause] = (counts.causes[cause] ?? 0) + 1;
  }
}

/** Runs the numbers `from` to below `to`. `onProgress` gets the number reached. */
export async function runRange(
  seed: number,
  from: number,
  to: number,
  onProgress: (number: number) => void,
  plant?: "gap",
): Promise<Counts> {
  const system = await System.start(plant);
  const campaign = new Campaign(system, seed);
  const beats = new Map(system.beats);
  try {
    for (let number = from; number < to; ) {
      number = await campaign.trial(number, to);
      onProgress(number);
    }
    // Each source sends a number a millisecond: in this time a neighbour that lives gives more than one sign of it.
    await new Promise((resolve) => {
      setTimeout(resolve, 1000);
    });
    for (const [module, count] of system.beats) {
      if (count > (beats.get(module) ?? 0)) continue;
      campaign.counts.neighboursDisturbed.push({
        number: from,
        kind: "all",
        victim: "",
        what: `${module} stands still`,
      });
    }
  } finally {
    await system.stop();
  }
  return campaign.counts;
}
