/** What becomes of a module that fails: it is restarted or held, and those who asked for news of it are told. */
import { KERNEL_PORT, NOTICE } from "../abi.ts";
import { encodeCbor } from "../cbor/index.ts";
import type { Report, SavedState } from "../partition/protocol.ts";
import type { Delays } from "./delays.ts";
import type { KernelOptions } from "./events.ts";
import type { Links } from "./links.ts";
import { endpoints, type ModuleRecord } from "./modules.ts";

export class Recovery {
  readonly #links: Links;
  readonly #delays: Delays;
  readonly #options: KernelOptions;
  /** True while a swap decides what becomes of it. */
  readonly #isChanging: (record: ModuleRecord) => boolean;

  constructor(links: Links, delays: Delays, options: KernelOptions, isChanging: (record: ModuleRecord) => boolean) {
    this.#links = links;
    this.#delays = delays;
    this.#options = options;
    this.#isChanging = isChanging;
  }

  /** Keeps a state as the module's last good one, or forgets the one that was. */
  keep(record: ModuleRecord, state: SavedState | undefined): void {
    record.state = state;
    this.#options.onState?.(record.spec.name, state);
  }

  loaded(record: ModuleRecord, { generation, restored }: Extract<Report, { type: "loaded" }>): void {
    if (generation !== record.generation || record.status === "held") return;
    this.#options.onEvent({ type: "loaded", module: record.spec.name, generation, restored });
    this.runs(record);
  }

  /** It serves: whoever missed it is told. */
  runs(record: ModuleRecord): void {
    const { generation, failedCause: cause } = record;
    record.status = "running";
    if (record.isMissed) this.#tellPeers(record, NOTICE.peerBack);
    record.isMissed = false;
    if (record.failedAt === 0) return;
    const milliseconds = performance.now() - record.failedAt;
    record.failedAt = 0;
    this.#options.onEvent({ type: "restarted", module: record.spec.name, generation, cause, milliseconds });
  }

  failed(record: ModuleRecord, report: Extract<Report, { type: "fault" }>): void {
    const { generation, cause, text, trace, input } = report;
    if (generation !== record.generation) return;
    this.#options.onEvent({ type: "fault", module: record.spec.name, generation, cause, text, trace, input });
    // It failed while it was being held: so it is.
    if (record.status === "held") return;
    record.status = "failed";
    record.failedAt = performance.now();
    record.failedCause = cause;
    this.miss(record);
    const verdict = record.history.failed(record.failedAt);
    // The swap's end decides: the new version takes over, or the old one is restarted.
    if (this.#isChanging(record)) return;
    // A crash right after a restore says that the state is poisoned: it is dropped once, then the module is held.
    if (report.justRestored && record.failedAt - record.droppedAt < record.spec.restart.windowMs)
      return this.hold(record, "it failed again right after its state had been dropped");
    if (verdict.action === "hold") {
      this.hold(record, `it failed too often; the last time: ${text}`);
      return;
    }
    this.#delays.after(verdict.delayMs, () => {
      // Meanwhile an order, a swap or the loss of its partition may have dealt with it.
      const isWaiting = record.status === "failed" && record.generation === generation;
      if (!isWaiting || this.#isChanging(record)) return;
      if (record.spec.restart.policy !== "restart-partition") return this.restart(record, report.justRestored);
      if (report.justRestored) this.#dropState(record);
      this.#links.partitions.kill(record.partition, `${record.spec.name} failed: its policy is restart-partition`);
    });
  }

  restart(record: ModuleRecord, dropState = false): void {
    record.generation = record.nextGeneration();
    record.restarts++;
    record.status = "loading";
    if (dropState) this.#dropState(record);
    const { generation } = record;
    this.#links.order(record, { type: "restart", module: record.id, generation, dropState });
  }

  hold(record: ModuleRecord, reason: string): void {
    record.status = "held";
    record.failedAt = 0;
    this.miss(record);
    this.#links.order(record, { type: "hold", module: record.id });
    this.#links.partitions.broadcast({ type: "module-dead", module: record.id });
    this.#options.onEvent({ type: "held", module: record.spec.name, reason });
    if (record.spec.restart.policy === "safe-state") this.#sendFinal(record);
  }

  /** Its peers are told once that it is gone, until it runs again. */
  miss(record: ModuleRecord): void {
    if (!record.isMissed) this.#tellPeers(record, NOTICE.peerLost);
    record.isMissed = true;
  }

  #dropState(record: ModuleRecord): void {
    record.droppedAt = performance.now();
    this.keep(record, undefined);
  }

  /** The last message of a module that is held, in its name but from the kernel. */
  #sendFinal({ spec: { name, restart } }: ModuleRecord): void {
    if (restart.final === undefined) return;
    const { to, payload } = restart.final;
    const target = this.#links.modules.get(to.module);
    const port = target?.admitted.manifest.ports.findIndex((candidate) => candidate.name === to.port) ?? -1;
    const isSent = target !== undefined && target.status !== "held" && port >= 0;
    if (isSent) this.#links.order(target, { type: "tell", module: target.id, port, payload });
    this.#options.onEvent({ type: "final-message", module: name, to: `${to.module}.${to.port}`, isSent });
  }

  /** Tells those who asked, by `notify` in their grant, that the module behind a slot or handle is gone or there again. */
  #tellPeers({ id, spec: { name } }: ModuleRecord, notice: number): void {
    this.#links.partitions.broadcast({ type: "peer", module: id, notice });
    for (const peer of this.#links.modules.values()) {
      for (const { slot, to, notify } of endpoints(peer)) {
        if (notify !== true || peer.revoked.has(slot) || !to.some(({ module }) => module === name)) continue;
        const payload = encodeCbor([notice, slot]);
        this.#links.order(peer, { type: "tell", module: peer.id, port: KERNEL_PORT, payload });
      }
    }
  }
}
