/** Save, state, restore and health: what they may do, and the fault or refusal where they do something else. */
import { afterEach, describe, expect, test } from "vitest";
import type { KernelEvent } from "../../kernel/index.ts";
import { admitModule, encodeCbor } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { loadProbe, REPORT, REPORT_IMPORT, REPORT_SLOT, reportsOf, seen } from "../support/probe.ts";
import { manifestFields, moduleBinary, moduleSpec, watModule } from "../support/modules.ts";

let running: TestKernel;
afterEach(async () => {
  await running.stop();
});

interface Behaviour {
  readonly save?: string;
  readonly state?: string;
  readonly restore?: string;
  readonly health?: string;
  readonly stateBytes?: number;
  readonly schema?: number;
}

/** A module that reports each start notice; its state is the four bytes at 8192. */
function stateful({ save, state, restore, health }: Behaviour): string {
  return watModule(
    REPORT_IMPORT,
    `(global $times (mut i32) (i32.const 0))
     (func (export "bulkhead_save") (result i64)
       ${save ?? "(i64.or (i64.shl (i64.const 8192) (i64.const 32)) (i64.const 4))"})
     (func (export "bulkhead_state") (param $length i32) (result i32) ${state ?? "(i32.const 9000)"})
     (func (export "bulkhead_restore") (param $length i32) (param $schema i32) (result i32)
       ${restore ?? "(i32.store (i32.const 8192) (i32.load (i32.const 9000))) (i32.const 0)"})
     (func (export "bulkhead_health") (result i32) ${health ?? "(i32.const 0)"})
     (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (i32.store (i32.const 1016) (local.get $length)) (i32.store (i32.const 1020) (local.get $port))
       (drop (call $report (i32.const 1016) (i32.add (i32.const 72) (local.get $length))))
       (i64.const 0))`,
  );
}

async function load(behaviour: Behaviour, checkpointMessages = 0): Promise<void> {
  running = await startKernel();
  await loadProbe(running, "probe", stateful(behaviour), {
    manifest: { state: behaviour.stateBytes ?? 64, schema: behaviour.schema ?? 1 },
    spec: {
      checkpointMessages,
      restart: { policy: "restart", intensity: 1, windowMs: 60_000, backoffMs: 1, maximumBackoffMs: 1 },
    },
  });
  running.kernel.begin();
}

/** Swaps the running module for one of another behaviour. */
async function swapTo(behaviour: Behaviour): Promise<string> {
  const spec = moduleSpec("probe", [REPORT]);
  const fields = manifestFields("probe", {
    version: "2.0.0",
    slots: { report: REPORT_SLOT },
    state: behaviour.stateBytes ?? 64,
    schema: behaviour.schema ?? 1,
  });
  const admitted = await admitModule(moduleBinary(stateful(behaviour), fields), spec);
  return await running.kernel.swap([{ name: "probe", admitted }], 1000).then(
    () => "swapped",
    (error: unknown) => (error as { code: string }).code,
  );
}

const fault = (): Promise<Extract<KernelEvent, { type: "fault" }>> => running.waitFor("fault");

describe("save at a checkpoint", () => {
  test.each([
    ["a negative result", "(i64.const -1000)", "state"],
    ["an address outside the memory", "(i64.const 0x0001_0000_0000_0001)", "state"],
    ["an end outside the memory", "(i64.const 0x0000_fffd_0000_0004)", "state"],
    ["more than the manifest says", "(i64.const 65)", "state"],
    ["the greatest length", "(i64.const 0xffff_ffff)", "state"],
    ["a trap", "(unreachable)", "trap"],
    ["an endless loop", "(loop $l (br $l)) (i64.const 0)", "budget"],
    ["a blocking import", "(i64.extend_i32_s (call $report (i32.const 0) (i32.const 1)))", "contract"],
  ])("with %s is a fault", async (_, save, cause) => {
    await load({ save }, 1);
    expect(await fault()).toMatchObject({ module: "probe", cause });
  });

  test("with length 0 keeps nothing and is no fault", async () => {
    await load({ save: "(i64.const 0)" }, 1);
    await seen(running, "probe", 1);
    running.kernel.restart("probe");
    const [, again] = await seen(running, "probe", 2);
    expect(again?.payload).toEqual(encodeCbor([1, false]));
  });

  test("keeps a state that a restart gets back, with its length and schema", async () => {
    const restore = `(i32.store (i32.const 8192) (i32.load (i32.const 9000)))
      (i32.store (i32.const 8196) (local.get $length)) (i32.store (i32.const 8200) (local.get $schema)) (i32.const 0)`;
    const wat = { restore, save: "(i32.store (i32.const 8192) (i32.const 77)) (i64.const 0x2000_0000_0004)" };
    await load({ ...wat, schema: 5 }, 1);
    await seen(running, "probe", 1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    running.kernel.restart("probe");
    const [, again] = await seen(running, "probe", 2);
    expect(again?.payload).toEqual(encodeCbor([1, true]));
    const loaded = running.events.filter((event) => event.type === "loaded").at(-1);
    expect(loaded).toMatchObject({ restored: true, generation: 2 });
  });
});

describe("restore, in a swap", () => {
  test.each([
    ["refused by the module", { restore: "(i32.const -1)" }, "E_STATE"],
    ["refused with a module's own error", { restore: "(i32.const -1003)" }, "E_STATE"],
    ["given no place in the memory", { state: "(i32.const 65536)" }, "E_STATE"],
    ["given a place that ends outside", { state: "(i32.const 65533)" }, "E_STATE"],
    ["given a negative place", { state: "(i32.const -1)" }, "E_STATE"],
    ["trapping", { restore: "(unreachable)" }, "E_PROBATION"],
    ["trapping in bulkhead_state", { state: "(unreachable)" }, "E_PROBATION"],
    ["without end", { restore: "(loop $l (br $l)) (i32.const 0)" }, "E_PROBATION"],
    ["blocking", { restore: "(call $report (i32.const 0) (i32.const 1))" }, "E_PROBATION"],
  ] as const)("%s undoes the swap", async (_, behaviour, code) => {
    await load({});
    await seen(running, "probe", 1);
    expect(await swapTo(behaviour)).toBe(code);
    const [row] = await running.kernel.top();
    expect(row).toMatchObject({ version: "1.0.0", state: "idle" });
    expect(running.events.filter(({ type }) => type === "fault")).toEqual([]);
  });

  test("positive results accept, and the start notice says that there is a state", async () => {
    await load({});
    await seen(running, "probe", 1);
    expect(await swapTo({ restore: "(i32.const 1)" })).toBe("swapped");
    expect((await seen(running, "probe", 2))[1]?.payload).toEqual(encodeCbor([1, true]));
  });

  test("a failing save of the old version refuses the swap, and the old one goes on", async () => {
    await load({ save: "(i64.const -1)" });
    await seen(running, "probe", 1);
    expect(await swapTo({})).toBe("E_STATE");
    const [row] = await running.kernel.top();
    expect(row).toMatchObject({ version: "1.0.0", state: "idle" });
  });

  test("a version that declares no state takes over without any", async () => {
    await load({});
    await seen(running, "probe", 1);
    expect(await swapTo({ stateBytes: 0, restore: "(unreachable)" })).toBe("swapped");
    expect((await seen(running, "probe", 2))[1]?.payload).toEqual(encodeCbor([1, false]));
  });
});

describe("health", () => {
  test("0 is well: the module is asked again and again and goes on", async () => {
    const health = "(i32.store (i32.const 8192) (i32.add (i32.load (i32.const 8192)) (i32.const 1))) (i32.const 0)";
    await load({ health });
    await new Promise((resolve) => setTimeout(resolve, 2300));
    const [row] = await running.kernel.top();
    expect(row).toMatchObject({ state: "idle", restarts: 0 });
    // The start notice is the only activation: health checks are none, but their fuel is counted.
    expect(row?.activations).toBe(1);
  });

  test.each([
    ["1", "(i32.const 1)", "health"],
    ["a negative number", "(i32.const -5)", "health"],
    ["a trap", "(unreachable)", "trap"],
    ["an endless loop", "(loop $l (br $l)) (i32.const 0)", "budget"],
    ["a blocking import", "(call $report (i32.const 0) (i32.const 1))", "contract"],
  ])("%s is a fault, and the module is restarted", async (_, health, cause) => {
    await load({ health });
    expect(await fault()).toMatchObject({ module: "probe", cause });
    expect((await running.waitFor("restarted")).generation).toBe(2);
  });

  test("is not asked while the module is waiting in its handler", async () => {
    running = await startKernel({ reply: () => new Promise(() => undefined) });
    // Well until its handler has begun, for a slow machine may ask before.
    await loadProbe(running, "probe", stateful({ health: "(i32.load (i32.const 1016))" }), { manifest: { state: 64 } });
    running.kernel.begin();
    await seen(running, "probe", 1);
    await new Promise((resolve) => setTimeout(resolve, 1300));
    expect(running.events.filter(({ type }) => type === "fault")).toEqual([]);
    expect(reportsOf(running, "probe")).toHaveLength(1);
  });
});
