/**
 * A process that swaps modules while steps of the swap fail: what `swap-faults.test.ts` starts, with `swap-faults.ts` preloaded
 * into each thread. Argument 1 is a list of cases; what became of each is printed as a line of JSON. With argument 2, the
 * folder of an earlier process that was killed, it goes on with that one's states and version.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ModuleStateStore } from "../../gateway/trust/module-states.ts";
import type { AdmittedModule, Grant, ModuleSpec } from "../../kernel/index.ts";
import { admitModule, KERNEL_PORT } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { ECHO, manifestFields, moduleBinary, moduleSpec, watModule } from "../support/modules.ts";
import {
  endpoint,
  endpointSlot,
  HANDLES,
  HANDLES_SLOT,
  loadModule,
  loadProbe,
  REPORT_IMPORT,
  reportsOf,
  TIMER,
} from "../support/probe.ts";
import type { SwapFault } from "../support/swap-faults.ts";

export interface SwapCase extends SwapFault {
  /** Partition of the new version; the old one is in `main`. */
  readonly to: string;
}

export interface SwapOutcome {
  readonly name: string;
  /** The first count that its process has seen. */
  readonly resumed: number;
  readonly isStruck: boolean;
  readonly outcome: string;
  /** Versions by `top`, and by the last answers. */
  readonly serving: string;
  readonly answering: number;
  readonly partition: string;
  /** What callers saw: answers that were no error but not the next one, and error codes. */
  readonly skipped: number;
  readonly errors: readonly number[];
  readonly before: string;
  readonly after: string;
}

/** Counts its calls in the state; its initialisation sets a timer, its restoration makes a handle, as its start does. */
function counter(version: number): string {
  return watModule(
    `(import "timer${version % 2}" "every" (func $every (param i32) (result i32)))
     (import "sink" "derive" (func $derive (param i32) (result i32)))`,
    `(func (export "_initialize") (drop (call $every (i32.const 1000000))))
     (func (export "bulkhead_save") (result i64) (i64.const 0x2000_0000_0004))
     (func (export "bulkhead_state") (param i32) (result i32) (i32.const 8192))
     (func (export "bulkhead_restore") (param i32 i32) (result i32) (drop (call $derive (i32.const 1))) (i32.const 0))
     (func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
       (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0))))
       (i32.store (i32.const 8192) (i32.add (i32.load (i32.const 8192)) (i32.const 1)))
       (i32.store (i32.const 8196) (i32.const ${version}))
       (i64.const ${(8192n << 32n) | 8n}))`,
  );
}

/** Calls the counter each millisecond, and reports result, count and version. */
const CALLER = watModule(
  `${REPORT_IMPORT}(import "timer" "every" (func $every (param i32) (result i32)))
   (import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`,
  `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
     (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (drop (call $every (i32.const 1))) (return (i64.const 0))))
     (i32.store (i32.const 9000) (call $call (i32.const 8192) (i32.const 4) (i32.const 9004) (i32.const 8) (i32.const 5000)))
     (drop (call $report (i32.const 9000) (i32.const 12)))
     (i64.const 0))`,
);

const TIMER_SLOT = { interface: "timer", rights: ["use"], port: "ticks" };
const GRANTS: Grant[] = [
  { ...TIMER, slot: "timer0" },
  { ...TIMER, slot: "timer1" },
  { ...endpoint("sink.in", { rights: ["send", "pass"] }), slot: "sink" },
  HANDLES,
];
const specIn = (partition: string): ModuleSpec =>
  moduleSpec("counter", GRANTS, {
    partition,
    checkpointMessages: 1,
    restart: { policy: "restart", intensity: 1000, windowMs: 1000, backoffMs: 1, maximumBackoffMs: 10 },
  });

async function admitted(version: number): Promise<AdmittedModule> {
  const ports = ["in", "ticks"].map((name) => ({ name, contract: null, fuel: 10_000, stack: 4096 }));
  const slots = { timer0: TIMER_SLOT, timer1: TIMER_SLOT, sink: endpointSlot(["send", "pass"]), handles: HANDLES_SLOT };
  const fields = manifestFields("counter", { version: `${version}.0.0`, state: 64, ports, slots });
  return await admitModule(moduleBinary(counter(version), fields), specIn("main"));
}

interface Answer {
  readonly result: number;
  readonly count: number;
  readonly version: number;
}

const [cases = "[]", folder = ""] = process.argv.slice(2);
const faultPath = process.env["SWAP_FAULT"] ?? "";
const versionPath = join(folder, "version");
const store = folder === "" ? undefined : new ModuleStateStore(join(folder, "states.sqlite"));

function answers(running: TestKernel): Answer[] {
  return reportsOf(running, "caller").map((bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return { result: view.getInt32(0, true), count: view.getInt32(4, true), version: view.getInt32(8, true) };
  });
}

async function start(version: number): Promise<TestKernel> {
  const kept = store?.load().states.get("counter");
  const onState = (module: string, state: Parameters<ModuleStateStore["keep"]>[1]): void => store?.keep(module, state);
  const running = await startKernel({ partitions: ["main", "other", "third"], ...(store && { onState }) });
  await loadModule(running, "sink", watModule("", ECHO), { spec: { partition: "third" } });
  running.kernel.load(specIn("main"), await admitted(version), kept);
  await loadProbe(running, "caller", CALLER, {
    manifest: { ports: ["in", "ticks"].map((name) => ({ name, contract: null, fuel: 10_000, stack: 4096 })) },
    grants: [endpoint("counter.in", { rights: ["call"] }), TIMER],
    slots: { out: endpointSlot(["call"]), timer: { ...TIMER_SLOT } },
    spec: { partition: "third", activationMs: 60_000 },
  });
  running.kernel.begin();
  return running;
}

const untilAnswers = async (running: TestKernel, more: number): Promise<Answer[]> => {
  const good = (): number => answers(running).filter(({ result }) => result === 8).length;
  const target = good() + more;
  return await running.until(() => (good() >= target ? answers(running) : undefined), "answers", 30_000);
};

/** Times that three answers more are waited for: the news of a swap's end may be on its way. */
const PATIENT_LOOKS = 5;

/** What the counter held at its last checkpoint outside a swap; in one, where it is still in one after many answers. */
async function held(running: TestKernel): Promise<string> {
  let last = "";
  for (let look = 0; look < PATIENT_LOOKS; look++) {
    await untilAnswers(running, 3);
    last =
      running.events.flatMap((event) => (event.type === "log" && event.level === 3 ? [event.text] : [])).at(-1) ?? "";
    if (last.includes('"isSwapped":false')) break;
  }
  return last;
}

async function swapTo(running: TestKernel, version: number, to: string): Promise<string> {
  try {
    await running.kernel.swap([{ name: "counter", admitted: await admitted(version), spec: specIn(to) }]);
  } catch (error) {
    return (error as { code: string }).code;
  }
  const before = running.events.length;
  running.kernel.settle(["counter"], true);
  await running.kernel.settled();
  return running.events.slice(before).some(({ type }) => type === "committed") ? "committed" : "reverted";
}

let version = existsSync(versionPath) ? Number(readFileSync(versionPath, "utf8")) : 1;
let running: TestKernel | undefined;
for (const { to, ...fault } of JSON.parse(cases) as SwapCase[]) {
  const name = `${to}: ${fault.role} ${fault.when} ${fault.step}: ${fault.kind}`;
  running ??= await start(version);
  await untilAnswers(running, 3);
  // The first swap lets the preloaded code know of the cell.
  const isAudited = fault.kind === "trap" || fault.kind === "refusal";
  if (isAudited && !running.events.some((event) => event.type === "log")) {
    if ((await swapTo(running, ++version, "main")) !== "committed") throw new Error("a swap without a fault failed");
  }
  const before = await held(running);
  const first = answers(running).length;
  const next = version + 1;
  rmSync(`${faultPath}.struck`, { force: true });
  writeFileSync(faultPath, JSON.stringify(fault));
  const outcome = await swapTo(running, next, to);
  if (outcome === "committed") version = next;
  if (folder !== "") writeFileSync(versionPath, String(version));
  const all = (await untilAnswers(running, 5)).slice(first);
  const after = await held(running);
  const good = all.filter(({ result }) => result === 8);
  const rows = (await running.kernel.top()).filter((row) => row.name === "counter");
  const told: SwapOutcome = {
    name,
    resumed: answers(running)[0]?.count ?? 0,
    isStruck: existsSync(`${faultPath}.struck`),
    outcome: outcome === "committed" ? `committed ${version}` : `${outcome} ${version}`,
    serving: rows.map((row) => row.version).join(", "),
    answering: good.at(-1)?.version ?? 0,
    partition: rows.map((row) => row.partition).join(", "),
    skipped: good.filter(({ count }, index) => index > 0 && count !== (good[index - 1]?.count ?? 0) + 1).length,
    errors: all.map(({ result }) => result).filter((result) => result !== 8),
    before,
    after,
  };
  process.stdout.write(`${JSON.stringify(told)}\n`);
  const isBack = rows[0]?.partition === "main";
  if (!isAudited || !isBack) {
    await running.stop();
    running = undefined;
  }
}
await running?.stop();
