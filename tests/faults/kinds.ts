/** The fault model: one row for each kind of fault, how many of it make one trial, and how it is put in. */
import { admitModule, Refusal, RESULT } from "../../kernel/index.ts";
import type { HostReply } from "../../kernel/index.ts";
import type { Random } from "../../tools/fuzz/random.ts";
import { INJECT, mutateCode, SAVE } from "./binary.ts";
import type { Feeder, Perturbation, System, Victim } from "./system.ts";
import { SAMPLES } from "./system.ts";

export interface Trial {
  readonly system: System;
  readonly victim: Victim;
  readonly random: Random;
  readonly from: Feeder;
}

/** What a trial of its own kind found; undefined leaves the verdict to what the kernel told of the victim. */
export interface Finding {
  /** Refused before it ran: detected, and nothing to recover from. */
  readonly refused?: string;
}

export interface FaultKind {
  readonly name: string;
  /** Faults of one trial: as many numbers of the campaign. */
  readonly batch: number;
  /** How often it comes, beside the others. */
  readonly weight: number;
  readonly applies?: (victim: Victim) => boolean;
  readonly run: (trial: Trial, batch: number) => Promise<Finding | undefined>;
  /** True where the loss of the victims' partition is what is injected. */
  readonly losesPartition?: boolean;
}

const HANDLED = 4;
const IO_ERRORS = [RESULT.io, RESULT.timeout, RESULT["not-found"], RESULT["dead-peer"], RESULT.denied, -999, 1 << 30];

function samplesOf({ manifest }: Victim, port: string): readonly Uint8Array[] {
  const contract = manifest.ports.find(({ name }) => name === port)?.contract ?? null;
  const name = contract === null ? "none" : contract.replace(/[^a-z].*$/, "");
  return SAMPLES[name] ?? SAMPLES["none"] ?? [];
}

function portsOf({ links }: Victim): string[] {
  return [...links.keys()].filter((port) => port !== "inject");
}

function isTick({ manifest }: Victim, port: string): boolean {
  return (manifest.ports.find(({ name }) => name === port)?.contract ?? null) === null;
}

/** Sends a few valid messages to every port: the load under which a fault shows. */
export function stimulate({ system, victim, random, from }: Trial, rounds = HANDLED): void {
  for (let round = 0; round < rounds; round++) {
    for (const port of portsOf(victim)) {
      // A tick makes a driver talk to its device, and wait for it: one of them now and then is enough.
      if (isTick(victim, port) && (round > 0 || random.below(3) > 0)) continue;
      system.feed(victim, port, random.pick(samplesOf(victim, port)), 1, from);
    }
  }
}

function flipBits(bytes: Uint8Array, count: number, random: Random): Uint8Array {
  const flipped = bytes.length === 0 ? Uint8Array.of(0) : bytes.slice();
  for (let index = 0; index < count; index++) {
    const at = random.below(flipped.length);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << random.below(8));
  }
  return flipped;
}

function randomBytes(length: number, random: Random): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}

/** A message that is nearly right: flipped, cut, lengthened or nothing but noise. */
function damaged(sample: Uint8Array, random: Random): Uint8Array {
  switch (random.below(4)) {
    case 0:
      return flipBits(sample, 1 + random.below(3), random);
    case 1:
      return sample.slice(0, random.below(sample.length + 1));
    case 2:
      return Uint8Array.from([...sample, ...randomBytes(1 + random.below(16), random)]);
    default:
      return randomBytes(random.below(256), random);
  }
}

const later = async (milliseconds: number): Promise<void> =>
  await new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });

/** What a device, a bus or its driver does wrong. */
const PERTURBATIONS: readonly ((random: Random) => Perturbation)[] = [
  (random) => (): HostReply => ({ result: random.pick(IO_ERRORS), bytes: new Uint8Array(0) }),
  (random) => (reply) => ({ ...reply, bytes: flipBits(reply.bytes, 1 + random.below(4), random) }),
  (random) => (reply) => ({ ...reply, bytes: reply.bytes.slice(0, random.below(reply.bytes.length + 1)) }),
  (random) => (reply) => ({ result: reply.result + 1 + random.below(64), bytes: reply.bytes }),
  (random) => (reply) => ({ ...reply, bytes: randomBytes(random.below(9000), random) }),
  (random) => async (reply) => {
    await later(random.below(8));
    return reply;
  },
  () => () => undefined as unknown as HostReply,
  () => () => {
    throw new Error("a planned failure of the host");
  },
];

async function mutated({ system, victim, random, from }: Trial): Promise<Finding | undefined> {
  const mutant = mutateCode(victim.binary, random);
  if (mutant === undefined) return { refused: "none valid" };
  try {
    const admitted = await admitModule(mutant.binary, victim.spec);
    await system.kernel.swap([{ name: victim.name, admitted }], 1000);
  } catch (error) {
    if (error instanceof Refusal) return { refused: error.code };
    throw error;
  }
  stimulate({ system, victim, random, from });
  await system.barrier(victim, from);
  // Kept or not: a version that is kept and fails is restarted until it is held, and the good one heals it.
  system.kernel.settle([victim.name], random.below(4) === 0);
  await system.kernel.settled();
  stimulate({ system, victim, random, from }, 1);
  await system.barrier(victim, from);
  await heal(system, victim);
  return undefined;
}

/** Puts the good version back in force; where it refuses the state that a bad one has left, or traps on it, it begins without. */
export async function heal(system: System, victim: Victim): Promise<void> {
  await system.rest(victim.name);
  try {
    await system.kernel.swap([{ name: victim.name, admitted: victim.admitted }], 2000);
  } catch (error) {
    if (!(error instanceof Refusal) || error.code === "E_BUSY") throw error;
    await system.reload(victim);
    return;
  }
  system.kernel.settle([victim.name], true);
  await system.kernel.settled();
}

function injection(name: string, weight: number, words: (random: Random) => number[]): FaultKind {
  return {
    name,
    batch: 1,
    weight,
    run: ({ system, victim, random, from }) => {
      system.inject(victim, words(random), from);
      return Promise.resolve(undefined);
    },
  };
}

export const KINDS: readonly FaultKind[] = Object.freeze([
  {
    name: "memory-bit",
    batch: 64,
    weight: 30,
    run: (trial, batch) => {
      const { system, victim, random, from } = trial;
      for (let done = 0; done < batch; done += 8) {
        const words = Array.from({ length: Math.min(8, batch - done) }, () => [
          random.below(2 ** 31),
          1 << random.below(32),
        ]);
        system.inject(victim, [INJECT.flip, ...words.flat()], from);
      }
      stimulate(trial);
      return Promise.resolve(undefined);
    },
  },
  {
    name: "message",
    batch: 32,
    weight: 20,
    run: ({ system, victim, random, from }, batch) => {
      for (let done = 0; done < batch; done++) {
        const port = random.pick(portsOf(victim));
        if (isTick(victim, port) && random.below(8) > 0) continue;
        system.feed(victim, port, damaged(random.pick(samplesOf(victim, port)), random), 1, from);
      }
      return Promise.resolve(undefined);
    },
  },
  {
    name: "device",
    batch: 8,
    weight: 10,
    applies: ({ manifest }) => [...manifest.slots.values()].some(({ interface: kind }) => !LOCAL.has(kind)),
    run: (trial, batch) => {
      const { system, victim, random } = trial;
      const list = Array.from({ length: batch }, () => random.pick(PERTURBATIONS)(random));
      system.perturbations.set(victim.name, list);
      for (const port of portsOf(victim))
        system.feed(victim, port, random.pick(samplesOf(victim, port)), 2, trial.from);
      return Promise.resolve(undefined);
    },
  },
  {
    name: "event",
    batch: 16,
    weight: 5,
    applies: ({ manifest }) =>
      [...manifest.slots.values()].some(({ interface: kind }) => kind === "gpio-line" || kind === "mqtt"),
    run: ({ system, victim, random }, batch) => {
      const slots = [...victim.manifest.slots].filter(
        ([, { interface: kind }]) => kind === "gpio-line" || kind === "mqtt",
      );
      for (let done = 0; done < batch; done++) {
        const [slot] = random.pick(slots);
        system.event(victim, slot, randomBytes(random.below(200), random));
      }
      return Promise.resolve(undefined);
    },
  },
  {
    name: "flood",
    batch: 1,
    weight: 1,
    run: ({ system, victim, random, from }) => {
      const port = random.pick(portsOf(victim));
      system.feed(victim, port, random.pick(samplesOf(victim, port)), 2000, from);
      return Promise.resolve(undefined);
    },
  },
  injection("trap", 4, (random) => [INJECT.trap, random.below(50_000)]),
  injection("loop", 2, (random) => [INJECT.loop, random.below(50_000)]),
  injection("recursion", 2, () => [INJECT.recurse, 0]),
  injection("memory-grow", 1, () => [INJECT.grow, 0]),
  {
    name: "save",
    batch: 1,
    weight: 2,
    applies: ({ manifest }) => manifest.state > 0,
    run: (trial) => {
      trial.system.inject(trial.victim, [INJECT.save, trial.random.pick(Object.values(SAVE))], trial.from);
      stimulate(trial);
      return Promise.resolve(undefined);
    },
  },
  { name: "code", batch: 1, weight: 40, run: mutated },
  {
    name: "partition",
    batch: 1,
    weight: 0.2,
    losesPartition: true,
    run: async ({ system }) => {
      const before = system.lostPartitions;
      system.kernel.freezePartition("victims");
      if (!(await system.replaced(before))) throw new Error("a partition that was lost was not replaced");
      return undefined;
    },
  },
]);

/** Interfaces that a partition answers itself. */
const LOCAL = new Set(["endpoint", "timer", "clock", "random", "log", "handles"]);

export function pickKind(random: Random, victim: Victim): FaultKind {
  const possible = KINDS.filter(({ applies }) => applies?.(victim) ?? true);
  let at = (random.below(1_000_000) / 1_000_000) * possible.reduce((sum, { weight }) => sum + weight, 0);
  for (const kind of possible) {
    at -= kind.weight;
    if (at < 0) return kind;
  }
  return possible[0] as FaultKind;
}
