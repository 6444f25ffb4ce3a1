/** What the core allows an update: signing never grants, and places are the operator's. */
import { describe, expect, test } from "vitest";
import type { GatewayConfiguration } from "../../gateway/config/index.ts";
import { UpdateRuntime } from "../../gateway/core/updates.ts";
import type { ModuleDocument } from "../../gateway/envelopes/index.ts";
import type { Grant, Kernel, ModuleSpec } from "../../kernel/index.ts";
import { admitModule } from "../../kernel/index.ts";
import { ECHO, manifestFields, moduleBinary, moduleSpec, watModule } from "../support/modules.ts";
import { gatewayText, ownConfigurations } from "../updates/bench.ts";

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

/** The configuration that has these modules in one partition, or in those given. */
function configured(modules: readonly ModuleSpec[], partitions = ["main"]): GatewayConfiguration {
  const system = { partitions: partitions.map((name) => ({ name, heapMiB: 64 })), modules };
  return { ...ownConfigurations(gatewayText([])).own, system };
}

/** A kernel that nobody asks anything. */
const NO_KERNEL = {} as Kernel;

function runtime(configuration: GatewayConfiguration, kernel: Kernel = NO_KERNEL): UpdateRuntime {
  const environment = {
    kernel,
    admit: async (binary: Uint8Array, own: ModuleSpec) => await admitModule(binary, own),
    prepareHosts: () => Promise.resolve(),
    emit: () => undefined,
  };
  return new UpdateRuntime(environment, configuration);
}

const offered = (item: ModuleDocument) => ({
  modules: [{ document: item, envelope: "00" }],
  configuration: undefined,
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
    const refusals = await runtime(configured(own === undefined ? [] : [own])).policy(offered(item));
    expect(refusals.map((refusal) => refusal.code)).toEqual([code]);
    expect(refusals[0]?.message).toMatch(message);
  });

  test("allows what lies within the grants", async () => {
    const item = document([{ slot: "log", interface: "log", rights: ["write"] }], 4);
    expect(await runtime(configured([spec])).policy(offered(item))).toEqual([]);
  });

  test("refuses a configuration that changes a heap while its partition runs; a module may move", async () => {
    const updates = runtime(configured([spec]));
    const admitted = await admitModule(moduleBinary(watModule("", ECHO), manifestFields("worker")), spec);
    updates.begin(configured([spec]), [{ spec, admitted, envelope: "00" }]);
    const moved = configured([{ ...spec, partition: "other" }], ["main", "other"]);
    const { partitions } = moved.system;
    const resized = {
      ...moved,
      system: { modules: [spec], partitions: partitions.map((it) => ({ ...it, heapMiB: 99 })) },
    };
    const of = async (configuration: GatewayConfiguration): Promise<string[]> =>
      (await updates.policy({ ...offered(document([])), configuration })).map((refusal) => refusal.describe());
    expect(await of(configured([spec], ["main", "other"]))).toEqual([]);
    expect(await of(moved)).toEqual([]);
    expect((await of(resized))[0]).toMatch(/^E_CONFIG: the heap of partition main/);
  });

  test("judges modules by the configuration that comes with them, not by the one in force", async () => {
    const item = document([{ slot: "log", interface: "log", rights: ["write"] }], 4);
    const configuration = configured([spec]);
    expect(await runtime(configured([])).policy({ ...offered(item), configuration })).toEqual([]);
    const [refusal] = await runtime(configuration).policy({ ...offered(item), configuration: configured([]) });
    expect(refusal?.code).toBe("E_CAP");
  });
});

describe("staging", () => {
  const spec = moduleSpec("worker", [LOG]);
  const logging = watModule(`(import "log" "write" (func (param i32 i32 i32) (result i32)))`, ECHO);
  const binary = moduleBinary(logging, manifestFields("worker", { slots: { log: LOG_SLOT } }));

  test("refuses a binary that imports what its signed document does not ask for, though it is granted", async () => {
    const item = document([]);
    const staging = runtime(configured([spec])).stage([{ document: item, envelope: "00", binary }], offered(item));
    await expect(staging).rejects.toMatchObject({
      code: "E_CAP",
      message: expect.stringContaining("log.write") as string,
    });
  });

  test.each([
    ["no right", []],
    ["another right of the same slot", ["read"]],
  ])("refuses an import of which the signed document claims %s, though it is granted", async (_, rights) => {
    const item = document([{ slot: "log", interface: "log", rights }]);
    const staging = runtime(configured([spec])).stage([{ document: item, envelope: "00", binary }], offered(item));
    await expect(staging).rejects.toMatchObject({
      code: "E_CAP",
      message: expect.stringContaining("log.write") as string,
      detail: { expected: rights.join(", ") || "no right", found: "write" },
    });
  });

  test("takes one that keeps to it", async () => {
    const item = document([{ slot: "log", interface: "log", rights: ["write"] }]);
    const staging = runtime(configured([spec])).stage([{ document: item, envelope: "00", binary }], offered(item));
    await expect(staging).resolves.toBeUndefined();
  });
});
