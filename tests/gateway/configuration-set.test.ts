/** A configuration takes effect with its modules as one set, on a real kernel: it comes, stays, or goes back whole. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { GatewayConfiguration } from "../../gateway/config/index.ts";
import type { GatewayEvent } from "../../gateway/core/events.ts";
import { UpdateRuntime } from "../../gateway/core/updates.ts";
import type { ModuleDocument } from "../../gateway/envelopes/index.ts";
import type { OfferedBinary } from "../../gateway/wire/trust-protocol.ts";
import type { Grant, ModuleSpec } from "../../kernel/index.ts";
import { admitModule, KERNEL_PORT } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { manifestFields, moduleBinary, moduleSpec, watModule } from "../support/modules.ts";
import { REPORT, REPORT_IMPORT, REPORT_SLOT, reportsOf } from "../support/probe.ts";
import { gatewayText, ownConfigurations } from "../updates/bench.ts";

let running: TestKernel;
let updates: UpdateRuntime;
let told: GatewayEvent[] = [];
let prepared: string[][] = [];

beforeEach(async () => {
  told = [];
  prepared = [];
  running = await startKernel({
    onEvent: (event) => {
      updates.observe(event);
    },
  });
  const environment = {
    kernel: running.kernel,
    admit: async (binary: Uint8Array, spec: ModuleSpec) => await admitModule(binary, spec),
    prepareHosts: (_: GatewayConfiguration, modules: readonly ModuleSpec[]) => {
      prepared.push([...new Set(modules.map(({ name }) => name))].sort());
      return Promise.resolve();
    },
    emit: (event: GatewayEvent) => told.push(event),
  };
  updates = new UpdateRuntime(environment, configured([]));
});
afterEach(async () => {
  await running.stop();
});

const PORTS = [{ name: "in", contract: null, fuel: 10_000, stack: 4096 }];
const SLOTS = { report: REPORT_SLOT, north: { interface: "mqtt", rights: ["subscribe"], port: "in" } };
const ASKED = [
  { slot: "report", interface: "file", rights: ["write"] },
  { slot: "north", interface: "mqtt", rights: ["subscribe"] },
] as const;

/** Counts the messages of its topic from a saved state, and reports each number. `onStart` runs with each start notice. */
function counter(onStart = ""): string {
  return watModule(
    REPORT_IMPORT,
    `(func (export "bulkhead_save") (result i64) (i64.const 0x2000_0000_0004))
     (func (export "bulkhead_state") (param i32) (result i32) (i32.const 8192))
     (func (export "bulkhead_restore") (param i32 i32) (result i32) (i32.const 0))
     (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then ${onStart} (return (i64.const 0))))
       (i32.store (i32.const 8192) (i32.add (i32.load (i32.const 8192)) (i32.const 1)))
       (drop (call $report (i32.const 8192) (i32.const 4)))
       (i64.const 0))`,
  );
}

const north = (topic: string): Grant => ({
  slot: "north",
  interface: "mqtt",
  rights: ["subscribe"],
  parameters: { subscribe: [topic] },
});

const specOf = (name: string, topic = `site/${name}`, changes: Partial<ModuleSpec> = {}): ModuleSpec =>
  moduleSpec(name, [REPORT, north(topic)], changes);

function configured(modules: readonly ModuleSpec[], partitions = ["main"]): GatewayConfiguration {
  const system = { partitions: partitions.map((name) => ({ name, heapMiB: 64 })), modules };
  return { ...ownConfigurations(gatewayText([])).own, system };
}

/** Version `number` of a module: its envelope's digest says name and number. */
function offer(name: string, number = 1, wat = counter()): OfferedBinary {
  const document = {
    name,
    sequence: number,
    claims: { memoryPages: 1, capabilities: ASKED, version: `${number}.0.0` },
  } as unknown as ModuleDocument;
  const manifest = manifestFields(name, { slots: SLOTS, ports: PORTS, state: 64, version: `${number}.0.0` });
  return { document, envelope: `${name} ${number}`, binary: moduleBinary(wat, manifest) };
}

/** Boots these modules, as the gateway does. */
async function boot(specs: readonly ModuleSpec[], wat = counter()): Promise<void> {
  const modules = await Promise.all(
    specs.map(async (spec) => {
      const { binary, envelope } = offer(spec.name, 1, wat);
      return { spec, admitted: await admitModule(binary, spec), envelope };
    }),
  );
  updates.begin(configured(specs), modules);
  for (const { spec, admitted } of modules) running.kernel.load(spec, admitted);
  running.kernel.begin();
}

async function change(offers: readonly OfferedBinary[], specs: readonly ModuleSpec[], partitions?: string[]) {
  const configuration = configured(specs, partitions);
  await updates.stage(offers, { modules: offers, configuration });
  return await updates.swap();
}

/** One message to the module's topic; gives the number that it reports for it. */
async function count(name: string): Promise<number> {
  const before = reportsOf(running, name).length;
  const binding = running.bindings.findLast((bound) => bound.module === name && bound.slot === "north");
  running.kernel.event(binding?.id ?? 0, new Uint8Array([0xf6]));
  return await running.until(() => {
    const report = reportsOf(running, name).at(before);
    return report === undefined ? undefined : new DataView(report.buffer, report.byteOffset).getInt32(0, true);
  }, `report of ${name}`);
}

async function names(): Promise<string[]> {
  const rows = await running.kernel.top();
  return rows
    .filter(({ state }) => state !== "held")
    .map(({ name }) => name)
    .sort();
}

const topicsOf = (name: string): unknown[] =>
  running.bindings
    .filter(({ module, slot }) => module === name && slot === "north")
    .map((it) => it.parameters["subscribe"]);

describe("a configuration that comes with a set", () => {
  test("brings a module, takes one, and changes a grant, each with its state, in one swap", async () => {
    await boot([specOf("stays"), specOf("goes"), specOf("turns")]);
    for (const name of ["stays", "turns", "turns"]) await count(name);
    const offers = [offer("stays"), offer("turns"), offer("comes")];
    await change(offers, [specOf("stays"), specOf("turns", "site/elsewhere"), specOf("comes")]);
    expect(await names()).toEqual(["comes", "stays", "turns"]);
    await updates.probation(20, 1, []);
    await updates.commit();
    expect(running.events.filter(({ type }) => type === "swapped")).toHaveLength(1);
    expect(topicsOf("turns")).toEqual([["site/elsewhere"]]);
    expect(topicsOf("goes")).toEqual([]);
    expect(await Promise.all([count("stays"), count("turns"), count("comes")])).toEqual([2, 3, 1]);
    expect((await running.kernel.top()).map(({ name }) => name).sort()).toEqual(["comes", "stays", "turns"]);
    const grants = told.flatMap((event) => ("slot" in event ? [`${event.type} ${event.module}.${event.slot}`] : []));
    expect(grants).toEqual(["revoked turns.north", "granted turns.north"]);
    expect(prepared).toEqual([["comes", "goes", "stays", "turns"]]);
  });

  test("leaves alone what it does not change", async () => {
    await boot([specOf("stays"), specOf("turns")]);
    await change([offer("stays"), offer("turns")], [specOf("stays"), specOf("turns", "site/x")]);
    await updates.commit();
    expect(running.events.flatMap((event) => (event.type === "swapped" ? event.modules : []))).toEqual(["turns"]);
  });

  test("places a module in a partition that did not exist", async () => {
    await boot([specOf("stays")]);
    const later = specOf("later", "site/later", { partition: "wing" });
    await change([offer("stays"), offer("later")], [specOf("stays"), later], ["main", "wing"]);
    await updates.commit();
    expect(await count("later")).toBe(1);
    expect((await running.kernel.top()).find(({ name }) => name === "later")?.partition).toBe("wing");
  });

  test("moves a module to another partition with its state, and back where the set goes back", async () => {
    await boot([specOf("stays"), specOf("moves")]);
    for (const name of ["moves", "moves", "stays"]) await count(name);
    const moved = specOf("moves", "site/moves", { partition: "wing" });
    const placeOf = async (): Promise<(string | undefined)[]> =>
      (await running.kernel.top()).filter(({ name }) => name === "moves").map(({ partition }) => partition);
    for (const outcome of ["rollback", "commit"] as const) {
      await change([offer("stays"), offer("moves")], [specOf("stays"), moved], ["main", "wing"]);
      expect(await placeOf()).toEqual(["wing"]);
      await updates[outcome]();
      expect(await placeOf()).toEqual([outcome === "commit" ? "wing" : "main"]);
    }
    expect(await Promise.all([count("moves"), count("stays")])).toEqual([3, 2]);
  });

  test("that goes back restores modules, grants and states as they were", async () => {
    await boot([specOf("stays"), specOf("goes"), specOf("turns")]);
    for (const name of ["goes", "goes", "goes", "turns"]) await count(name);
    const offers = [offer("stays"), offer("turns", 2), offer("comes")];
    await change(offers, [specOf("stays"), specOf("turns", "site/elsewhere"), specOf("comes")]);
    await count("comes");
    await updates.rollback();
    await running.waitFor("loaded", ({ module, generation }) => module === "goes" && generation > 2);
    expect(await names()).toEqual(["goes", "stays", "turns"]);
    expect(topicsOf("turns")).toEqual([["site/turns"]]);
    expect(topicsOf("comes")).toEqual([]);
    expect(await Promise.all([count("goes"), count("turns"), count("stays")])).toEqual([4, 2, 1]);
    const grants = told.flatMap((event) => ("slot" in event ? [event.type] : []));
    expect(grants).toEqual(["revoked", "granted", "revoked", "granted"]);
    // And the next set is taken as if this one had never been.
    await change(
      [offer("stays"), offer("goes"), offer("turns"), offer("comes")],
      [specOf("stays"), specOf("goes"), specOf("turns"), specOf("comes")],
    );
    await updates.commit();
    expect(await names()).toEqual(["comes", "goes", "stays", "turns"]);
  });

  test("goes back where one of its new modules fails on probation", async () => {
    await boot([specOf("stays")]);
    const broken = offer("comes", 1, counter("(unreachable)"));
    await change([offer("stays"), broken], [specOf("stays", "site/other"), specOf("comes")]);
    await expect(updates.probation(2000, 0, [])).rejects.toMatchObject({
      code: "E_PROBATION",
      message: expect.stringContaining("comes failed") as string,
    });
    await updates.rollback();
    expect(topicsOf("stays")).toEqual([["site/stays"]]);
    expect((await running.kernel.top()).map(({ name }) => name)).toEqual(["stays"]);
  });

  test("is not begun where a new module can't even be instantiated", async () => {
    await boot([specOf("stays")]);
    const wat = `${counter().slice(0, counter().lastIndexOf(")"))} (func (export "_initialize") (unreachable)))`;
    const swapping = change([offer("stays"), offer("comes", 1, wat)], [specOf("stays"), specOf("comes")]);
    await expect(swapping).rejects.toMatchObject({ code: "E_PROBATION" });
    await updates.rollback();
    expect((await running.kernel.top()).map(({ name }) => name)).toEqual(["stays"]);
  });
});

describe("the probation of a set that was swapped", () => {
  test("lasts until the new version has handled its messages, or six times as long where nobody sends any", async () => {
    await boot([specOf("worker"), specOf("alarm")]);
    await change([offer("worker", 2), offer("alarm")], [specOf("worker"), specOf("alarm")]);
    const binding = running.bindings.findLast(({ module }) => module === "worker")?.id ?? 0;
    const sending = setInterval(() => {
      running.kernel.event(binding, new Uint8Array([0xf6]));
    }, 20);
    await updates.probation(50, 2, []);
    clearInterval(sending);
    expect(reportsOf(running, "worker").length).toBeGreaterThanOrEqual(2);
    await updates.commit();
    await change([offer("worker", 2), offer("alarm", 2)], [specOf("worker"), specOf("alarm")]);
    const begun = performance.now();
    await updates.probation(50, 1, []);
    expect(performance.now() - begun).toBeGreaterThanOrEqual(300);
    await updates.commit();
    expect((await running.kernel.top()).map(({ version }) => version)).toEqual(["2.0.0", "2.0.0"]);
  });
});

describe("a module that crashes in a loop after its commit", () => {
  const trapping = counter().replace("(drop (call $report", "(unreachable) (drop (call $report");

  async function crash(name: string): Promise<void> {
    const ends = () => running.events.filter(({ type }) => type === "restarted" || type === "held").length;
    const before = ends();
    const binding = running.bindings.findLast((bound) => bound.module === name && bound.slot === "north");
    running.kernel.event(binding?.id ?? 0, new Uint8Array([0xf6]));
    await running.until(() => (ends() > before ? true : undefined), `the end of ${name}`);
  }

  test("is held in the version that was committed, and the next update frees it", async () => {
    await boot([specOf("worker"), specOf("stays")]);
    for (let time = 0; time < 3; time++) await count("worker");
    await change([offer("worker", 2, trapping), offer("stays")], [specOf("worker"), specOf("stays")]);
    await updates.probation(20, 0, []);
    await updates.commit();
    const row = async () => (await running.kernel.top()).find(({ name }) => name === "worker");
    for (let time = 0; time < 20 && (await row())?.state !== "held"; time++) await crash("worker");
    expect(await row()).toMatchObject({ state: "held", version: "2.0.0" });
    await updates.rollback();
    expect(await row()).toMatchObject({ state: "held", version: "2.0.0" });
    await change([offer("worker", 3), offer("stays")], [specOf("worker"), specOf("stays")]);
    await updates.probation(20, 0, []);
    await updates.commit();
    expect((await row())?.version).toBe("3.0.0");
    // The state that it crashed with again is gone: it may have been the reason.
    expect(await count("worker")).toBe(1);
    expect(await count("stays")).toBe(1);
  });
});

describe("the probation of a set that the boot has started", () => {
  test("fails with the first fault of one of its modules, even one that came before anybody asked", async () => {
    await boot([specOf("crashes")], counter("(unreachable)"));
    await running.waitFor("fault");
    await expect(updates.probation(5000, 0, ["crashes"])).rejects.toMatchObject({ code: "E_PROBATION" });
  });

  test("fails with a fault that comes while it lasts", async () => {
    const onMessage = counter().replace(
      "(drop (call $report",
      "(if (i32.eq (i32.load (i32.const 8192)) (i32.const 2)) (then (unreachable)))\n(drop (call $report",
    );
    await boot([specOf("crashes")], onMessage);
    await count("crashes");
    const watched = updates.probation(20_000, 0, ["crashes"]);
    const binding = running.bindings.find(({ slot }) => slot === "north")?.id ?? 0;
    running.kernel.event(binding, new Uint8Array([0xf6]));
    await expect(watched).rejects.toMatchObject({ code: "E_PROBATION" });
  });

  test("fails with a module that was refused at the start, and so does not run at all", async () => {
    await boot([specOf("stays")]);
    updates.observe({ type: "refused", module: "gone", code: "E_WASM", text: "E_WASM: no module" });
    await expect(updates.probation(5000, 0, ["stays", "gone"])).rejects.toMatchObject({ code: "E_PROBATION" });
  });

  test("waits for messages as after a swap", async () => {
    await boot([specOf("stays")]);
    const begun = performance.now();
    await updates.probation(30, 1, ["stays"]);
    expect(performance.now() - begun).toBeGreaterThanOrEqual(180);
  });

  test("is not failed by a module outside the set, and ends when its time is over", async () => {
    await boot([specOf("stays"), specOf("crashes")]);
    running.kernel.restart("crashes");
    await running.waitFor("restarted");
    await expect(updates.probation(120, 1, ["stays"])).resolves.toBeUndefined();
  });
});
