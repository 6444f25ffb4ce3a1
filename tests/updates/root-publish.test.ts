/** `bulkhead root publish`: what it refuses before anything is published, what a broker may do to it, and a gateway that takes its root. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { RootDocument } from "../../gateway/envelopes/index.ts";
import { sha256Hex } from "../../gateway/wire/digest.ts";
import { topics } from "../../gateway/wire/update-topics.ts";
import type { SigningKey } from "../../tools/keys/index.ts";
import { commands, signRoot } from "../../tools/keys/index.ts";
import { BrokerSession } from "../../tools/push/broker.ts";
import { watchGateway } from "../../tools/push/push.ts";
import { GatewayWatch } from "../../tools/push/watch.ts";
import { Field, FIELD_GATEWAY, fieldRoot, worker } from "../security/updates/field.ts";
import { patiently } from "../support/patience.ts";
import { key, moduleWithWasm, planBytes, publicKeys, rootDocument, rootKeys } from "../trust/fixture.ts";
import { findBroker, startGuardedMosquitto, startMosquitto } from "./brokers.ts";
import type { TestBroker } from "./mqtt.ts";
import { startAedes } from "./mqtt.ts";
import { runVerb } from "../support/verb.ts";

const mosquitto = findBroker("mosquitto");
if (mosquitto === undefined)
  console.warn("SKIPPED: mosquitto is not installed, so access lists were not tried (apt-get install mosquitto)");

const others = [key("root", 11), key("root", 12)];

function root(version: number, changes: Partial<RootDocument> = {}, signers: readonly SigningKey[] = rootKeys) {
  return signRoot(rootDocument({ version, ...changes }), signers);
}

let folder = "";
const ends: (() => Promise<unknown>)[] = [];
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-roots-"));
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Writes it to a file, and gives the file's path. */
function file(name: string, bytes: Uint8Array): string {
  writeFileSync(join(folder, name), bytes);
  return join(folder, name);
}

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly json: Readonly<Record<string, unknown>>;
}

async function publish(url: string, args: readonly string[], signal = new AbortController().signal): Promise<Outcome> {
  const command = commands.find(({ name }) => name === "root");
  if (command === undefined) throw new Error("there is no verb root");
  const words = ["publish", ...args, "--broker", url, "--wait", "200ms"];
  const { code, out, errors: err } = await runVerb(command, words, signal);
  return { code, out, err, json: args.includes("--json") ? (JSON.parse(out) as Record<string, unknown>) : {} };
}

async function broker(start: () => Promise<TestBroker> = () => startAedes()): Promise<TestBroker> {
  const started = await start();
  ends.push(() => started.close());
  return started;
}

async function session(url: string): Promise<BrokerSession> {
  const opened = await BrokerSession.connect({ url });
  ends.push(() => opened.close());
  return opened;
}

/** What is retained for these versions, as digests. */
async function retained(url: string, ...versions: number[]): Promise<Record<number, string>> {
  const reader = await session(url);
  const found: Record<number, string> = {};
  for (const version of versions) {
    await reader.subscribe(topics.root(version), (payload) => {
      found[version] = sha256Hex(payload);
    });
  }
  await new Promise((resolve) => setTimeout(resolve, 200));
  return found;
}

describe("root publish", () => {
  it("retains every root named at its version's topic, in whatever order they are named", async () => {
    const { url } = await broker();
    const [second, third] = [root(2), root(3)];
    const named = [file("c", third), file("b", second), "--from", file("a", root(1))];
    const { code, out, err } = await publish(url, named);
    expect(err).toMatch(/^root version 2 published \([0-9a-f]{16}\)\nroot version 3 published \([0-9a-f]{16}\)\n$/);
    expect(out).toMatch(/^OK: root versions 2 to 3 are retained at the broker; version 3 expires 20\S+Z\n$/);
    expect(code).toBe(0);
    expect(await retained(url, 1, 2, 3)).toEqual({ 2: sha256Hex(second), 3: sha256Hex(third) });
  });

  it("leaves what is retained there already as it is, and says so as JSON", async () => {
    const { url } = await broker();
    const [second, third] = [file("b", root(2)), file("c", root(3))];
    expect((await publish(url, [second])).code).toBe(0);
    const { code, err, json } = await publish(url, [second, third, "--json"]);
    expect(err).toBe("");
    expect(json).toMatchObject({
      ok: true,
      from: null,
      missing: [],
      roots: [
        { version: 2, digest: sha256Hex(root(2)), outcome: "unchanged" },
        { version: 3, digest: sha256Hex(root(3)), outcome: "published" },
      ],
    });
    expect(code).toBe(0);
  });

  it("says what it could not check, and which version a gateway would miss", async () => {
    const { url } = await broker();
    const { code, out } = await publish(url, [file("c", root(3))]);
    expect(out).toContain("not checked: signatures by the keys of version 2; give that root as --from");
    expect(out).toContain("version 2 is not at the broker: a gateway without it takes none of these");
    expect(code).toBe(0);
    const again = await publish(url, [file("c", root(3)), file("b", root(2)), "--from", file("a", root(1))]);
    expect(again.out.split("\n")).toHaveLength(2);
  });

  it.each<readonly [string, string, () => readonly string[]]>([
    ["a plan", "E_CBOR", () => [file("plan", planBytes)]],
    ["a module with its wasm", "E_CBOR", () => [file("module", moduleWithWasm)]],
    ["a file that is no document", "E_CBOR", () => [file("text", Buffer.from("root"))]],
    ["a root whose last byte was changed", "E_DIGEST", () => [file("bad", flipped(root(2), -1))]],
    ["a root whose signature was changed", "E_SIG", () => [file("bad", brokenSignature(root(2)))]],
    ["a root that one key too few signed", "E_THRESHOLD", () => [file("few", root(2, {}, rootKeys.slice(0, 1)))]],
    ["a root that nobody signed", "E_THRESHOLD", () => [file("bare", root(2, {}, []))]],
    ["a root that skips a version", "E_ROOT_GAP", () => [file("b", root(2)), file("d", root(4))]],
    ["a root that does not follow --from", "E_ROOT_GAP", () => [file("c", root(3)), "--from", file("a", root(1))]],
    ["the root that --from is", "E_ROLLBACK", () => [file("b", root(2)), "--from", file("b2", root(2))]],
    ["one version twice", "E_ROLLBACK", () => [file("b", root(2)), file("b2", root(2, { expires: 2e9 }))]],
    ["a root that the old keys did not sign", "E_THRESHOLD", () => [file("b", stolen()), "--from", file("a", root(1))]],
    ["a good root before one that they did not", "E_THRESHOLD", () => [file("a", root(1)), file("b", stolen())]],
    [
      "a --from without its signatures",
      "E_THRESHOLD",
      () => [file("b", root(2)), "--from", file("x", root(1, {}, []))],
    ],
  ])("refuses %s with %s, and publishes nothing", async (_, code, args) => {
    const { url } = await broker();
    const paths = args();
    const outcome = await publish(url, [...paths, "--json"]);
    expect(outcome.json).toMatchObject({ ok: false, code });
    expect(paths.some((path) => outcome.err.includes(`${code}: ${path}: `))).toBe(true);
    expect(outcome.code).toBe(1);
    expect(await retained(url, 1, 2, 3, 4)).toEqual({});
  });

  it("refuses to take another root's place, whole or not, unless told to", async () => {
    const { url } = await broker();
    const theirs = await session(url);
    await theirs.retain(topics.root(3), Buffer.from("whatever stands here"));
    const args = [file("b", root(2)), file("c", root(3))];
    const refused = await publish(url, args);
    expect(refused.err).toContain("E_ROLLBACK: another root version 3 is retained at the broker");
    expect(refused.err).toContain("nothing was published; look at who may publish there, and give --replace");
    expect(refused.code).toBe(1);
    expect(await retained(url, 2)).toEqual({});
    const replaced = await publish(url, [...args, "--replace", "--json"]);
    expect(replaced.json).toMatchObject({ roots: [{ outcome: "published" }, { outcome: "replaced" }] });
    expect(await retained(url, 3)).toEqual({ 3: sha256Hex(root(3)) });
  });

  it("says that there is no broker", async () => {
    const gone = await startAedes();
    await gone.close();
    const { url } = gone;
    const { code, err } = await publish(url, [file("b", root(2))]);
    expect(err).toContain(`E_TIMEOUT: the broker at ${url} does not take the connection`);
    expect(code).toBe(1);
  });

  it.each([
    [[], "name one root envelope or more"],
    [["x", "--timeout", "soon"], "--timeout takes a time"],
    [["x", "--timeout", "600h"], "--timeout takes at most 24h"],
    [["x", "--wait", "-1"], "--wait"],
  ])("says what is wrong with %j, exit code 2", async (args, message) => {
    const { code, err } = await publish("mqtt://127.0.0.1:1", args);
    expect(err).toContain(message);
    expect(code).toBe(2);
    expect((await publish("http://127.0.0.1:1", ["x"])).code).toBe(2);
  });

  it("gives a broker up that acknowledges nothing, and is stopped at once", async () => {
    const { url } = await broker(startSilent);
    const args = [file("b", root(2)), "--timeout", "100ms"];
    const { code, err } = await publish(url, args);
    expect(err).toContain("E_TIMEOUT: the broker did not acknowledge everything in 0.1 s");
    expect(code).toBe(1);
    const stop = new AbortController();
    setTimeout(() => {
      stop.abort();
    }, 300);
    const stopped = await publish(url, [file("b", root(2)), "--timeout", "1h"], stop.signal);
    expect(stopped.err).toContain("E_ABORTED: stopped; run it again to publish the rest");
    expect(stopped.code).toBe(1);
  });

  it("does not believe a broker that gives other bytes back", async () => {
    const { url } = await broker(startAltering);
    const { code, err } = await publish(url, [file("b", root(2))]);
    expect(err).toContain("E_DIGEST: the broker gives another root version 2 back than was published");
    expect(code).toBe(1);
  });
});

describe.skipIf(mosquitto === undefined)("root publish at Mosquitto", () => {
  const silent = (): Promise<TestBroker> => {
    const lines = (at: string): string[] => {
      writeFileSync(join(at, "acl"), "topic read #\n", { mode: 0o644 });
      // Without a queue it would end the connection after its acknowledgement.
      return ["max_queued_messages 10", "allow_anonymous true", `acl_file ${join(at, "acl")}`, "user root"];
    };
    return startMosquitto(mosquitto ?? "", lines);
  };

  it("is not deceived by the acknowledgement of what an access list threw away", async () => {
    const { url } = await broker(silent);
    const { code, err } = await publish(url, [file("b", root(2))]);
    expect(err).toContain("E_TIMEOUT: the broker does not give root version 2 back");
    expect(err).toContain("let this client write and read bulkhead/v1/root/+");
    expect(code).toBe(1);
  });

  it("repeats the refusal of a broker with MQTT 5", async () => {
    const { url } = await broker(silent);
    const { code, err } = await publish(url, [file("b", root(2)), "--mqtt5"]);
    expect(err).toContain("E_CONFIG: the broker does not take a message for bulkhead/v1/root/2");
    expect(err).toContain("Not authorized");
    expect(code).toBe(1);
  });

  it("is for the root's publisher alone under the access list that we ship", async () => {
    const guarded = await startGuardedMosquitto(mosquitto ?? "", ["root-publisher", "deployer"]);
    ends.push(() => guarded.close());
    const as = (name: string): string[] => {
      const [ca, cert, private_] = ["ca.crt", `${name}.crt`, `${name}.key`].map((each) => join(guarded.folder, each));
      return ["--ca", ca ?? "", "--cert", cert ?? "", "--cert-key", private_ ?? ""];
    };
    const args = [file("b", root(2)), "--from", file("a", root(1))];
    const refused = await publish(guarded.url, [...args, ...as("deployer")]);
    expect(refused.err).toMatch(/E_TIMEOUT: the (connection to the broker ended|broker does not give)/);
    expect(refused.code).toBe(1);
    const { code, err } = await publish(guarded.url, [...args, ...as("root-publisher")]);
    expect(err).toContain("root version 2 published");
    expect(code).toBe(0);
  });
});

describe("a gateway at a broker", () => {
  it("takes the roots that root publish leaves there, one after the other, and plans by the new key", {
    timeout: patiently(120_000),
  }, async () => {
    const field = await Field.start();
    ends.push(() => field.close());
    const { url } = field.broker;
    const watch = new GatewayWatch(FIELD_GATEWAY, await field.publicKey);
    await watchGateway(await session(url), watch);
    const fresh = key("deploy", 2);
    const roles = { ...rootDocument().roles, deploy: { threshold: 1, keys: publicKeys(fresh) } };
    const [second, third] = [fieldRoot({ version: 2 }), fieldRoot({ version: 3, roles })];
    const from = ["--from", file("field-1", fieldRoot())];
    const published = await publish(url, [file("field-3", third), file("field-2", second), ...from]);
    expect(published.code).toBe(0);
    await field.until("root version 3", () => (watch.reported?.rootVersion === 3 ? true : undefined));
    const made = worker(2);
    expect(await field.install(made, { rootVersion: 3 })).toMatchObject({ code: "E_KEY" });
    expect(await field.install(made, { rootVersion: 3 }, [fresh])).toMatchObject({ code: "OK" });
  });
});

/** With one bit of one byte changed; `at` counts from the end where it is negative. */
function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice();
  const index = at < 0 ? copy.length + at : at;
  copy[index] = (copy[index] ?? 0) ^ 1;
  return copy;
}

/** The first signature's last byte: a COSE_Sign1 ends with `58 40` and 64 bytes. */
function brokenSignature(bytes: Uint8Array): Uint8Array {
  return flipped(bytes, Buffer.from(bytes).indexOf(Buffer.from("f65840", "hex")) + 3 + 63);
}

/** The next root, with root keys of its own, which alone signed it. */
function stolen(): Uint8Array {
  const roles = { ...rootDocument().roles, root: { threshold: 2, keys: publicKeys(...others) } };
  return root(2, { roles }, others);
}

/** Takes connections and subscriptions, and never acknowledges a message. */
function startSilent(): Promise<TestBroker> {
  return startAedes((aedes) => {
    aedes.authorizePublish = () => undefined;
  });
}

/** Retains something else than it was given. */
function startAltering(): Promise<TestBroker> {
  return startAedes((aedes) => {
    aedes.authorizePublish = (_client, packet, done) => {
      packet.payload = Buffer.from("something else");
      done(null);
    };
  });
}
