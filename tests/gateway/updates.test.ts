/** What the core allows an update: signing never grants, and a set that a boot has started is watched like any other. */
import { describe, expect, test } from "vitest";
import { UpdateRuntime } from "../../gateway/core/updates.ts";
import type { ModuleDocument } from "../../gateway/envelopes/index.ts";
import type { Grant, Kernel, ModuleSpec } from "../../kernel/index.ts";
import { admitModule } from "../../kernel/index.ts";
import { ECHO, manifestFields, moduleBinary, moduleSpec, watModule } from "../support/modules.ts";

const LOG: Grant = { slot: "log", interface: "log", rights: ["write"], parameters: {} };
const LOG_SLOT = { interface: "log", rights: ["write"], port: null };

interface Claim {
  readonly slot: string;
  readonly interface: string;
  readonly rights: readonly string[];
}

function document(capabilities: readonly Claim[], memoryPages = 1): ModuleDocument {
  return {
    name: "worker",
    sequence: 2,
    vendor: new Uint8Array(16),
    class: new Uint8Array(16),
    wasmDigest: new Uint8Array(32),
    wasmSize: 8,
    claims: {
      abi: 1,
      version: "2.0.0",
      capabilities,
      memoryPages,
      released: 1,
      expires: 2,
      stateSchema: 1,
      provenance: undefined,
    },
  };
}

/** A kernel of which only `top` is asked; it answers with one row after the other, the last one for ever. */
function kernelWith(rows: readonly { name: string; restarts: number }[][]): Kernel {
  let asked = 0;
  const top = (): Promise<unknown> => Promise.resolve(rows[Math.min(asked++, rows.length - 1)]);
  // SAFETY: a test double; what else of a kernel were used would fail the test.
  return { top } as unknown as Kernel;
}

function runtime(spec: ModuleSpec | undefined, kernel: Kernel = kernelWith([[]])): UpdateRuntime {
  return new UpdateRuntime({
    kernel,
    spec: (name) => (name === spec?.name ? spec : undefined),
    admit: async (binary, own) => await admitModule(binary, own),
  });
}

const offered = (item: ModuleDocument, configuration?: string) => ({
  modules: [{ document: item, envelope: "00" }],
  configuration,
});

describe("policy", () => {
  const spec = moduleSpec("worker", [LOG], { memoryPages: 4 });

  test.each([
    ["a module without a place", undefined, document([]), "E_CAP", /has no place for a module worker/],
    [
      "a slot that is not granted",
      spec,
      document([{ slot: "net", interface: "mqtt", rights: ["publish"] }]),
      "E_CAP",
      /worker\.net/,
    ],
    [
      "another interface",
      spec,
      document([{ slot: "log", interface: "file", rights: ["read"] }]),
      "E_CAP",
      /another interface/,
    ],
    [
      "a right beyond the grant",
      spec,
      document([{ slot: "log", interface: "log", rights: ["write", "read"] }]),
      "E_CAP",
      /asks for more/,
    ],
    ["more memory than granted", spec, document([], 5), "E_SIZE", /more memory/],
    [
      "a prototype's name as slot",
      spec,
      document([{ slot: "constructor", interface: "log", rights: ["write"] }]),
      "E_CAP",
      /constructor/,
    ],
  ] as const)("refuses %s", async (_, own, item, code, message) => {
    const refusals = await runtime(own).policy(offered(item));
    expect(refusals.map((refusal) => refusal.code)).toEqual([code]);
    expect(refusals[0]?.message).toMatch(message);
  });

  test("allows what lies within the grants", async () => {
    const item = document([{ slot: "log", interface: "log", rights: ["write"] }], 4);
    expect(await runtime(spec).policy(offered(item))).toEqual([]);
  });

  test("refuses a configuration, which this gateway takes from its own file only", async () => {
    const refusals = await runtime(spec).policy(offered(document([]), "gateway: {}"));
    expect(refusals.map(({ code }) => code)).toEqual(["E_CAP"]);
  });
});

describe("staging", () => {
  const spec = moduleSpec("worker", [LOG]);
  const logging = watModule(`(import "log" "write" (func (param i32 i32 i32) (result i32)))`, ECHO);
  const binary = moduleBinary(logging, manifestFields("worker", { slots: { log: LOG_SLOT } }));

  test("refuses a binary that imports what its signed document does not ask for, though it is granted", async () => {
    const staging = runtime(spec).stage([{ document: document([]), envelope: "00", binary }]);
    await expect(staging).rejects.toMatchObject({
      code: "E_CAP",
      message: expect.stringContaining("log.write") as string,
    });
  });

  test("takes one that keeps to it", async () => {
    const item = document([{ slot: "log", interface: "log", rights: ["write"] }]);
    await expect(runtime(spec).stage([{ document: item, envelope: "00", binary }])).resolves.toBeUndefined();
  });
});

describe("the probation of a set that the boot has started", () => {
  const spec = moduleSpec("worker");

  test("fails with the first restart of one of its modules", async () => {
    const kernel = kernelWith([[{ name: "worker", restarts: 0 }], [{ name: "worker", restarts: 1 }]]);
    const watch = runtime(spec, kernel).probation(10_000, 1, ["worker"]);
    await expect(watch).rejects.toMatchObject({ code: "E_PROBATION" });
  });

  test("is not failed by a module outside the set, and ends when its time is over", async () => {
    const kernel = kernelWith([
      [
        { name: "worker", restarts: 0 },
        { name: "other", restarts: 3 },
      ],
    ]);
    await expect(runtime(spec, kernel).probation(120, 1, ["worker"])).resolves.toBeUndefined();
  });
});
