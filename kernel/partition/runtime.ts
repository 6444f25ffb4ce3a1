/** The partition's loop: it takes orders, receives messages, fires timers and runs one module at a time. */
import { pbkdf2Sync } from "node:crypto";
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { HANDLES_SLOT, KERNEL_PORT, KIND, RESULT } from "../abi.ts";
import { encodeCbor } from "../cbor/index.ts";
import { makeEdge } from "../ipc/mailbox.ts";
import type { PartitionControl } from "../ipc/shared.ts";
import { LIMITS } from "../limits.ts";
import { Scheduler } from "../scheduler/scheduler.ts";
import { dismiss, ModuleCell } from "./cell.ts";
import { describeFault } from "./fault.ts";
import { Gates } from "./gates.ts";
import type { HostCompletion, HostRequest } from "./link.ts";
import { PostOffice } from "./post.ts";
import type { ModuleOrder, Order, OrderToModule, PartitionData, Report, SavedState, SlotLink } from "./protocol.ts";
import { Runner } from "./runner.ts";
import { Swapper } from "./swap.ts";
import { Timers } from "./timers.ts";
import { Trace } from "./trace.ts";

/** Longest sleep: a bound on how late a lost wake-up could ever be noticed. */
const MAXIMUM_SLEEP_MS = 1000;
/** How often suspended handlers are compared with their wall-clock limit. */
const SWEEP_MS = 50;
/** So many messages, or a quarter of a slice's fuel, are handled before orders, channels and timers are looked at even without a bell. */
const BURST = 64;

export class PartitionRuntime {
  readonly #port: MessagePort;
  readonly #control: PartitionControl;
  readonly #timers = new Timers();
  readonly #scheduler = new Scheduler<ModuleCell>();
  readonly #cells = new Map<number, ModuleCell>();
  readonly #post: PostOffice;
  readonly #gates: Gates;
  readonly #runner: Runner;
  readonly #swapper: Swapper;
  readonly #hostRequests = new Map<number, HostCompletion>();
  readonly #sliceFuel: number;
  #hostRequest = 0;
  #ordersTaken = 0;
  #now = performance.now();

  constructor(data: PartitionData, port: MessagePort, control: PartitionControl) {
    this.#port = port;
    this.#control = control;
    this.#sliceFuel = data.sliceFuel;
    const ready = (cell: ModuleCell): void => {
      // What stands in a queue has been looked at, and nothing but its turn makes it less ready.
      if (cell.enqueued) return;
      if (cell.isReady) {
        if (cell.readyAt === 0) cell.readyAt = this.#now;
        this.#scheduler.ready(cell);
      }
      this.#gates.update(cell);
    };
    const now = (): number => performance.now();
    this.#post = new PostOffice(data, this.#cells, this.#timers, now, ready);
    this.#gates = new Gates(this.#post, this.#cells, data.sliceFuel, (cell, error) => this.#runner.fault(cell, error));
    const environment = {
      post: this.#post,
      gates: this.#gates,
      timers: this.#timers,
      sliceFuel: data.sliceFuel,
      askPatience: control.askPatience.bind(control),
      now,
      coarseNow: () => this.#now,
      isOutranked: (cell: ModuleCell) => this.#scheduler.hasAbove(cell.priority),
      ready,
      report: (report: Report): void => this.#report(report),
      link: this.#link.bind(this),
      remove: (cell: ModuleCell) => {
        cell.stopTimers();
        this.#gates.invalidate(cell);
        dismiss(cell.incarnation);
        this.#cells.delete(cell.id);
      },
      request: this.#request,
    };
    this.#runner = new Runner(environment);
    this.#swapper = new Swapper(this.#runner, environment);
    this.#post.onLastMessage = (module, generation, partition) => {
      const cell = this.#cells.get(module);
      if (cell?.swap?.order.generation === generation) this.#swapper.heard(cell, partition);
    };
  }

  /** Runs until the thread is ended. The loop is the thread: nothing else of its event loop ever runs. */
  async run(): Promise<never> {
    this.#report({ type: "up" });
    this.#timers.at(performance.now() + SWEEP_MS, this.#sweep);
    let heard = this.#control.listen() - 1;
    for (;;) {
      this.#control.beat();
      const bell = this.#control.listen();
      if (bell !== heard && this.#control.orders() !== this.#ordersTaken) this.#takeOrders();
      // A reader that makes room in a ring rings no bell: whoever owes must look by itself.
      const isMore = (bell !== heard || this.#post.owes) && this.#post.receive();
      if (!isMore) heard = bell;
      this.#now = performance.now();
      this.#timers.fire(this.#now);
      let left = BURST;
      let fuel = 0;
      for (
        let cell = this.#scheduler.next();
        cell !== undefined;
        cell = --left > 0 ? this.#scheduler.next() : undefined
      ) {
        if (!cell.isReady || this.#runner.throttle(cell)) continue;
        const before = cell.fuelUsed;
        this.#runner.run(cell);
        // A blocking handler gives control back at a microtask: when it comes to rest or is suspended.
        while (this.#runner.running !== undefined) await MICROTASKS;
        this.#runner.conclude();
        fuel += cell.fuelUsed - before;
        // Who becomes ready meanwhile, by a timer or a message from elsewhere, waits for little more than one slice.
        left = fuel * 4 >= this.#sliceFuel ? 0 : left - this.#runner.followers;
        this.#post.tell();
        if ((left & 7) === 0) this.#control.beat();
      }
      this.#post.tell();
      // Who was killed is unwound now: its stack serves the next one, and does not wait for somebody to be resumed.
      await MICROTASKS;
      if (left > 0 && !isMore) this.#sleep(heard);
    }
  }

  #sleep(heard: number): void {
    const due = this.#timers.next();
    const delay = due === undefined ? MAXIMUM_SLEEP_MS : due - performance.now();
    if (delay <= 0) return;
    this.#control.sleep(heard, this.#post.owes ? 1 : Math.min(delay, MAXIMUM_SLEEP_MS));
  }

  #takeOrders(): void {
    this.#ordersTaken = this.#control.orders();
    for (let next = receiveMessageOnPort(this.#port); next !== undefined; next = receiveMessageOnPort(this.#port)) {
      // A thousand modules are loaded by thousands of orders: the watch must not take that for silence.
      this.#control.beat();
      // SAFETY: the other end of this port is the supervisor and nobody else.
      this.#obey(next.message as Order);
    }
  }

  #obey(order: Order): void {
    switch (order.type) {
      case "channel":
        this.#post.connect(order);
        // What the predecessor of that partition had to say has been said.
        for (const cell of this.#cells.values()) this.#swapper.heard(cell, order.partition);
        return;
      case "place":
        this.#post.place(order);
        if (order.left?.partition === this.#post.partition)
          this.#swapper.left(this.#cells.get(order.module), order.left.others);
        return;
      case "route":
        return this.#post.route(order.edge, order.depth, order.overflow);
      case "policy":
        this.#post.policy.setLevels(order.levels);
        for (const [edge, guard] of order.guards) this.#post.policy.setGuard(edge, guard);
        return;
      case "load":
        return this.#load(order.module, order.state, order.isHeld);
      case "host-reply":
        return this.#hostReply(order.request, order.result, order.bytes);
      case "module-dead":
        return this.#post.pending.fail(({ module }) => module === order.module, RESULT["dead-peer"]);
      case "peer":
        for (const cell of this.#cells.values()) this.#tellHolder(cell, order.module, order.notice);
        return;
      case "revoked":
        for (const cell of this.#cells.values()) this.#gates.invalidate(cell);
        return this.#post.failRevokedCalls();
      case "inspect":
        this.#gates.count();
        return this.#report({
          type: "statistics",
          request: order.request,
          modules: [...this.#cells.values()].map((cell) => statistics(cell, performance.now())),
          edges: this.#post.statistics(),
          trace: this.#trace(order.trace),
        });
      case "freeze":
        if (order.where === "native") pbkdf2Sync("", "", 0x7fff_ffff, 64, "sha512");
        for (;;);
      default:
        return this.#obeyForModule(order);
    }
  }

  #obeyForModule(order: OrderToModule): void {
    const id = typeof order.module === "number" ? order.module : order.module.id;
    const cell =
      order.type === "prepare-swap" && order.role === "arrive" ? this.#makeCell(order.module) : this.#cells.get(id);
    if (cell === undefined) return;
    switch (order.type) {
      case "link":
        return this.#link(cell, order.slots);
      case "start":
        return this.#runner.begin(cell, cell.justRestored);
      case "save":
        cell.isStopping = true;
        return this.#runner.save(cell);
      case "kept":
        return this.#runner.kept(cell);
      case "restart":
        return this.#restart(cell, order.generation, order.dropState);
      case "hold":
        this.#swapper.abort(cell);
        return this.#runner.hold(cell);
      case "unload":
        this.#runner.stop(cell, "empty");
        this.#cells.delete(cell.id);
        return;
      case "prepare-swap":
        return this.#swapper.prepare(cell, order);
      case "flip-swap":
        return this.#swapper.flip(cell, order.luggage);
      case "abort-swap":
        return this.#swapper.abort(cell);
      case "settle-swap":
        return this.#swapper.settle(cell, order.keep, order.luggage ?? []);
      case "finish-swap":
        return this.#swapper.finish(cell);
      case "answered":
        return this.#post.deliverAsked(cell, order.correlation, order.result, order.bytes);
      case "tell":
        return this.#tell(cell, order.port, order.payload);
      case "host-event":
        return this.#hostEvent(cell, order.slot, order.payload);
    }
  }

  /** While there is a trace there are no gates: each call is a message that can be told. */
  #trace(isWanted: boolean | undefined): ReturnType<Trace["take"]> | undefined {
    if (isWanted === undefined) {
      if (this.#post.trace?.isAbandoned === true) this.#post.trace = undefined;
      return undefined;
    }
    const { trace } = this.#post;
    this.#post.trace = isWanted ? (trace ?? new Trace()) : undefined;
    if (trace === undefined) for (const cell of this.#cells.values()) this.#gates.invalidate(cell);
    return trace?.take();
  }

  #load(order: ModuleOrder, state: SavedState | undefined, isHeld: boolean): void {
    const cell = this.#makeCell(order);
    this.#link(cell, order.slots);
    cell.lastState = state;
    if (isHeld) cell.state = "held";
    else this.#instantiate(cell, order.generation);
  }

  #makeCell(order: ModuleOrder): ModuleCell {
    const cell = new ModuleCell(order, (_, message, result) => {
      if (message.kind === KIND.call) this.#post.answer(message.senderLife, message.correlation, result, NOTHING);
    });
    this.#cells.set(order.id, cell);
    return cell;
  }

  #restart(cell: ModuleCell, generation: number, dropState: boolean): void {
    if (dropState) cell.lastState = undefined;
    this.#runner.stop(cell, "dead");
    cell.generation = generation;
    this.#startAgain(cell);
  }

  /** At once, unless it owes more than a period's fuel: so crashing again and again takes no more than running. */
  #startAgain(cell: ModuleCell): void {
    const { generation, order } = cell;
    this.#runner.throttle(cell);
    if (cell.periodFuel >= 2 * order.fuelPerPeriod) {
      this.#timers.at(cell.periodStart + order.periodMs, () => {
        // Meanwhile an order or a swap may have dealt with it.
        if (cell.generation === generation && cell.state === "dead") this.#startAgain(cell);
      });
      return;
    }
    this.#instantiate(cell, generation);
    if (cell.state === "idle") this.#runner.begin(cell, cell.justRestored);
  }

  #instantiate(cell: ModuleCell, generation: number): void {
    cell.generation = generation;
    try {
      this.#runner.instantiate(cell);
      this.#report({ type: "loaded", module: cell.id, generation, restored: cell.justRestored });
    } catch (error) {
      const description = describeFault(error, cell.incarnation?.instance);
      this.#runner.reportFailure(cell, description);
      cell.state = "dead";
      const justRestored = cell.lastState !== undefined;
      this.#report({ type: "fault", module: cell.id, generation, ...description, justRestored });
    }
  }

  #link(cell: ModuleCell, slots: readonly SlotLink[]): void {
    this.#gates.invalidate(cell);
    cell.linkVersion++;
    for (const slot of slots) {
      cell.links.set(slot.slot, slot);
      if (slot.rights.length === 0) cell.cancelTimer(slot.slot, slot.eventPort);
      for (const { edge, depth, overflow } of slot.edges) this.#post.route(edge, depth, overflow);
    }
  }

  readonly #request: HostRequest = (cell, binding, operation, numbers, bytes, capacity, complete) => {
    const request = ++this.#hostRequest;
    this.#hostRequests.set(request, complete);
    this.#report({ type: "host-request", request, module: cell.id, binding, operation, numbers, bytes, capacity });
    return () => void this.#hostRequests.delete(request);
  };

  #hostReply(request: number, result: number, bytes: Uint8Array): void {
    const complete = this.#hostRequests.get(request);
    this.#hostRequests.delete(request);
    complete?.(result, bytes);
  }

  /** Queues a notice, or a message of the kernel's on one of the module's own ports. */
  #tell(cell: ModuleCell, port: number, payload: Uint8Array): void {
    if (port === KERNEL_PORT) this.#runner.notify(cell, payload);
    else this.#post.deliver(cell, makeEdge(0, 1, "refuse"), port, KIND.send, 0, payload);
  }

  #tellHolder(cell: ModuleCell, module: number, notice: number): void {
    if (cell.links.get(HANDLES_SLOT)?.notify !== true) return;
    for (const handle of cell.handles.leadingTo(module)) {
      this.#runner.notify(cell, encodeCbor([notice, HANDLES_SLOT, handle]));
    }
  }

  #hostEvent(cell: ModuleCell, slotName: string, payload: Uint8Array): void {
    const slot = cell.links.get(slotName);
    if (slot === undefined || slot.eventPort < 0) return;
    const edge = cell.eventEdges.get(slotName) ?? makeEdge(0, LIMITS.mailboxDepth, "drop-oldest");
    cell.eventEdges.set(slotName, edge);
    const result = this.#post.deliver(cell, edge, slot.eventPort, KIND.event, 0, payload);
    if (result === RESULT["too-large"]) cell.mailbox.addLost(slot.eventPort, 1);
  }

  /** Stops handlers that have passed their wall-clock limit, asks idle modules whether they are well, and saves their state. */
  readonly #sweep = (): void => {
    const now = performance.now();
    for (const cell of this.#cells.values()) {
      this.#runner.enforceDeadline(cell, now);
      this.#runner.checkHealth(cell, now);
      this.#runner.checkpoint(cell);
    }
    this.#timers.at(now + SWEEP_MS, this.#sweep);
  };

  #report(report: Report): void {
    this.#port.postMessage(report);
  }
}

const NOTHING = new Uint8Array(0);
/** Awaiting it gives the microtask queue one turn. */
const MICROTASKS = Promise.resolve();

function statistics(cell: ModuleCell, now: number): Extract<Report, { type: "statistics" }>["modules"][number] {
  return {
    module: cell.id,
    state: cell.state,
    generation: cell.generation,
    activations: cell.activations,
    fuel: cell.fuelUsed,
    queued: cell.mailbox.length,
    ...cell.mailbox.counts,
    isThrottled: cell.throttled,
    waitingMs: cell.readyAt === 0 ? 0 : now - cell.readyAt,
    longestWaitMs: cell.longestWait,
    memoryBytes: cell.incarnation?.instance.memory.size ?? 0,
  };
}
