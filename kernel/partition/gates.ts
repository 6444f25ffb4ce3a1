/** Puts gates behind the calls of this partition: made at a link's first use, taken away when either end changes. */
import type { Edge } from "../ipc/mailbox.ts";
import type { WasmCounter, WasmFunction, WasmGlobal, WasmImports, WasmTable } from "../wasm/engine.ts";
import { compileOwn, instantiateModule, makeCounter, makeTable, suspending } from "../wasm/engine.ts";
import { gateShape, makeGate, makeLink } from "../wasm/gate.ts";
import type { Incarnation, ModuleCell } from "./cell.ts";
import { GuestStopped } from "./fault.ts";
import type { ModuleInstance } from "./instance.ts";
import type { GuestFunction } from "./link.ts";
import type { PostOffice } from "./post.ts";
import type { SlotLink } from "./protocol.ts";

/** One `call` import of one incarnation. Entry 0 of its table is a gate, or answers `busy`: the call then waits its turn. */
export interface GateLink {
  readonly caller: Incarnation;
  readonly slot: string;
  readonly table: WasmTable;
  readonly gone: WasmFunction;
  /** Undefined where there is none. */
  gate: OpenGate | undefined;
}

interface OpenGate {
  readonly entry: GatedEntry;
  readonly callee: ModuleCell;
  readonly route: Edge;
  /** Calls that `callee` and `route` have not been told of yet. */
  readonly calls: WasmGlobal;
}

/** What all gates into one incarnation share. */
export interface GatedEntry {
  /** Not 0 keeps callers out. */
  readonly busy: WasmCounter;
  isBusy: boolean;
  /** What its gates import. */
  readonly end: WasmImports[string];
  readonly links: Set<GateLink>;
}

const LINK = compileOwn(makeLink());
const GATE = compileOwn(makeGate());

type Fault = (cell: ModuleCell, error: unknown) => void;

export class Gates {
  readonly #post: PostOffice;
  readonly #cells: ReadonlyMap<number, ModuleCell>;
  readonly #sliceFuel: number;
  readonly #fault: Fault;

  constructor(post: PostOffice, cells: ReadonlyMap<number, ModuleCell>, sliceFuel: number, fault: Fault) {
    this.#post = post;
    this.#cells = cells;
    this.#sliceFuel = sliceFuel;
    this.#fault = fault;
  }

  /**
   * The import `call` of an endpoint slot: through the gate where there is one, else by `slow`, which may suspend.
   * `slice` ends the slice in progress; it gives 0 with a new one.
   */
  importCall(caller: Incarnation, { slot }: SlotLink, slow: GuestFunction, slice: GuestFunction): WasmFunction {
    const table = makeTable();
    const wait = suspending((...parameters: never[]) => {
      this.#consider(link);
      return slow(...parameters);
    });
    const imports = { link: { target: table, slow: wait, slice: suspending(slice) } };
    const { call, gone } = instantiateModule(LINK, imports).exports as { call: WasmFunction; gone: WasmFunction };
    const link: GateLink = { caller, slot, table, gone, gate: undefined };
    table.set(0, gone);
    caller.links.push(link);
    return call;
  }

  /** Takes every gate of this module away, to it and from it: it fails, swaps, or its slots lead elsewhere. */
  invalidate({ incarnation }: ModuleCell): void {
    if (incarnation === undefined) return;
    for (const link of incarnation.entry?.links ?? []) close(link);
    for (const link of incarnation.links) close(link);
  }

  /** Brings the counts of routes and modules up to date: what goes by a gate is counted there. */
  count(): void {
    for (const { incarnation } of this.#cells.values()) incarnation?.links.forEach(count);
  }

  /** Keeps callers out while messages wait, so that a call never overtakes what its caller has sent before. */
  update(cell: ModuleCell): void {
    const entry = cell.incarnation?.entry;
    if (entry === undefined) return;
    const isBusy = cell.state !== "idle" || cell.hasInput;
    if (isBusy === entry.isBusy) return;
    entry.isBusy = isBusy;
    entry.busy.value = isBusy ? 1 : 0;
  }

  /** Makes the gate of a link that has none, where both ends allow it; the next call goes through it. */
  #consider(link: GateLink): void {
    const { caller, slot } = link;
    const { partition, policy, isRevoked, trace } = this.#post;
    if (link.gate !== undefined || caller.cell.incarnation !== caller || caller.cell.swap !== undefined) return;
    const bound = caller.cell.links.get(slot);
    const [edge, ...others] = bound?.edges ?? [];
    if (bound === undefined || edge === undefined || others.length > 0 || edge.partition !== partition) return;
    // A gate looks at no content, and tells no trace.
    if (trace !== undefined || policy.isGuarded(edge.edge) || isRevoked(edge.edge)) return;
    if (!bound.rights.includes("call")) return;
    const callee = this.#cells.get(edge.module);
    if (callee?.incarnation === undefined || !this.#mayBeGated(callee, edge.port)) return;
    const route = this.#post.edge(edge.edge);
    if (route !== undefined) this.#open(link, callee, callee.incarnation, edge.port, bound.badge, route);
  }

  /** A module with checkpoints is called through its mailbox, which counts its messages. */
  #mayBeGated({ incarnation, order, state, swap }: ModuleCell, port: number): boolean {
    if (incarnation?.isDirect !== true || state !== "idle" || swap !== undefined) return false;
    const fuel = order.ports[port]?.fuel ?? 0;
    return order.checkpointMessages === 0 && order.checkpointMs === 0 && fuel > 0 && fuel <= this.#sliceFuel;
  }

  #open(link: GateLink, callee: ModuleCell, target: Incarnation, port: number, badge: number, route: Edge): void {
    const fault = this.#fault;
    const entry = (target.entry ??= makeEntry(callee, target.instance, fault));
    const { cell: caller, instance } = link.caller;
    const { fuel, stack } = callee.order.ports[port] ?? { fuel: 0, stack: 0 };
    const { activate, inbox, payloadRoom } = target.instance;
    /** The JavaScript frame in between: a trap unwinds no further than to there. */
    const invoke = (length: number): number => {
      try {
        return activate(fuel, stack, port, length);
      } catch (error) {
        fault(callee, error);
        return 1;
      }
    };
    const sender = { senderModule: caller.id, senderGeneration: caller.generation, badge };
    const shape = gateShape({ inbox, payloadRoom, fuel, stack, ...sender });
    const imports = { caller: instance.forGates, callee: { ...entry.end, invoke }, shape };
    const { call, calls } = instantiateModule(GATE, imports).exports as { call: WasmFunction; calls: WasmGlobal };
    link.gate = { entry, callee, route, calls };
    entry.links.add(link);
    link.table.set(0, call);
    this.update(callee);
  }
}

function makeEntry(callee: ModuleCell, instance: ModuleInstance, fault: Fault): GatedEntry {
  const misbehaved = (): undefined => {
    fault(callee, new GuestStopped("contract", "a kernel result or an unreadable reply came out of a handler"));
  };
  const busy = makeCounter();
  return { busy, isBusy: false, end: { ...instance.forGates, busy, misbehaved }, links: new Set() };
}

function count({ gate }: GateLink): void {
  if (gate === undefined) return;
  const { callee, route, calls } = gate;
  callee.activations += Number(calls.value);
  route.sent += Number(calls.value);
  calls.value = 0;
}

function close(link: GateLink): void {
  count(link);
  link.gate?.entry.links.delete(link);
  link.gate = undefined;
  link.table.set(0, link.gone);
}
