/**
 * Capabilities against a plain model: random sequences of grant, revoke, derive, narrow, pass, lose, use and restart over
 * four modules in two partitions. The real post offices, rings, handle tables and imported operations run on one thread.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { ENDPOINT_RIGHT, HANDLE_COPY, RESULT } from "../../kernel/abi.ts";
import type { Capability } from "../../kernel/ipc/capability.ts";
import { MAXIMUM_VIA } from "../../kernel/ipc/capability.ts";
import { PartitionControl, Ring, SharedCounters } from "../../kernel/ipc/shared.ts";
import { GuestMemory } from "../../kernel/memory.ts";
import { ModuleCell } from "../../kernel/partition/cell.ts";
import type { LinkContext } from "../../kernel/partition/link.ts";
import { LOCAL_OPERATIONS } from "../../kernel/partition/local-operations.ts";
import { PostOffice } from "../../kernel/partition/post.ts";
import type { PartitionData, SlotLink } from "../../kernel/partition/protocol.ts";
import { Timers } from "../../kernel/partition/timers.ts";
import { patiently, repeatedly } from "../support/patience.ts";

const { send: S, call: C, pass: P } = ENDPOINT_RIGHT;
const MODULES = 4;
const PARTITION = [0, 0, 1, 1] as const;
/** As the configuration gives them: a module calls only above itself. */
const LEVEL = [0, 1, 2, 3] as const;
const SLOTS = Array.from({ length: MODULES }, (_, to) => `to-${to}`);
const ALL = ["send", "call", "pass"] as const;
const DEPTH = 4;

type Operation = (...numbers: number[]) => number;

/** One partition's kernel: what the loop would do with a message is done at once. */
class Partition {
  readonly cells = new Map<number, ModuleCell>();
  readonly post: PostOffice;

  constructor(index: number, revocations: SharedCounters) {
    // SAFETY: the post office reads no more of it than this.
    const data = { index, life: index + 1, revocations: revocations.buffer } as PartitionData;
    this.post = new PostOffice(
      data,
      this.cells,
      new Timers(),
      () => 0,
      () => undefined,
    );
  }
}

/** The real thing. */
class Real {
  readonly #revocations = new SharedCounters(4096);
  readonly #partitions = [new Partition(0, this.#revocations), new Partition(1, this.#revocations)] as const;
  readonly #contexts: LinkContext[] = [];
  readonly #edges = new Map<string, number>();
  #edge = 0;

  constructor() {
    const rings = [Ring.allocate(1 << 16), Ring.allocate(1 << 16)] as const;
    for (const [index, { post }] of this.#partitions.entries()) {
      const other = 1 - index;
      post.connect({
        type: "channel",
        partition: other,
        life: other + 1,
        control: new PartitionControl().buffer,
        incoming: rings[other] ?? rings[0],
        outgoing: rings[index] ?? rings[0],
      });
      post.policy.setLevels(LEVEL.map((level, id) => [id + 1, level]));
    }
    for (let module = 0; module < MODULES; module++) this.#contexts.push(this.#load(module));
    for (let module = 0; module < MODULES; module++) this.grantHandles(module);
  }

  #load(module: number): LinkContext {
    const { cells, post } = this.#partition(module);
    // SAFETY: of these objects the operations use what is here; there is no guest behind them.
    const cell = new ModuleCell({ id: module + 1, inbox: 4096, slots: [] } as never, () => undefined);
    cell.state = "idle";
    cells.set(cell.id, cell);
    const memory = new GuestMemory(new WebAssembly.Memory({ initial: 1 }));
    const instance = { memory, remaining: () => 1e9, charge: () => 1e9 };
    return { post, incarnation: { cell, instance }, now: () => 0, report: () => undefined } as never;
  }

  #partition(module: number): Partition {
    return this.#partitions[PARTITION[module] ?? 0];
  }

  #cell(module: number): ModuleCell {
    const context = this.#contexts[module];
    if (context === undefined) throw new Error("no such module");
    return context.incarnation.cell;
  }

  #link(module: number, slot: string, name: "endpoint" | "handles", rights: readonly string[], to: number): void {
    const edge = ++this.#edge;
    this.#edges.set(`${module} ${slot}`, edge);
    const target = {
      edge,
      module: to + 1,
      partition: PARTITION[to] ?? 0,
      port: 0,
      depth: DEPTH,
      overflow: "refuse",
    } as const;
    const link: SlotLink = { slot, interface: name, rights, eventPort: -1, binding: 0, edges: [target], badge: module };
    this.#cell(module).links.set(slot, link);
    for (const { post } of this.#partitions) post.route(edge, DEPTH, "refuse");
  }

  grant(module: number, to: number, rights: readonly string[]): void {
    this.revoke(module, `to-${to}`);
    this.#link(module, `to-${to}`, "endpoint", rights, to);
  }

  grantHandles(module: number): void {
    this.revoke(module, "handles");
    this.#link(module, "handles", "handles", ["use"], module);
  }

  revoke(module: number, slot: string): void {
    const edge = this.#edges.get(`${module} ${slot}`);
    if (edge === undefined) return;
    this.#revocations.store(edge, 1);
    const link = this.#cell(module).links.get(slot);
    if (link !== undefined) this.#cell(module).links.set(slot, { ...link, rights: [] });
  }

  restart(module: number): void {
    this.#cell(module).handles.closeAll();
    this.#cell(module).generation++;
  }

  #operation(module: number, name: string, slot: string): Operation {
    const context = this.#contexts[module];
    const link = this.#cell(module).links.get(slot);
    const make = LOCAL_OPERATIONS[name];
    if (context === undefined || make === undefined) throw new Error(name);
    return make(context, link ?? ({ slot, edges: [], rights: [], badge: 0 } as never)) as never;
  }

  derive(module: number, to: number, rights: number): number {
    return this.#operation(module, "endpoint.derive", `to-${to}`)(rights);
  }

  narrow(module: number, handle: number, rights: number): number {
    return this.#operation(module, "handles.narrow", "handles")(handle, rights);
  }

  drop(module: number, handle: number): number {
    return this.#operation(module, "handles.drop", "handles")(handle);
  }

  use(module: number, handle: number): number {
    return this.#operation(module, "handles.send", "handles")(handle, 0, 4, 0, 0);
  }

  pass(module: number, to: number, handle: number, isCopy: boolean): number {
    const { memory } = (this.#contexts[module] as LinkContext).incarnation.instance;
    const word = new Uint8Array(new Uint32Array([isCopy ? handle | HANDLE_COPY : handle]).buffer);
    memory.write(64 as never, word);
    return this.#operation(module, "endpoint.send", `to-${to}`)(0, 4, 64, 1);
  }

  /** Delivers, or loses, every message that waits, everywhere. @returns by module the handles that came, in order. */
  settle(isLost: boolean): number[][] {
    for (const { post } of this.#partitions) while (post.receive());
    return Array.from({ length: MODULES }, (_, module) => {
      const cell = this.#cell(module);
      if (isLost) cell.mailbox.clear();
      const came: number[] = [];
      for (let message = cell.mailbox.take(); message !== undefined; message = cell.mailbox.take()) {
        const add = (capability: Capability): number => cell.handles.add(capability) ?? 0;
        came.push(...message.capabilities.map(add));
        cell.mailbox.recycle(message);
      }
      return came;
    });
  }

  held(module: number): number {
    return this.#cell(module).handles.size;
  }
}

/** What a handle stands for, in the model: a grant, narrowed, and the modules that passed it on. */
interface Held {
  readonly grant: Grant;
  readonly rights: number;
  readonly via: readonly Passing[];
}

interface Grant {
  readonly to: number;
  rights: number;
  isRevoked: boolean;
}

/** One module's power to pass on, until it is revoked. */
interface Passing {
  isRevoked: boolean;
}

/** The reference: objects and flags, no numbers, tables or rings. */
class Model {
  readonly grants = new Map<string, Grant>();
  readonly passing: Passing[] = Array.from({ length: MODULES }, () => ({ isRevoked: false }));
  readonly handles = Array.from({ length: MODULES }, () => new Map<number, Held>());
  readonly #ever = Array.from({ length: MODULES }, () => new Set<number>());
  /** Every number that was ever a handle of anybody. */
  readonly known: number[] = [];
  /** Handles that are on their way, and messages on each route. */
  waiting: { readonly from: number; readonly to: number; readonly held: Held | undefined; readonly grant: Grant }[] =
    [];

  add(module: number, handle: number, held: Held): void {
    // Never a number that this module has had before, also before a restart: a stale one would be somebody else's.
    expect(this.#ever[module]?.has(handle)).toBe(false);
    this.#ever[module]?.add(handle);
    this.handles[module]?.set(handle, held);
    this.known.push(handle);
  }

  find(module: number, handle: number): Held | undefined {
    return this.handles[module]?.get(handle);
  }

  isFull(grant: Grant): boolean {
    return this.waiting.filter((message) => message.grant === grant).length >= DEPTH;
  }

  isDead({ grant, via }: Held): boolean {
    return grant.isRevoked || via.some(({ isRevoked }) => isRevoked);
  }
}

type Command = (real: Real, model: Model) => void;

const bits = (rights: readonly string[]): number =>
  rights.reduce((sum, right) => sum | ENDPOINT_RIGHT[right as "send"], 0);
/** Mostly a handle that the module holds, else any number that ever was one. */
function pick(model: Model, which: number, index: number): number {
  const own = [...(model.handles[which]?.keys() ?? [])];
  const numbers = index % 4 === 0 || own.length === 0 ? model.known : own;
  return numbers[index % Math.max(1, numbers.length)] ?? index;
}

function expectRouted(real: number, model: Model, from: number, grant: Grant, wanted: number, held?: Held): void {
  expect(real).toBe(wanted);
  if (real === 0) model.waiting.push({ from, to: grant.to, held, grant });
}

const module = fc.nat(MODULES - 1);
const rights = fc.constantFrom(0, S, C, P, S | P, S | P, S | P, S | C, S | C | P, 8);
const number = fc.nat(40);

const commands: fc.Arbitrary<Command>[] = [
  fc.tuple(module, module, fc.subarray([...ALL])).map(
    ([from, to, given]): Command =>
      (real, model) => {
        const key = `${from} to-${to}`;
        const before = model.grants.get(key);
        if (before !== undefined) before.isRevoked = true;
        model.grants.set(key, { to, rights: bits(given), isRevoked: false });
        real.grant(from, to, given);
      },
  ),
  fc.tuple(module, fc.constantFrom(...SLOTS)).map(
    ([from, slot]): Command =>
      (real, model) => {
        const grant = model.grants.get(`${from} ${slot}`);
        if (grant !== undefined) Object.assign(grant, { isRevoked: true, rights: 0 });
        real.revoke(from, slot);
      },
  ),
  module.map(
    (from): Command =>
      (real, model) => {
        (model.passing[from] as Passing).isRevoked = true;
        model.passing[from] = { isRevoked: false };
        real.grantHandles(from);
      },
  ),
  module.map(
    (which): Command =>
      (real, model) => {
        model.handles[which]?.clear();
        real.restart(which);
      },
  ),
  fc.tuple(module, module, rights).map(
    ([from, to, wanted]): Command =>
      (real, model) => {
        const grant = model.grants.get(`${from} to-${to}`);
        const got = real.derive(from, to, wanted);
        if (grant === undefined) expect(got).toBe(RESULT.invalid);
        else if ((grant.rights & P) === 0 || (wanted & ~grant.rights) !== 0) expect(got).toBe(RESULT.denied);
        else model.add(from, got, { grant, rights: wanted, via: [] });
      },
  ),
  fc.tuple(module, number, rights).map(
    ([which, index, wanted]): Command =>
      (real, model) => {
        const handle = pick(model, which, index);
        const held = model.find(which, handle);
        const got = real.narrow(which, handle, wanted);
        if (held === undefined) expect(got).toBe(RESULT["bad-handle"]);
        else if ((wanted & ~held.rights) !== 0) expect(got).toBe(RESULT.denied);
        else model.add(which, got, { ...held, rights: wanted });
      },
  ),
  fc.tuple(module, number).map(
    ([which, index]): Command =>
      (real, model) => {
        const handle = pick(model, which, index);
        expect(real.drop(which, handle)).toBe(model.find(which, handle) === undefined ? RESULT["bad-handle"] : 0);
        model.handles[which]?.delete(handle);
      },
  ),
  fc.tuple(module, number).map(
    ([which, index]): Command =>
      (real, model) => {
        const handle = pick(model, which, index);
        const held = model.find(which, handle);
        const got = real.use(which, handle);
        if (held === undefined) expect(got).toBe(RESULT["bad-handle"]);
        else if ((held.rights & S) === 0 || model.isDead(held)) expect(got).toBe(RESULT.denied);
        else expectRouted(got, model, which, held.grant, model.isFull(held.grant) ? fullOf(which, held.grant) : 0);
      },
  ),
  fc.tuple(module, module, number, fc.boolean()).map(
    ([from, to, index, isCopy]): Command =>
      (real, model) => {
        const handle = pick(model, from, index);
        const held = model.find(from, handle);
        const grant = model.grants.get(`${from} to-${to}`);
        const got = real.pass(from, to, handle, isCopy);
        if (held === undefined) expect(got).toBe(RESULT["bad-handle"]);
        else if ((held.rights & P) === 0) expect(got).toBe(RESULT.denied);
        else {
          const step = model.passing[from] as Passing;
          const via = held.via.includes(step) ? held.via : [...held.via, step];
          if (via.length > MAXIMUM_VIA) expect(got).toBe(RESULT.quota);
          else if (grant === undefined)
            expect(got).toBe(0); // A slot that leads nowhere sends to nobody.
          else if ((grant.rights & S) === 0) expect(got).toBe(RESULT.denied);
          else if ((held.rights & C) !== 0 && (LEVEL[to] ?? 0) >= (LEVEL[held.grant.to] ?? 0))
            expect(got).toBe(RESULT.level);
          else if (grant.isRevoked) expect(got).toBe(RESULT.denied);
          else expectRouted(got, model, from, grant, model.isFull(grant) ? fullOf(from, grant) : 0, { ...held, via });
          if (got === 0 && !isCopy) model.handles[from]?.delete(handle);
        }
      },
  ),
  fc.boolean().map(
    (isLost): Command =>
      (real, model) => {
        const came = real.settle(isLost);
        const waiting = model.waiting.splice(0);
        for (let to = 0; to < MODULES; to++) {
          const handed = isLost ? [] : waiting.filter((message) => message.to === to && message.held !== undefined);
          // In the order of each sender; what comes from another partition comes in after what is there already.
          const { here = [], across = [] } = Object.groupBy(handed, ({ from }) =>
            PARTITION[from] === PARTITION[to] ? "here" : "across",
          );
          const expected = [...here, ...across];
          expect(came[to]?.length).toBe(expected.length);
          arrive(
            model,
            to,
            came[to] ?? [],
            expected.map(({ held }) => held as Held),
          );
        }
      },
  ),
];

/** Across partitions a full mailbox is told to its receiver only. */
function fullOf(from: number, { to }: Grant): number {
  return PARTITION[from] === PARTITION[to] ? RESULT.full : 0;
}

function arrive(model: Model, to: number, handles: readonly number[], held: readonly Held[]): void {
  for (const [index, handle] of handles.entries()) model.add(to, handle, held[index] as Held);
}

test(
  "real capabilities do what the model says, over thousands of sequences",
  () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(...commands), { minLength: 20, maxLength: 60 }), (sequence) => {
        const [real, model] = [new Real(), new Model()];
        // Everybody reaches everybody at first, so that much can be passed on and taken back.
        for (const [index, slot] of SLOTS.entries()) {
          for (let from = 0; from < MODULES; from++) {
            model.grants.set(`${from} ${slot}`, { to: index, rights: S | C | P, isRevoked: false });
            real.grant(from, index, ALL);
          }
        }
        for (const command of sequence) {
          command(real, model);
          for (let which = 0; which < MODULES; which++) expect(real.held(which)).toBe(model.handles[which]?.size);
        }
      }),
      { numRuns: repeatedly(3000) },
    );
  },
  patiently(240_000),
);
