/** Failures for tests of capsules: a module that is recorded, fed until it fails. */
import type { Capsule } from "../../gateway/wire/capsule.ts";
import { decodeCapsule, encodeCapsule } from "../../gateway/wire/capsule.ts";
import type { HostReply, ModuleSpec, RecordedFailure } from "../../kernel/index.ts";
import { admitModule, encodeCbor } from "../../kernel/index.ts";
import type { FoundBinary } from "../../tools/replay/replay.ts";
import type { HostCall, TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import type { ManifestFields } from "../support/modules.ts";
import { manifestFields, moduleBinary, moduleSpec } from "../support/modules.ts";

export interface Victim {
  readonly binary: Uint8Array;
  readonly spec: ModuleSpec;
}

export function victim(wat: string, manifest: Partial<ManifestFields> = {}, spec: Partial<ModuleSpec> = {}): Victim {
  const binary = moduleBinary(wat, manifestFields("victim", manifest));
  return { binary, spec: moduleSpec("victim", [], { record: true, ...spec }) };
}

/** Sends `payloads` to the module's first port, as fast as it takes them, until it fails. */
export async function failureOf(
  { binary, spec }: Victim,
  payloads: Iterable<Uint8Array>,
  options: {
    readonly sliceFuel?: number;
    readonly reply?: (call: HostCall) => HostReply;
    /** Modules that it talks to, and whose failure is waited for. */
    readonly others?: readonly Victim[];
    readonly of?: string;
  } = {},
): Promise<RecordedFailure> {
  const failures: RecordedFailure[] = [];
  const kernel = await startKernel({
    ...options,
    onFailure: (failure) => {
      if (failure.name === (options.of ?? "victim")) failures.push(failure);
    },
  });
  try {
    for (const other of [...(options.others ?? []), { binary, spec }])
      kernel.kernel.load(other.spec, await admitModule(other.binary, other.spec));
    kernel.kernel.load(feederSpec, await admitModule(feeder, feederSpec));
    kernel.kernel.begin();
    const binding = await kernel.until(
      () => kernel.bindings.find(({ module }) => module === "feeder"),
      "binding of the feeder",
    );
    let sent = 0;
    for (const payload of payloads) {
      kernel.kernel.event(binding.id, payload);
      // More would be dropped: the feeder's mailbox holds so many.
      if (++sent % BATCH === 0 && !(await handled(kernel, sent, failures))) break;
    }
    await kernel.waitFor("fault", ({ module }) => module === (options.of ?? "victim"), 20_000);
    return await kernel.until(() => failures[0], "failure", 100);
  } finally {
    await kernel.stop();
  }
}

const BATCH = 32;

/** Waits until the victim has handled so many messages. @returns false where it has failed instead */
async function handled(kernel: TestKernel, count: number, failures: readonly unknown[]): Promise<boolean> {
  for (;;) {
    const rows = await kernel.kernel.top();
    if (failures.length > 0) return false;
    if ((rows.find(({ name }) => name === "victim")?.activations ?? 0) >= count) return true;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Hands what its uart gives it on to the module. */
const feeder = moduleBinary(
  `(module
    (import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (func (export "bulkhead_inbox") (result i32) i32.const 1024)
    (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
      (if (i32.eqz (local.get $port)) (then
        (drop (call $send (i32.const 1088) (local.get $length) (i32.const 0) (i32.const 0)))))
      (i64.const 0)))`,
  manifestFields("feeder", {
    inbox: 65_536,
    slots: {
      out: { interface: "endpoint", rights: ["send"], port: null },
      line: { interface: "uart", rights: ["read"], port: "in" },
    },
  }),
);

const feederSpec = moduleSpec("feeder", [
  {
    slot: "out",
    interface: "endpoint",
    to: [{ module: "victim", port: "in" }],
    rights: ["send"],
    badge: 7,
    depth: 1024,
    overflow: "refuse",
  },
  {
    slot: "line",
    interface: "uart",
    rights: ["read"],
    parameters: { device: "/dev/ttyS0", baud: 9600, format: "8N1" },
  },
]);

export function capsuleOf(failure: RecordedFailure, changes: Partial<Capsule> = {}): Capsule {
  const time = Date.UTC(2026, 0, 2);
  const capsule = { ...failure, time, architecture: process.arch, isRedacted: false, ...changes };
  return decodeCapsule(encodeCapsule(capsule, undefined));
}

export function found(binary: Uint8Array, map?: string): FoundBinary {
  return { path: "victim.wasm", wasm: binary, map };
}

/** `count` CBOR numbers. */
export function numbers(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, index) => encodeCbor(index + 1));
}
