/** A running kernel whose system changes: partitions and modules that come, modules that go with all their rights. */
import { afterEach, describe, expect, test } from "vitest";
import { RESULT } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { ECHO, manifestFields, moduleSpec, watModule, admit } from "../support/modules.ts";
import { endpoint, endpointSlot, evaluator, loadProbe, reportsOf } from "../support/probe.ts";

let running: TestKernel;
afterEach(async () => {
  await running.stop();
});

const CALL = `(import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`;
const CALLER = evaluator(CALL, [
  `(call $call (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 64) (i32.const 1000))`,
]);

async function loadCaller(): Promise<void> {
  await loadProbe(running, "caller", CALLER, {
    grants: [endpoint("echo.in", { rights: ["call"] })],
    slots: { out: endpointSlot(["call"]) },
  });
}

async function loadEcho(partition: string): Promise<void> {
  const isEcho = (event: { readonly type: string }): boolean => "module" in event && event.module === "echo";
  const before = running.events.filter((event) => event.type === "loaded" && isEcho(event)).length;
  const spec = moduleSpec("echo", [], { partition });
  running.kernel.load(spec, await admit(watModule("", ECHO), manifestFields("echo"), spec));
  running.kernel.begin("echo");
  await running.until(
    () => running.events.filter((event) => event.type === "loaded" && isEcho(event))[before],
    "load of echo",
  );
}

/** The result of the caller's next call. */
async function nextCall(): Promise<number> {
  const before = reportsOf(running, "caller").length;
  running.kernel.restart("caller");
  return await running.until(
    () => {
      const report = reportsOf(running, "caller").at(before);
      return report === undefined ? undefined : new DataView(report.buffer, report.byteOffset).getInt32(0, true);
    },
    "call",
    5000,
  );
}

describe("a kernel that runs", () => {
  test("takes a partition, and a module in it, which a module that waited for it reaches", async () => {
    running = await startKernel();
    await loadCaller();
    running.kernel.begin();
    expect(await nextCall()).toBe(RESULT["dead-peer"]);
    await running.kernel.addPartition({ name: "later", heapMiB: 32 });
    await loadEcho("later");
    expect(await nextCall()).toBe(1);
  });

  test("lets a module go: its callers find a dead peer, its bindings are released, its name is free", async () => {
    running = await startKernel();
    await loadCaller();
    await loadEcho("main");
    await loadProbe(running, "probe", evaluator("", [`(i32.const 7)`]));
    running.kernel.begin();
    expect(await nextCall()).toBe(1);
    running.kernel.unload("echo");
    expect(await nextCall()).toBe(RESULT["dead-peer"]);
    running.kernel.unload("probe");
    expect(running.bindings.map(({ module }) => module)).not.toContain("probe");
    expect((await running.kernel.top()).map(({ name }) => name)).toEqual(["caller"]);
    expect(running.events.filter(({ type }) => type === "revoked")).toHaveLength(1);
    await loadEcho("main");
    expect(await nextCall()).toBe(1);
  });

  test("refuses to let go of a module that it does not have", async () => {
    running = await startKernel();
    expect(() => running.kernel.unload("nobody")).toThrow(expect.objectContaining({ code: "E_UNKNOWN" }) as Error);
  });
});
