/** A kernel with a host that records: what tests of the kernel need around it. */
import { Kernel } from "../../kernel/index.ts";
import { KERNEL_PATIENCE, patiently } from "./patience.ts";
import type { HostReply, KernelEvent, KernelOptions, ResourceBinding } from "../../kernel/index.ts";

export interface HostCall {
  readonly binding: ResourceBinding;
  readonly operation: string;
  readonly numbers: readonly number[];
  readonly bytes: readonly Uint8Array[];
  readonly capacity: number;
}

export interface TestKernel {
  readonly kernel: Kernel;
  readonly events: KernelEvent[];
  readonly calls: HostCall[];
  readonly bindings: ResourceBinding[];
  /** Waits for an event that satisfies the predicate, past ones included. */
  readonly waitFor: <Type extends KernelEvent["type"]>(
    type: Type,
    predicate?: (event: Extract<KernelEvent, { type: Type }>) => boolean,
    timeoutMs?: number,
  ) => Promise<Extract<KernelEvent, { type: Type }>>;
  /** Waits until `probe` gives something; it is asked again after every event and every call of the host. */
  readonly until: <Result>(probe: () => Result | undefined, what: string, timeoutMs?: number) => Promise<Result>;
  /** Waits until at least `count` events of the log have come from that module, and gives their texts. */
  readonly logs: (module: string, count: number, timeoutMs?: number) => Promise<string[]>;
  readonly stop: () => Promise<void>;
}

export async function startKernel(
  options: Partial<KernelOptions> & {
    reply?: (call: HostCall) => HostReply | Promise<HostReply>;
    partitions?: string[];
  } = {},
): Promise<TestKernel> {
  const events: KernelEvent[] = [];
  const calls: HostCall[] = [];
  const bindings: ResourceBinding[] = [];
  const listeners = new Set<() => void>();
  const kernel = new Kernel({
    patience: KERNEL_PATIENCE,
    ...options,
    host: {
      bind: (made) => bindings.push(...made),
      unbind: (ids) => {
        for (const id of ids) {
          const index = bindings.findIndex((binding) => binding.id === id);
          if (index >= 0) bindings.splice(index, 1);
        }
      },
      request: async (binding, operation, numbers, bytes, capacity) => {
        const call = { binding, operation, numbers, bytes, capacity };
        calls.push(call);
        for (const listener of listeners) listener();
        return options.reply === undefined ? { result: 0, bytes: new Uint8Array(0) } : await options.reply(call);
      },
    },
    onEvent: (event) => {
      options.onEvent?.(event);
      events.push(event);
      for (const listener of listeners) listener();
    },
  });
  const until = async <Result>(probe: () => Result | undefined, what: string, limitMs: number): Promise<Result> => {
    const timeoutMs = patiently(limitMs);
    const found = probe();
    if (found !== undefined) return found;
    return await new Promise<Result>((resolve, reject) => {
      const timer = setTimeout(() => {
        listeners.delete(listener);
        reject(new Error(`no ${what} within ${timeoutMs} ms; events: ${JSON.stringify(events)}`));
      }, timeoutMs);
      const listener = (): void => {
        const result = probe();
        if (result === undefined) return;
        clearTimeout(timer);
        listeners.delete(listener);
        resolve(result);
      };
      listeners.add(listener);
    });
  };
  await kernel.start((options.partitions ?? ["main"]).map((name) => ({ name, heapMiB: 64 })));
  return {
    kernel,
    events,
    calls,
    bindings,
    until: (probe, what, timeoutMs = 20_000) => until(probe, what, timeoutMs),
    waitFor: (type, predicate = () => true, timeoutMs = 20_000) =>
      until(() => events.find((event) => event.type === type && predicate(event as never)) as never, type, timeoutMs),
    logs: (module, count, timeoutMs = 20_000) =>
      until(
        () => {
          const texts = events.flatMap((event) =>
            event.type === "log" && event.module === module ? [event.text] : [],
          );
          return texts.length >= count ? texts : undefined;
        },
        `log ${count} of ${module}`,
        timeoutMs,
      ),
    stop: () => kernel.stop(),
  };
}
