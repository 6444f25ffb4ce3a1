/** A replay that would take hours ends at one Ctrl-C. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { encodeCapsule } from "../../gateway/wire/capsule.ts";
import { RECORDED } from "../../kernel/index.ts";
import { watModule } from "../support/modules.ts";
import { capsuleOf, failureOf, numbers, victim } from "./support.ts";

const LAUNCHER = fileURLToPath(new URL("../../tools/launch/bulkhead.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "bulkhead-stop-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** The threads of a process and of those that it has started, by name. */
function threadsOf(pid: number): string[] {
  const read = (path: string): string => {
    try {
      return readFileSync(path, "utf8").trim();
    } catch {
      return "";
    }
  };
  const tasks = `/proc/${pid}/task`;
  const ids = readdirSync(tasks);
  const children = ids.flatMap((id) => read(join(tasks, id, "children")).split(" ")).filter((child) => child !== "");
  return [...ids.map((id) => read(join(tasks, id, "comm"))), ...children.flatMap((child) => threadsOf(Number(child)))];
}

it("ends at a Ctrl-C in the middle of an activation, with a code and no stack trace", async () => {
  const spin = `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
    (if (i32.eqz (local.get $port)) (then (loop $forever (br $forever)))) (i64.const 0))`;
  const module = victim(watModule("", spin));
  const failure = await failureOf(module, numbers(1));
  expect(failure.cause).toBe("budget");
  // As if it had been given slice after slice.
  const slices = Array.from({ length: 10_000 }, () => [RECORDED.refuelled, 0x7fff_ffff]).flat();
  const words = Int32Array.from([...failure.events.words, ...slices]);
  const endless = capsuleOf(failure, { sliceFuel: 0x7fff_ffff, events: { ...failure.events, words } });
  const [capsule, wasm] = [join(folder, "endless.capsule"), join(folder, "victim.wasm")];
  writeFileSync(capsule, encodeCapsule(endless, undefined));
  writeFileSync(wasm, module.binary);
  const child = spawn(process.execPath, [LAUNCHER, "replay", capsule, "--wasm", wasm], {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const closed = new Promise((resolve) => child.on("close", (code, signal) => resolve({ code, signal })));
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (more: string) => {
      text += more;
    });
  const { pid = 0 } = child;
  try {
    while (child.exitCode === null && !threadsOf(pid).includes("replay")) await pause(20);
    // A terminal sends the signal to the whole foreground process group.
    process.kill(-pid, "SIGINT");
    expect(await closed).toEqual({ code: 1, signal: null });
  } finally {
    if (child.exitCode === null && child.signalCode === null) process.kill(-pid, "SIGKILL");
  }
  expect(text).toContain("E_ABORTED");
  expect(text).toContain("the replay was stopped");
  expect(text).not.toMatch(/^\s+at /m);
}, 60_000);
