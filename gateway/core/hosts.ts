/** The world outside the partitions as the kernel sees it: each interface goes to the process that answers it. */
import type { AnsweredBy, HostReply, InterfaceName, KernelHost, ResourceBinding } from "../../kernel/index.ts";
import { findOperation, interfaceDefinition, RESULT } from "../../kernel/index.ts";
import { EVERY_USE_AUDITED } from "../config/grants.ts";
import type { HostProcess } from "../wire/child.ts";
import type { HostBinding } from "../wire/protocol.ts";

/** Longer than any bus adapter's or broker's own limit, so that their own error comes first. */
const REQUEST_MS = 10_000;
/** Longest that a guest may wait for an answer over HTTP. */
const HTTP_MS = 60_000;
const NOTHING = new Uint8Array(0);

/** What answers the `store` interface: the trust worker. */
export interface StoreService {
  request(owner: string, binding: HostBinding, operation: string, bytes: readonly Uint8Array[]): Promise<HostReply>;
}

/** Who is told of what goes through. */
export interface Watchers {
  /** Of each use of an interface of which the audit log keeps every one. */
  used(binding: ResourceBinding, operation: string, result: number): void;
  /** Of what a module publishes, on its way out. */
  published(module: string, topic: Uint8Array, payload: Uint8Array): void;
}

export class Hosts implements KernelHost {
  readonly #bindings = new Map<number, ResourceBinding>();
  readonly #processes = new Map<AnsweredBy, HostProcess>();
  readonly #store: StoreService;
  readonly #watchers: Watchers;

  constructor(store: StoreService, watchers: Watchers) {
    this.#store = store;
    this.#watchers = watchers;
  }

  /** The bindings that a process must be started with, or is asked to take. */
  bindingsOf(answeredBy: AnsweredBy): HostBinding[] {
    return [...this.#bindings.values()].filter((binding) => answering(binding.interface) === answeredBy).map(toHost);
  }

  /** From now on bindings of that kind go to this process as they are made. */
  attach(answeredBy: AnsweredBy, process: HostProcess): void {
    this.#processes.set(answeredBy, process);
  }

  bind(bindings: readonly ResourceBinding[]): void {
    for (const binding of bindings) {
      this.#bindings.set(binding.id, binding);
      this.#processes.get(answering(binding.interface))?.bind([toHost(binding)]);
    }
  }

  unbind(ids: readonly number[]): void {
    for (const id of ids) {
      const binding = this.#bindings.get(id);
      if (binding === undefined) continue;
      this.#bindings.delete(id);
      this.#processes.get(answering(binding.interface))?.unbind([id]);
    }
  }

  async request(
    binding: ResourceBinding,
    operation: string,
    numbers: readonly number[],
    bytes: readonly Uint8Array[],
    capacity: number,
  ): Promise<HostReply> {
    const right = findOperation(binding.interface, operation)?.right;
    if (right === undefined || !binding.rights.includes(right)) return { result: RESULT.denied, bytes: NOTHING };
    const reply = await this.#answer(binding, operation, numbers, bytes, capacity);
    if (EVERY_USE_AUDITED.has(binding.interface)) this.#watchers.used(binding, operation, reply.result);
    return reply;
  }

  async #answer(
    binding: ResourceBinding,
    operation: string,
    numbers: readonly number[],
    bytes: readonly Uint8Array[],
    capacity: number,
  ): Promise<HostReply> {
    const answeredBy = answering(binding.interface);
    if (answeredBy === "trust") {
      const stored = await this.#store.request(binding.module, toHost(binding), operation, bytes);
      return stored.bytes.length > capacity ? { result: RESULT["too-large"], bytes: NOTHING } : stored;
    }
    const process = this.#processes.get(answeredBy);
    if (process === undefined) return { result: RESULT.unsupported, bytes: NOTHING };
    // The guest names how long it will wait for an answer over HTTP; its own limit comes first.
    const timeoutMs =
      binding.interface === "http" ? REQUEST_MS + Math.max(0, Math.min(numbers[0] ?? 0, HTTP_MS)) : REQUEST_MS;
    const reply = await process.request({ binding: binding.id, operation, numbers, bytes, capacity, timeoutMs });
    const [topic, payload] = bytes;
    // Who has no right to the topic has published nothing: he must not be taken for who has it.
    if (binding.interface === "mqtt" && reply.result >= 0 && topic !== undefined && payload !== undefined) {
      this.#watchers.published(binding.module, topic, payload);
    }
    return reply;
  }
}

function answering(name: InterfaceName): AnsweredBy {
  return interfaceDefinition(name).answeredBy;
}

function toHost({ id, interface: interfaceName, module, slot, rights, parameters }: ResourceBinding): HostBinding {
  return { id, interface: interfaceName, owner: `${module}.${slot}`, rights, parameters };
}
