/** `npm run bench:peers`: what others would build a gateway on, beside Bulkhead in the same run; installed when it is run. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs, promisify } from "node:util";
import { connectAsync } from "mqtt";
import { freePort, startMosquitto } from "../../../tools/footprint/broker.ts";
import { coreKilobytes } from "../../../tools/footprint/footprint.ts";
import { coreGateway } from "../../../tools/footprint/gateways.ts";
import { descendants, proportionalSetKilobytes } from "../../../tools/footprint/processes.ts";
import { compiledProduct } from "../../../tools/footprint/product.ts";
import { watBinary } from "../../support/modules.ts";
import { NoiseMeter } from "../machine.ts";
import { Product } from "../product.ts";
import { callContestant, loadPairs } from "../rows/call.ts";
import type { BenchRow, Contestant } from "../statistics.ts";
import { cpuNanoseconds, durationRow, inTurns, wallNanoseconds } from "../statistics.ts";
import { header, line, machineText } from "../table.ts";

const HELP = `usage: npm run bench:peers [-- [--json]]

Installs the packages of tests/bench/peers/package.json into a temporary folder, one by one, and measures each beside
Bulkhead in turns. A peer that cannot be had here is named, and the others are measured.

  --json   one object: {machine, rows, missing: [{peer, reason}]}

Exit codes: 0 at least one peer was measured, 1 none, 2 a wrong command line.
`;

const run = promisify(execFile);
const INSTALL_MS = 300_000;
const ROUNDS = 20;
const CALLS = 50_000;
const PLUGIN_CALLS = 2000;
const TRIPS = 500;
const BYTES = 64;
const SETTLE_MS = 10_000;
const START_MS = 60_000;

/** Answers with its input, by the functions that Extism gives a plug-in; eight bytes at a time, as its own kits do. */
const ECHO_PLUGIN = `(module
  (import "extism:host/env" "input_length" (func $length (result i64)))
  (import "extism:host/env" "input_load_u64" (func $load (param i64) (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (memory (export "memory") 1)
  (func (export "handle") (result i32) (local $n i64) (local $at i64) (local $i i64)
    (local.set $at (call $alloc (local.tee $n (call $length))))
    (loop $again
      (call $store (i64.add (local.get $at) (local.get $i)) (call $load (local.get $i)))
      (br_if $again (i64.lt_u (local.tee $i (i64.add (local.get $i) (i64.const 8))) (local.get $n))))
    (call $output (local.get $at) (local.get $n))
    (i32.const 0)))`;

/** What is used of Extism's API. */
interface Extism {
  readonly createPlugin: (
    manifest: { readonly wasm: readonly { readonly data: Uint8Array }[] },
    options: { readonly useWasi: boolean },
  ) => Promise<{
    call(name: string, input: Uint8Array): Promise<{ readonly byteLength: number } | null>;
    reset(): Promise<boolean>;
    close(): Promise<void>;
  }>;
}

/** Installs one package as it is pinned. @returns the folder; @throws where the registry does not give it. */
async function install(home: string, name: string): Promise<string> {
  const text = await readFile(new URL("package.json", import.meta.url), "utf8");
  // SAFETY: our own file.
  const { dependencies } = JSON.parse(text) as { dependencies: Record<string, string> };
  const folder = join(home, name.replaceAll(/\W/g, "-"));
  await mkdir(folder);
  await writeFile(join(folder, "package.json"), '{"private":true}');
  const wanted = `${name}@${dependencies[name] ?? ""}`;
  await run("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", wanted], {
    cwd: folder,
    timeout: INSTALL_MS,
  });
  return folder;
}

/** A call of 64 bytes each way: the product's own first, then the peer's, taken in turns. */
async function besideCalls(
  name: string,
  peer: string,
  clock: "cpu" | "wall",
  contestant: Contestant,
): Promise<BenchRow> {
  const product = await Product.start();
  const own = callContestant("Bulkhead", product, await loadPairs(product, 1), CALLS);
  const samples = await inTurns([own, contestant], ROUNDS);
  await product.stop();
  const frame = { name, unit: "ns", clock, note: "value: Bulkhead, processor time of a call between modules" } as const;
  return durationRow(frame, ["", peer], samples);
}

async function extism(home: string): Promise<BenchRow> {
  const folder = await install(home, "@extism/extism");
  const { createPlugin } = createRequire(join(folder, "package.json"))("@extism/extism") as Extism;
  const plugin = await createPlugin({ wasm: [{ data: watBinary(ECHO_PLUGIN) }] }, { useWasi: false });
  const input = new Uint8Array(BYTES).fill(7);
  const sample = async () => {
    // Its blocks of memory are numbered on until it is reset, and 32,768 are the end.
    await plugin.reset();
    return await cpuNanoseconds(PLUGIN_CALLS, async () => {
      for (let call = 0; call < PLUGIN_CALLS; call++) {
        const reply = await plugin.call("handle", input);
        if (reply?.byteLength !== BYTES) throw new Error("the plug-in did not answer with what it got");
      }
    });
  };
  const row = await besideCalls("peer.extism.call.64B", "Extism JS SDK, a plug-in call", "cpu", {
    name: "extism",
    sample,
  });
  await plugin.close();
  return row;
}

/** Two clients that speak over Mosquitto: a bus between processes, as many gateways have it. */
async function mosquitto(): Promise<BenchRow> {
  const broker = await startMosquitto();
  if (broker === undefined) throw new Error("no Mosquitto is installed (Debian package mosquitto)");
  const [asking, answering] = [await connectAsync(broker.url), await connectAsync(broker.url)];
  await answering.subscribeAsync("ask");
  await asking.subscribeAsync("answer");
  answering.on("message", (_, payload) => void answering.publish("answer", payload));
  const payload = Buffer.alloc(BYTES, 7);
  const sample = () =>
    wallNanoseconds(TRIPS, async () => {
      for (let trip = 0; trip < TRIPS; trip++) {
        const answered = new Promise((resolve) => asking.once("message", resolve));
        asking.publish("ask", payload);
        await answered;
      }
    });
  const row = await besideCalls("peer.mosquitto.call.64B", "Mosquitto, there and back, QoS 0, wall time", "wall", {
    name: "mosquitto",
    sample,
  });
  await Promise.all([asking.endAsync(), answering.endAsync()]);
  await broker.stop();
  return row;
}

/** PSS in kB of a server at rest, its child processes included. @param isUp looks at what it printed. */
async function idleKilobytes(args: readonly string[], cwd: string, port: number, env: Record<string, string>) {
  // A runtime of its own, as Bulkhead's: pages that are shared with this process would be counted half.
  const { node, remove } = await compiledProduct();
  const child = spawn(node, args, { cwd, stdio: "ignore", env: { ...process.env, ...env } });
  try {
    const since = performance.now();
    while (
      !(await fetch(`http://127.0.0.1:${port}/`).then(
        () => true,
        () => false,
      ))
    ) {
      if (child.exitCode !== null) throw new Error(`it ended with exit code ${child.exitCode}`);
      if (performance.now() - since > START_MS) throw new Error(`it does not answer within ${START_MS / 1000} s`);
      await pause(200);
    }
    await pause(SETTLE_MS);
    const ids = [child.pid ?? 0, ...descendants(child.pid ?? 0)];
    return ids.reduce((sum, id) => sum + proportionalSetKilobytes(id), 0);
  } finally {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    await remove();
  }
}

async function besideMemory(name: string, peer: string, kilobytes: number): Promise<BenchRow> {
  const product = await compiledProduct();
  const { folder, configuration } = await coreGateway();
  const own = await coreKilobytes(product, configuration, SETTLE_MS);
  await product.remove();
  await rm(folder, { recursive: true, force: true });
  const note = "value: Bulkhead's core with 20 modules; PSS at rest";
  return durationRow({ name, unit: "kB", clock: "wall", note }, ["", peer], [[own], [kilobytes]]);
}

async function nodeRed(home: string): Promise<BenchRow> {
  const folder = await install(home, "node-red");
  const port = await freePort();
  const args = [join(folder, "node_modules/node-red/red.js"), "--userDir", join(folder, "user"), "--port", `${port}`];
  const size = await idleKilobytes(args, folder, port, {});
  return await besideMemory("peer.node-red.idle", "Node-RED without a flow", size);
}

async function signalK(home: string): Promise<BenchRow> {
  const folder = await install(home, "signalk-server");
  const port = await freePort();
  const args = [join(folder, "node_modules/signalk-server/bin/signalk-server"), "-c", join(folder, "configuration")];
  const size = await idleKilobytes(args, folder, port, { PORT: `${port}` });
  return await besideMemory("peer.signalk.idle", "Signal K server without a source", size);
}

const PEERS: Readonly<Record<string, (home: string) => Promise<BenchRow>>> = {
  "Extism JS SDK": extism,
  "Mosquitto as a bus": mosquitto,
  "Node-RED": nodeRed,
  "Signal K server": signalK,
};

/** What npm says without its warnings, in one line. */
function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const lines = text.split("\n").filter((part) => part !== "" && !part.startsWith("npm warn"));
  return lines.find((part) => part.includes("notarget") || part.includes("E404")) ?? lines[0] ?? "";
}

async function bench(isJson: boolean): Promise<number> {
  const home = await mkdtemp(join(tmpdir(), "bulkhead-peers-"));
  const noise = new NoiseMeter();
  const rows: BenchRow[] = [];
  const missing: { peer: string; reason: string }[] = [];
  if (!isJson) process.stdout.write(header());
  for (const [peer, measure] of Object.entries(PEERS)) {
    try {
      const row = await measure(home);
      rows.push(row);
      if (!isJson) process.stdout.write(line(row));
    } catch (error) {
      missing.push({ peer, reason: reasonOf(error) });
      process.stderr.write(`bench:peers: ${peer} could not be measured here: ${reasonOf(error)}\n`);
    }
  }
  await rm(home, { recursive: true, force: true });
  const machine = noise.end();
  process.stdout.write(isJson ? `${JSON.stringify({ machine, rows, missing })}\n` : `\n${machineText(machine)}`);
  return rows.length > 0 ? 0 : 1;
}

async function main(): Promise<number> {
  try {
    const { values } = parseArgs({ options: { json: { type: "boolean" }, help: { type: "boolean" } } });
    if (values.help !== true) return await bench(values.json === true);
    process.stdout.write(HELP);
    return 0;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    process.stderr.write(`bench:peers: ${error.message}\n${HELP}`);
    return 2;
  }
}

process.exitCode = await main();
// A peer may have left a thread or a timer behind.
process.exit();
