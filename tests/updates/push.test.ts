/** `bulkhead push` and `bulkhead status` against a real broker and a real update agent. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectAsync } from "mqtt";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { decodeEvent, unverifiedReport } from "../../gateway/wire/update-report.ts";
import { topics } from "../../gateway/wire/update-topics.ts";
import { Refusal } from "../../kernel/index.ts";
import { writePrivateKey } from "../../tools/keys/key-file.ts";
import { push, pushUpdate, readRelease, status } from "../../tools/push/index.ts";
import { progressWriter } from "../../tools/push/push-command.ts";
import { printer } from "../../tools/printing.ts";
import type { PushOptions, PushProgress } from "../../tools/push/index.ts";
import { key } from "../trust/fixture.ts";
import { Bench, deliveredAs, deploy, GATEWAY, makeModule } from "./bench.ts";
import type { BenchOptions, Made } from "./bench.ts";
import { MqttTransport, startAedes } from "./mqtt.ts";
import type { TestBroker } from "./mqtt.ts";
import { runVerb } from "../support/verb.ts";

const uplink = makeModule("uplink", 1);
const oldThreshold = makeModule("threshold", 1);
const newThreshold = makeModule("threshold", 2, { size: 100_000 });

let broker: TestBroker;
let transport: MqttTransport;
let gateway: Bench;
let folder = "";

async function startGateway(options: BenchOptions = {}): Promise<void> {
  transport = await MqttTransport.connect(broker.url);
  gateway = new Bench({ delivered: [deliveredAs(uplink), deliveredAs(oldThreshold)], transport, ...options });
  transport.onMessage = (topic, payload) => {
    gateway.agent.message(topic, payload);
  };
}

function pushOf(module: Made, changes: Partial<PushOptions> = {}): PushOptions {
  return {
    broker: { url: broker.url },
    gatewayId: GATEWAY,
    gatewayKey: gateway.key.publicKey,
    modules: [readRelease(module.whole)],
    deployKey: deploy,
    timeoutMs: 10_000,
    ...changes,
  };
}

/** Runs a verb as the command line does. */
async function run(verb: typeof push, args: string[]): Promise<{ exit: number; stdout: string; stderr: string }> {
  const { code, out, errors } = await runVerb(verb, args);
  return { exit: code, stdout: out, stderr: errors };
}

async function retained(topic: string): Promise<Uint8Array | undefined> {
  const client = await connectAsync(broker.url);
  const found = Promise.withResolvers<Uint8Array | undefined>();
  client.on("message", (_topic, payload) => {
    found.resolve(payload);
  });
  await client.subscribeAsync(topic);
  setTimeout(() => {
    found.resolve(undefined);
  }, 150);
  const payload = await found.promise;
  await client.endAsync();
  return payload;
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-push-"));
  broker = await startAedes();
  await startGateway();
});

afterEach(async () => {
  await gateway.close();
  await transport.client.endAsync();
  await broker.close();
  rmSync(folder, { recursive: true, force: true });
});

describe("a push", () => {
  it("ends with the gateway's own OK, after every block and every state", async () => {
    const progress: PushProgress[] = [];
    const result = await pushUpdate(pushOf(newThreshold), (step) => progress.push(step));
    expect(result).toMatchObject({ code: "OK", state: "committed", pauseMs: 0.25, forged: 0 });
    expect(gateway.runtime.running.get("threshold")).toBe(newThreshold.digest);
    const blocks = progress.flatMap((step) => (step.kind === "block" ? [[step.done, step.of]] : []));
    expect(blocks).toEqual([1, 2, 3, 4].map((done) => [done, 4]));
    const states = progress.flatMap((step) => (step.kind === "state" ? [step.state] : []));
    expect([...new Set(states)]).toEqual([
      "plan-verified",
      "manifest-verified",
      "policy-ok",
      "fetching",
      "digest-ok",
      "staged",
      "probation",
      "committed",
    ]);
  });

  it("clears the blocks once the gateway has committed, unless it is told to keep them", async () => {
    await pushUpdate(pushOf(newThreshold));
    expect(await retained(topics.block(newThreshold.blob, 0))).toBeUndefined();
    const third = makeModule("threshold", 3);
    await pushUpdate(pushOf(third, { keepBlocks: true }));
    expect(await retained(topics.block(third.blob, 0))).toEqual(Buffer.from(third.wasm));
  });

  it("ends with the gateway's own refusal and its reason", async () => {
    gateway.runtime.refusals = [new Refusal("E_CAP", "slot north is not granted", { hint: "add it to gateway.yaml" })];
    const result = await pushUpdate(pushOf(newThreshold));
    expect(result).toMatchObject({ code: "E_CAP", state: "rejected" });
    expect(result.reason).toContain("add it to gateway.yaml");
  });

  it("tells the reason of a rollback", async () => {
    gateway.runtime.probationFailure = new Refusal("E_PROBATION", "module threshold trapped: unreachable");
    const result = await pushUpdate(pushOf(newThreshold));
    expect(result).toMatchObject({ code: "E_PROBATION", state: "rolled-back" });
    expect(result.reason).toContain("unreachable");
    expect(gateway.runtime.running.get("threshold")).toBe(oldThreshold.digest);
  });

  it("ends with the result in the gateway's report where the connection lost its last event", async () => {
    const publish = transport.publish.bind(transport);
    transport.publish = (topic, payload, options) => {
      const isLast = topic.endsWith("/event") && decodeEvent(unverifiedReport(payload)).code !== undefined;
      if (!isLast) publish(topic, payload, options);
    };
    expect(await pushUpdate(pushOf(newThreshold))).toMatchObject({ code: "OK", state: "committed" });
    gateway.runtime.probationFailure = new Refusal("E_PROBATION", "module threshold trapped: unreachable");
    const third = pushOf(makeModule("threshold", 3));
    const result = await pushUpdate({ ...third, planVersion: Math.floor(Date.now() / 1000) + 60 });
    expect(result).toMatchObject({ code: "E_PROBATION", state: "rolled-back" });
    expect(result.reason).toContain("unreachable");
  });

  it("says that time is up, and the gateway takes the plan when it is back", async () => {
    await gateway.agent.stop();
    const result = await pushUpdate(pushOf(newThreshold, { timeoutMs: 300 }));
    expect(result).toMatchObject({ code: "E_TIMEOUT", state: "idle" });
    expect(result.reason).toContain("the plan stays at the broker");
    await transport.client.endAsync();
    await startGateway({ folder: gateway.folder });
    while (gateway.runtime.running.get("threshold") !== newThreshold.digest) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });

  it("believes no reports but those of the gateway's key", async () => {
    const stranger = key("deploy", 9);
    await expect(
      pushUpdate(pushOf(newThreshold, { gatewayKey: stranger.publicKey, timeoutMs: 300 })),
    ).rejects.toMatchObject({
      code: "E_TIMEOUT",
    });
  });

  it("says which broker does not answer", async () => {
    await expect(pushUpdate(pushOf(newThreshold, { broker: { url: "mqtt://127.0.0.1:1" } }))).rejects.toMatchObject({
      code: "E_TIMEOUT",
    });
  });
});

describe("the verbs", () => {
  async function arguments_(): Promise<string[]> {
    const envelope = join(folder, "threshold.envelope");
    writeFileSync(envelope, newThreshold.whole);
    await writePrivateKey(join(folder, "deploy.key"), deploy, undefined);
    const pub = join(gateway.folder, "gateway.pub");
    const common = ["--gateway", GATEWAY, "--gateway-key", pub, "--broker", broker.url];
    return [envelope, "--deploy-key", join(folder, "deploy.key"), "--timeout", "10s", ...common];
  }

  it("push exits with 0 only where the gateway committed", async () => {
    const good = await run(push, await arguments_());
    expect(good).toMatchObject({ exit: 0, stdout: expect.stringContaining("OK: committed") as string });
    expect(good.stderr).toContain("probation");
  });

  it("push exits with 1 and the gateway's code in its last line where it did not", async () => {
    gateway.runtime.refusals = [new Refusal("E_CAP", "slot north is not granted")];
    const bad = await run(push, await arguments_());
    expect(bad.exit).toBe(1);
    expect(bad.stderr.trimEnd().split("\n").at(-1)).toMatch(/^bulkhead push: E_CAP: .*slot north is not granted/);
  });

  it("push prints one JSON object", async () => {
    const { stdout } = await run(push, [...(await arguments_()), "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, code: "OK", state: "committed" });
  });

  it("push says what is missing, with exit code 2", async () => {
    const { exit, stderr } = await run(push, ["--broker", broker.url]);
    expect(exit).toBe(2);
    expect(stderr).toContain("name one envelope or more");
  });

  it("status shows what a gateway runs and how its last update ended", async () => {
    await pushUpdate(pushOf(newThreshold));
    const pub = join(gateway.folder, "gateway.pub");
    const { exit, stdout } = await run(status, [
      "--broker",
      broker.url,
      "--gateway-key",
      pub,
      "--wait",
      "200ms",
      "--json",
    ]);
    expect(exit).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      gateways: [
        {
          gateway: GATEWAY,
          online: "online",
          verified: true,
          modules: { threshold: { sequence: 2 } },
          last: { code: "OK" },
        },
      ],
    });
  });

  it("status shows what a broker says, and neither obeys it nor takes it for lines of its own", async () => {
    const client = await connectAsync(broker.url);
    const payload = "\u001b[2J\u009b\ngw-2: on";
    await client.publishAsync(topics.gateway("gw-\u009b1", "online"), payload, { retain: true, qos: 1 });
    await client.endAsync();
    const parameters = ["--broker", broker.url, "--gateway", "gw-\u009b1", "--wait", "200ms"];
    const { exit, stdout } = await run(status, parameters);
    expect(exit).toBe(0);
    expect(stdout).toMatch(/^gw-\\u009b1: \\u001b\[2J\\u009b\\u000agw-2: ?o?n?; report not verified[^\n]*\n$/);
  });

  it("progress shows what a gateway says, on its own line and in no colour of its choosing", () => {
    let told = "";
    const write = (text: string): void => void (told += text);
    const io = { ...printer(write, write), isTerminal: true, signal: new AbortController().signal };
    const progress = progressWriter(io);
    progress({ kind: "block", module: "threshold", done: 1, of: 2 });
    progress({ kind: "presence", presence: "on\u001b[32m\r\ncommitted" });
    expect(told).toBe(
      "[############            ]  50 % published threshold\r\u001b[Kthe gateway is on\\u001b[32m\\u000d\\u000acommitted\n",
    );
  });
});
