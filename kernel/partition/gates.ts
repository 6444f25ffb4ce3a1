/** Puts gates behind the calls of this partition: made at a link's first use, taken away when either end changes. */
import { ENDPOINT_RIGHT } from "../abi.ts";
import { rightBits } from "../ipc/capability.ts";
import type { Policy } from "../ipc/policy.ts";
import type { WasmCounter, WasmFunction, WasmTable } from "../wasm/engine.ts";
import { instantiateBytes, makeCounter, makeTable, suspending } from "../wasm/engine.ts";
import { makeGate, makeLink } from "../wasm/gate.ts";
import type { Incarnation, ModuleCell } from "./cell.ts";
import { GuestStopped } from "./fault.ts";
import type { GuestFunction } from "./link.ts";
import type { SlotLink } from "./protocol.ts";

/** One `call` import of one incarnation. Entry 0 of its table is a gate, or answers `busy`: the call then waits its turn. */
interface GateLink {
  readonly caller: Incarnation;
  readonly slot: string;
  readonly table: WasmTable;
  readonly gone: WasmFunction;
  callee: ModuleCell | undefined;
}

/** What a callee's gates share: the word that keeps them out while it is not free. */
interface CalleeGates {
  readonly busy: WasmCounter;
  readonly links: Set<GateLink>;
}

const LINK = makeLink();

export class Gates {
  readonly #partition: number;
  readonly #cells: ReadonlyMap<number, ModuleCell>;
  readonly #policy: Policy;
  readonly #sliceFuel: number;
  readonly #fault: (cell: ModuleCell, error: unknown) => void;
  readonly #callees = new WeakMap<ModuleCell, CalleeGates>();
  readonly #callers = new WeakMap<Incarnation, GateLink[]>();

  constructor(
    partition: number,
    cells: ReadonlyMap<number, ModuleCell>,
    policy: Policy,
    sliceFuel: number,
    fault: (cell: ModuleCell, error: unknown) => void,
  ) {
    this.#partition = partition;
    this.#cells = cells;
    this.#policy = policy;
    this.#sliceFuel = sliceFuel;
    this.#fault = fault;
  }

  /** The import `call` of an endpoint slot: through the gate where there is one, else by `slow`, which may suspend. */
  importCall(caller: Incarnation, { slot }: SlotLink, slow: GuestFunction): WasmFunction {
    const table = makeTable();
    const wait = suspending((...parameters: never[]) => {
      this.#consider(link);
      return slow(...parameters);
    });
    const { call, gone } = instantiateBytes(LINK, { link: { target: table, slow: wait } }).exports as {
      call: WasmFunction;
      gone: WasmFunction;
    };
    const link: GateLink = { caller, slot, table, gone, callee: undefined };
    table.set(0, gone);
    const links = this.#callers.get(caller) ?? [];
    links.push(link);
    this.#callers.set(caller, links);
    return call;
  }

  /** Takes every gate of this module away, to it and from it: it fails, swaps, or its slots lead elsewhere. */
  invalidate(cell: ModuleCell): void {
    for (const link of this.#callees.get(cell)?.links ?? []) close(link);
    this.#callees.get(cell)?.links.clear();
    const { incarnation } = cell;
    for (const link of incarnation === undefined ? [] : (this.#callers.get(incarnation) ?? [])) this.#forget(link);
  }

  /** Keeps callers out while messages wait, so that a call never overtakes what its caller has sent before. */
  update(cell: ModuleCell): void {
    const gates = this.#callees.get(cell);
    if (gates !== undefined) gates.busy.value = cell.state === "idle" && !cell.hasInput ? 0 : 1;
  }

  #forget(link: GateLink): void {
    if (link.callee !== undefined) this.#callees.get(link.callee)?.links.delete(link);
    close(link);
  }

  /** Makes the gate of a link that has none, where both ends allow it; the next call goes through it. */
  #consider(link: GateLink): void {
    const { caller, slot } = link;
    if (link.callee !== undefined || caller.cell.incarnation !== caller || caller.cell.swap !== undefined) return;
    const bound = caller.cell.links.get(slot);
    const [edge, ...others] = bound?.edges ?? [];
    if (bound === undefined || edge === undefined || others.length > 0 || edge.partition !== this.#partition) return;
    // A gate looks at no content.
    if (this.#policy.isGuarded(edge.edge)) return;
    // SAFETY: the configuration gives an endpoint slot no other rights than these.
    if ((rightBits(bound.rights as ("send" | "call" | "pass")[]) & ENDPOINT_RIGHT.call) === 0) return;
    const callee = this.#cells.get(edge.module);
    if (callee?.incarnation === undefined || !this.#mayBeGated(callee, edge.port)) return;
    this.#open(link, callee, callee.incarnation, edge.port, bound.badge);
  }

  /** A module with checkpoints is called through its mailbox, which counts its messages. */
  #mayBeGated({ incarnation, order, state, swap }: ModuleCell, port: number): boolean {
    if (incarnation?.isDirect !== true || state !== "idle" || swap !== undefined) return false;
    const fuel = order.ports[port]?.fuel ?? 0;
    return order.checkpointMessages === 0 && fuel > 0 && fuel <= this.#sliceFuel;
  }

  #open(link: GateLink, callee: ModuleCell, target: Incarnation, port: number, badge: number): void {
    const gates = this.#callees.get(callee) ?? { busy: makeCounter(), links: new Set<GateLink>() };
    this.#callees.set(callee, gates);
    const { cell: caller, instance } = link.caller;
    const declared = callee.order.ports[port];
    const bytes = makeGate({
      inbox: target.instance.inbox,
      payloadRoom: target.instance.payloadRoom,
      port,
      fuel: declared?.fuel ?? 0,
      stack: declared?.stack ?? 0,
      senderModule: caller.id,
      senderGeneration: caller.generation,
      badge,
    });
    const { call } = instantiateBytes(bytes, {
      caller: instance.forGates,
      callee: { ...target.instance.forGates, busy: gates.busy, ...this.#frames(callee, target) },
    }).exports as { call: WasmFunction };
    link.callee = callee;
    gates.links.add(link);
    link.table.set(0, call);
    this.update(callee);
  }

  /** The JavaScript frame between caller and callee: a trap unwinds no further than to here. */
  #frames(callee: ModuleCell, target: Incarnation): { invoke: GuestFunction; misbehaved: GuestFunction } {
    const { activate } = target.instance;
    return {
      invoke: (fuel: number, depth: number, port: number, length: number) => {
        callee.activations++;
        target.isGated = true;
        try {
          return activate(fuel, depth, port, length);
        } catch (error) {
          this.#fault(callee, error);
          return 1;
        } finally {
          target.isGated = false;
        }
      },
      misbehaved: () => {
        this.#fault(
          callee,
          new GuestStopped("contract", "a kernel result or an unreadable reply came out of a handler"),
        );
        return undefined;
      },
    };
  }
}

function close(link: GateLink): void {
  link.table.set(0, link.gone);
  link.callee = undefined;
}
