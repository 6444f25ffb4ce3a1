/** docs/write-a-driver.md as an author follows it: the packed package in an empty folder, each command in its order. */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { connectAsync } from "mqtt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeCbor } from "../../kernel/index.ts";
import type { CborMap } from "../../kernel/index.ts";
import type { Broker } from "../../tools/demo/broker.ts";
import { startBroker } from "../../tools/demo/broker.ts";
import { authorFolder, freePort, packTarball, removeFolders, Running, shell } from "./packed.ts";

const page = readFileSync("docs/write-a-driver.md", "utf8");
const commands = [...page.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block]) => (block ?? "").trim().split("\n"));
const gatewayFile = /```yaml\n(# gateway\.yaml\n[\s\S]*?)```/.exec(page)?.[1] ?? "";
const CBOR_LIMITS = { maxBytes: 4096, maxDepth: 4, maxItems: 64, tags: [], deterministic: false };

let tarballs = "";
let folder = "";
let port = 0;
let next = 0;
let dev: Running | undefined;
let gateway: Running | undefined;
let broker: Broker | undefined;

beforeAll(async () => {
  port = await freePort();
  tarballs = packTarball();
  folder = authorFolder(tarballs);
}, 300_000);
afterAll(async () => {
  dev?.kill();
  gateway?.kill();
  await broker?.stop();
  removeFolders(tarballs, folder);
});

/** The page's next command, which begins so, with the broker's port replaced: 1883 may be somebody's. */
function take(beginning: string): string {
  const line = commands[next++] ?? "";
  expect(line.slice(0, beginning.length)).toBe(beginning);
  // Whatever the registry answers of the two packages is in npm's cache as a rule.
  return line
    .replace("npm install", "npm install --prefer-offline --no-audit --no-fund")
    .replaceAll(":1883", `:${port}`);
}

/** Runs it to its end. */
async function run(beginning: string): Promise<string> {
  const line = take(beginning);
  const { code, output } = await shell(folder, line);
  expect(code, `${line}\n${output}`).toBe(0);
  return output;
}

const file = (name: string) => join(folder, "air-sensor", name);

function edit(name: string, from: string, to: string): void {
  const text = readFileSync(file(name), "utf8");
  expect(text).toContain(from);
  writeFileSync(file(name), text.replace(from, to));
}

/** Sequence numbers of the readings in what `dev` printed, with their values. */
function readings(text: string): { sequence: number; value: number }[] {
  const lines = text.matchAll(/reading \{sensor: "air-sensor", sequence: (\d+), quantity: "value", value: ([\d.]+)/g);
  return [...lines].map(([, sequence, value]) => ({ sequence: Number(sequence), value: Number(value) }));
}

describe("docs/write-a-driver.md", () => {
  it("installs the package with the machine's own Node and npm", async () => {
    await run("npm install bulkhead");
    expect(existsSync(join(folder, "node_modules/.bin/bulkhead"))).toBe(true);
  }, 300_000);

  it("makes a driver, which builds and is small", async () => {
    await run("npx bulkhead new driver air-sensor");
    // The desk's broker, where the other tests of this machine do not look.
    edit("gateway.yaml", ":1883", `:${port}`);
    const table = [...page.matchAll(/^\| `([\w./-]+)` \| .*$/gm)].map(([, name]) => name ?? "");
    const named = table.filter((name) => /[./]/.test(name));
    expect(named).toHaveLength(9);
    for (const name of named) expect({ name, exists: existsSync(file(name)) }).toEqual({ name, exists: true });
    expect(statSync(join(folder, "build/modules/air-sensor.wasm")).size).toBeLessThan(12_000);
  }, 120_000);

  it("quotes driver and test as they are made", () => {
    const squeeze = (text: string) => text.replace(/\s+/g, "");
    for (const statement of [
      'tick.every(this.source.period).must("the timer");',
      "else this.send(<f64>this.data.u16be(0));",
    ]) {
      expect(page).toContain(statement);
      expect(squeeze(readFileSync(file("index.ts"), "utf8"))).toContain(squeeze(statement));
    }
    const test = squeeze(readFileSync(file("air-sensor.test.ts"), "utf8"));
    expect(test).toContain(squeeze('device: { "write-read": () => Uint8Array.of(0x01, 0x02) }'));
  });

  it("passes its test", async () => {
    expect(await run("npx bulkhead test")).toContain("1 passed");
    const { code, output } = await shell(folder, "npx bulkhead test air-sensor --json 2>/dev/null");
    expect(JSON.parse(output)).toMatchObject({ success: true, numTotalTests: 1, numFailedTests: 0 });
    expect(code).toBe(0);
  }, 120_000);

  it("runs, with messages by contract, on a broker and a gateway that dev brings", async () => {
    dev = new Running(folder, take("npx bulkhead dev"));
    await dev.until(/gateway started: desk; any MQTT client sees its messages at mqtt:\/\/127/);
    await dev.until(/air-sensor\.readings > uplink\.readings {2}reading \{sensor: "air-sensor", sequence: 1,/);
    expect(dev.output).toContain("the trust root is a development root");
    const outside = await connectAsync(`mqtt://127.0.0.1:${port}`, { clientId: "author" });
    const came = new Promise<Uint8Array>((resolve) => {
      outside.once("message", (_topic, payload) => {
        resolve(new Uint8Array(payload));
      });
    });
    await outside.subscribeAsync("site/7/readings/air-sensor");
    expect((decodeCbor(await came, CBOR_LIMITS) as CborMap).get("sensor")).toBe("air-sensor");
    await outside.endAsync();
  }, 120_000);

  it("takes an edit while it runs, with the driver's state", async () => {
    const running = dev as Running;
    const before = running.output.length;
    await run("sed -i");
    await running.until(/air-sensor: built in/, before);
    await running.until(/air-sensor: swapped in after [\d.]+ s, with its state/, before);
    await running.until(/value: 2\d\.\d/, before);
    await running.until(/activations of \d+ fuel \([\d.]+ % of its limit\), 64 KiB/, before);
    const all = readings(running.output);
    expect(all.map(({ sequence }) => sequence)).toEqual(all.map((_, index) => index));
    expect(all.at(0)?.value).toBeGreaterThan(200);
  }, 120_000);

  it("shows an edit that does not compile with its place, and goes on", async () => {
    const running = dev as Running;
    const before = running.output.length;
    edit("index.ts", "log.failure(", "log.failed(");
    await running.until(/Property 'failed' does not exist[\s\S]*air-sensor\/index\.ts:\d+:\d+[\s\S]*goes on/, before);
    const failed = running.output.length;
    await running.until(/reading \{/, failed);
    edit("index.ts", "log.failed(", "log.failure(");
    await running.until(/reading \{/, running.output.length);
  }, 120_000);

  it("shows a trap with its place and the message that caused it, and goes back", async () => {
    const running = dev as Running;
    const before = running.output.length;
    edit("index.ts", "this.data.u16be(0) / 10", "this.data.u16be(2) / 10");
    await running.until(/air-sensor: stopped \(trap\): .*no such byte \(2\)/, before);
    await running.until(/at function \d+ \(.*air-sensor\/index\.ts:24:\d+\)/, before);
    await running.until(/while it handled a message on tick: /, before);
    edit("index.ts", "this.data.u16be(2) / 10", "this.data.u16be(0) / 10");
    await running.until(/swapped in after/, running.output.length);
    await running.until(/reading \{/, running.output.length);
  }, 120_000);

  it("shows an update that the gateway refuses, and goes on", async () => {
    const running = dev as Running;
    const before = running.output.length;
    edit("module.yaml", "slots:\n", "slots:\n  extra: { interface: random }\n");
    await running.until(/not swapped in: E_CAP.*air-sensor\.extra is asked for but not granted/, before);
    await running.until(/reading \{/, running.output.length);
    edit("module.yaml", "  extra: { interface: random }\n", "");
  }, 120_000);

  it("turns what is simulated, live", async () => {
    const running = dev as Running;
    const turned = running.output.length;
    expect(await run("npx bulkhead sim set registers 0x00=315")).toMatch(/i2c-1\/0x48 +registers +0x00=315/);
    await running.until(/value: 31\.5/, turned);
    const broken = running.output.length;
    await run("npx bulkhead sim fault registers nack --for 2s");
    await running.until(/air-sensor: error: no measurement/, broken);
    await running.until(/value: 31\.5/, running.output.length);
    expect(await run("npx bulkhead sim")).toMatch(/0x00=315\n$/);
    const { code, output } = await shell(folder, "npx bulkhead sim set bme280 temperature=3");
    expect(code).toBe(1);
    expect(output).toContain("nothing simulated is called bme280");
  }, 120_000);

  it("ends with Ctrl-C, cleanly, and takes its gateway along", async () => {
    expect(await dev?.interrupt(), dev?.output).toBe(0);
    expect(existsSync(file(".bulkhead/data/control.sock"))).toBe(false);
    const { output } = await shell(folder, "npx bulkhead sim --gateway air-sensor/gateway.yaml");
    expect(output).toContain("no gateway runs");
  }, 60_000);

  it("shows what it asks for", async () => {
    await run("npx bulkhead build");
    expect(await run("npx bulkhead inspect")).toContain("device: i2c-device [read, write]; imports write-read");
  }, 120_000);

  it("is signed by keys in earnest", async () => {
    await run("mkdir");
    for (const role of ["root", "release", "deploy", "operator"]) await run(`npx bulkhead keygen --role ${role}`);
    await run("npx bulkhead root init");
    await run("npx bulkhead sign module build");
    await run("npx bulkhead sign module node_modules");
    await run("npx bulkhead verify");
  }, 120_000);

  it("comes to a gateway by an update, and an outside client sees its reading", async () => {
    broker = await startBroker(port);
    writeFileSync(join(folder, "gateway.yaml"), gatewayFile.replace(":1883", `:${port}`));
    const outside = await connectAsync(broker.url, { clientId: "outside" });
    const values: unknown[] = [];
    const seen = new Promise<undefined>((resolve) => {
      outside.on("message", (_topic, payload) => {
        values.push((decodeCbor(new Uint8Array(payload), CBOR_LIMITS) as CborMap).get("value"));
        resolve(undefined);
      });
    });
    await outside.subscribeAsync("site/7/readings/air-sensor");
    gateway = new Running(folder, take("npx bulkhead run"));
    await gateway.until(/gateway running: 1 of 2 modules/);
    expect(gateway.output).not.toContain("development");
    expect(await run("npx bulkhead push")).toMatch(/OK: committed/);
    await seen;
    expect(values[0]).toBe(21.5);
    await outside.endAsync();
  }, 180_000);

  it("is refused there when a development key signed it", async () => {
    const sign = commands.find((line) => line.startsWith("npx bulkhead sign module build")) ?? "";
    const again = sign.replace("--sequence 1", "--sequence 2").replace("air-sensor.envelope", "dev.envelope");
    const signed = await shell(folder, again.replace("keys/release.key", "air-sensor/.bulkhead/keys/release.key"));
    expect(signed.code, signed.output).toBe(0);
    const push = (commands.find((line) => line.startsWith("npx bulkhead push")) ?? "").replaceAll(":1883", `:${port}`);
    const { code, output } = await shell(folder, push.replace("air-sensor.envelope", "dev.envelope"));
    expect(code).toBe(1);
    expect(output).toContain("E_KEY");
  }, 120_000);

  it("has contracts, settings and calls of the author's own, as the page has them", async () => {
    for (const [, text = "", name = ""] of page.matchAll(/```cddl\n(; (\S+)\n[\s\S]*?)```/g)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
    await run("npx bulkhead gen");
    const [, ports = "", slots = ""] = /# module\.yaml\nports:\n([\s\S]*?)slots:\n([\s\S]*?)```/.exec(page) ?? [];
    edit("module.yaml", "ports:\n", `settings: settings.cddl\nports:\n${ports}`);
    edit("module.yaml", "slots:\n", `slots:\n${slots}`);
    const [, calls = ""] = /```ts\n(const answered[\s\S]*?)```/.exec(page) ?? [];
    edit(
      "index.ts",
      "import { clock",
      'import { settings } from "./generated/settings";\nimport { Valve, ValveReply } from "./generated/valve";\nimport { other, clock',
    );
    edit(
      "index.ts",
      "  start(restored: bool): void {\n",
      `  private command: Valve = new Valve();
  private said: ValveReply = new ValveReply();
  private writer: Writer = new Writer(64);
  private answer: Bytes = Bytes.allocate(64);

  private ask(): void {
    ${calls}
    if (answered.failed || asked.failed) log.warning("nobody answers");
    if (settings.hasOffset) log.information((settings.offset + <f64>settings.period + <f64>this.said.moved).toString());
  }

  start(restored: bool): void {
    this.ask();
`,
    );
    const { code, output } = await shell(folder, "npx bulkhead build air-sensor");
    expect(code, output).toBe(0);
    const inspected = await shell(folder, "npx bulkhead inspect build/modules/air-sensor.wasm");
    expect(inspected.output).toMatch(
      /other: endpoint \[call\]; imports (call, request|request, call); events to answers; sends valve/,
    );
  }, 120_000);

  it("leaves no command of the page out", async () => {
    expect(next).toBe(commands.length);
    expect(await gateway?.interrupt(), gateway?.output).toBe(0);
  }, 60_000);
});
