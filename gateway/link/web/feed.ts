/** What the page shows, asked of the core: only while somebody looks, one question at a time, the same for all who look. */
import type { AuditPage, Health, History, Snapshot } from "../../wire/operator.ts";
import type { HostPort } from "../../wire/host-process.ts";
import { WEB_LIMITS } from "./limits.ts";

/** Asks the core, on behalf of whoever looks. */
export class Feed {
  readonly #port: Pick<HostPort, "ask">;
  #health: Promise<Health> | undefined;
  #healthAt = Number.NEGATIVE_INFINITY;
  #snapshot: Promise<Snapshot> | undefined;

  constructor(port: Pick<HostPort, "ask">) {
    this.#port = port;
  }

  /** All pages of what runs; who asks meanwhile gets the same. @throws Refusal where the core does not answer */
  snapshot(): Promise<Snapshot> {
    this.#snapshot ??= this.#read().finally(() => {
      this.#snapshot = undefined;
    });
    return this.#snapshot;
  }

  /** One that cannot be had is an answer as well: the core does not answer. */
  health(): Promise<Health> {
    const now = performance.now();
    if (this.#health !== undefined && now - this.#healthAt < WEB_LIMITS.healthMs) return this.#health;
    this.#healthAt = now;
    this.#health = (this.#port.ask({ kind: "health" }) as Promise<Health>).catch(() => SILENT);
    return this.#health;
  }

  history(since: number): Promise<History> {
    return this.#port.ask({ kind: "history", since }) as Promise<History>;
  }

  audit(limit: number, about: string): Promise<AuditPage> {
    return this.#port.ask({ kind: "audit", limit, about }) as Promise<AuditPage>;
  }

  async #read(): Promise<Snapshot> {
    const pages: Snapshot[] = [];
    for (let from: number | null = 0; from !== null; from = pages.at(-1)?.next ?? null) {
      pages.push((await this.#port.ask({ kind: "snapshot", from })) as Snapshot);
    }
    // SAFETY: there is a first page.
    const first = pages[0] as Snapshot;
    const modules = pages.flatMap((page) => page.modules);
    return { ...first, modules, routes: pages.flatMap(({ routes }) => routes), next: null };
  }
}

const SILENT: Health = { live: false, ready: false, reasons: ["the core does not answer"] };
