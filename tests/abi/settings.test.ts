/** The operator's settings, as a module finds them in its start notice. */
import { afterEach, expect, test } from "vitest";
import { encodeCbor, inspectModule, KERNEL_PORT, LIMITS, NOTICE } from "../../kernel/index.ts";
import type { ModuleSpec } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { admit, ECHO, manifestFields, moduleBinary, moduleSpec, watModule } from "../support/modules.ts";
import { loadProbe, recorder, REPORT, REPORT_SLOT, seen } from "../support/probe.ts";

let running: TestKernel;
afterEach(async () => {
  await running.stop();
});

const SETTINGS = { period: 250, limits: [{ quantity: "temperature", high: 22.5 }] };
const settings = encodeCbor(SETTINGS);

/** A recorder with a state of one byte, which it keeps over a swap. */
const KEEPER = recorder(
  "",
  "(i64.const 0)",
  `(func (export "bulkhead_save") (result i64) (i64.const ${(8192n << 32n) | 1n}))
   (func (export "bulkhead_state") (param i32) (result i32) (i32.const 8192))
   (func (export "bulkhead_restore") (param i32 i32) (result i32) (i32.const 0))
   (data (i32.const 8192) "\\07")`,
);

async function startNotices(count: number): Promise<Uint8Array[]> {
  const messages = await seen(running, "probe", count);
  return messages.filter(({ port }) => port === KERNEL_PORT).map(({ payload }) => payload);
}

test("settings are the third element of the start notice, of each instance", async () => {
  running = await startKernel();
  await loadProbe(running, "probe", recorder(), { spec: { settings } });
  running.kernel.begin();
  expect(await startNotices(1)).toEqual([encodeCbor([NOTICE.start, false, SETTINGS])]);
  running.kernel.restart("probe");
  expect((await startNotices(2))[1]).toEqual(encodeCbor([NOTICE.start, false, SETTINGS]));
});

test("other settings are a swap of the module for itself: the state is kept, and goes back with them", async () => {
  running = await startKernel();
  const options = { manifest: { state: 8 }, spec: { settings } };
  await loadProbe(running, "probe", KEEPER, options);
  running.kernel.begin();
  await startNotices(1);
  const spec: ModuleSpec = moduleSpec("probe", [REPORT], { settings: encodeCbor({ period: 9 }) });
  const fields = manifestFields("probe", { slots: { report: REPORT_SLOT }, state: 8 });
  await running.kernel.swap([{ name: "probe", admitted: await admit(KEEPER, fields, spec), spec }]);
  expect((await startNotices(2))[1]).toEqual(encodeCbor([NOTICE.start, true, { period: 9 }]));
  running.kernel.settle(["probe"], false);
  expect((await startNotices(3))[2]).toEqual(encodeCbor([NOTICE.start, true, SETTINGS]));
});

test.each([
  ["the limit", 65_536, LIMITS.settingsBytes, LIMITS.settingsBytes + 1],
  ["the inbox", 256, 256 - 64 - 3, 256 - 64 - 2],
])("settings beyond %s are refused before anything runs", async (_, inbox, fits, tooMany) => {
  running = await startKernel();
  // The head of a text takes two bytes up to 255 of them, then three.
  const text = (bytes: number): Uint8Array => encodeCbor("x".repeat(bytes - (bytes > 258 ? 3 : 2)));
  expect([text(fits).length, text(tooMany).length]).toEqual([fits, tooMany]);
  const wat = watModule("", ECHO, 2);
  const fields = manifestFields("probe", { inbox });
  const spec = moduleSpec("probe", [], { settings: text(tooMany) });
  await expect(admit(wat, fields, spec)).rejects.toMatchObject({
    code: "E_SIZE",
    detail: { expected: `at most ${fits} bytes` },
  });
  const good = moduleSpec("probe", [], { settings: text(fits) });
  const admitted = await admit(wat, fields, good);
  expect(() => running.kernel.load(spec, admitted)).toThrow("do not fit");
  expect(() => running.kernel.load(good, admitted)).not.toThrow();
});

test("a manifest says what settings a module takes, as bytes that the kernel hands on", async () => {
  running = await startKernel();
  const wat = watModule("", ECHO);
  const inspect = (changes: object) => inspectModule(moduleBinary(wat, { ...manifestFields("probe"), ...changes }));
  expect(inspect({}).manifest.settings).toBeNull();
  expect(inspect({ settings: Uint8Array.of(1, 2) }).manifest.settings).toEqual(Uint8Array.of(1, 2));
  expect(() => inspect({ settings: "text" })).toThrow("settings is not a byte string");
});
