/** Attacks on updates, one after the other, played at a real broker against one whole gateway that goes on working. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { connectAsync } from "mqtt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AUDIT_FILE, verifyAudit } from "../../../gateway/trust/index.ts";
import { encodeRoot, keyIdOf, sha256 } from "../../../gateway/envelopes/index.ts";
import { sha256Hex } from "../../../gateway/wire/digest.ts";
import { encodeReport, REPORT_CONTENT_TYPES } from "../../../gateway/wire/update-report.ts";
import { BLOCK_BYTES, topics } from "../../../gateway/wire/update-topics.ts";
import { encodeSign1, toBeSigned } from "../../../gateway/envelopes/index.ts";
import { signConfiguration, signEd25519, signPayload } from "../../../tools/keys/index.ts";
import { pushUpdate, readRelease } from "../../../tools/push/index.ts";
import { DAY, deploy, key, operator, publicKeys, release, rootDocument, rootKeys } from "../../trust/fixture.ts";
import { Bench, deliveredAs, GATEWAY, makeModule, makePlan, NOW, publishModule } from "../../updates/bench.ts";
import { MqttTransport } from "../../updates/mqtt.ts";
import { Field, FIELD_GATEWAY, fieldRoot, seconds, worker, workerWasm } from "./field.ts";

const first = makeModule("threshold", 1);
const late = makeModule("threshold", 2, { claims: { released: NOW, expires: NOW + 90 * DAY } });
const third = makeModule("threshold", 3);
const DESIRED = topics.gateway(FIELD_GATEWAY, "desired");
let field: Field;

beforeAll(async () => {
  field = await Field.start();
}, 120_000);
afterAll(async () => {
  await field.close();
}, 60_000);

function flipped(bytes: Uint8Array, at: number, bits = 1): Uint8Array {
  const copy = bytes.slice();
  copy[at] = (copy[at] ?? 0) ^ bits;
  return copy;
}

/** Processor time of the thread that verifies: fields 14 and 15 of proc_pid_stat(5), in hundredths of a second. */
function trustSeconds(): number {
  const tasks = "/proc/self/task";
  const stats = readdirSync(tasks).map((id) => readFileSync(join(tasks, id, "stat"), "utf8"));
  const ticks = stats.filter((stat) => stat.includes("(trust)")).flatMap((stat) => stat.split(" ").slice(13, 15));
  if (ticks.length !== 2) throw new Error("there is not one thread by the name of the trust worker");
  return ticks.reduce((sum, tick) => sum + Number(tick), 0) / 100;
}

/** After each attack: the worker that was committed last runs, and nothing in its place. */
async function expectUntouched(): Promise<void> {
  expect(await field.running()).toMatchObject({ worker: `${field.set.get("worker")?.sequence}.0.0` });
}

function configuration(content: string, keys = [operator]): Uint8Array {
  return signConfiguration(
    { target: FIELD_GATEWAY, version: field.nextVersion(), issued: seconds() - 60, content },
    keys,
  );
}

/** The code for a plan that names these bytes as its configuration. */
async function configured(envelope: Uint8Array): Promise<string | undefined> {
  const digest = sha256Hex(envelope);
  await field.retain(topics.configuration(digest), envelope);
  return field.code(field.plan([], { configuration: Uint8Array.fromHex(digest) }));
}

const own = (): string => {
  const text = readFileSync(join(field.folder, "gateway.yaml"), "utf8");
  return text.slice(text.indexOf("devices:"));
};

describe("an attacker at the broker, with", { timeout: 120_000 }, () => {
  it("arbitrary wasm in the blocks: E_DIGEST", async () => {
    const made = worker(2);
    await field.publish(made, (block) => block.map((byte) => byte ^ 0x55));
    expect(await field.code(field.plan([made]))).toBe("E_DIGEST");
    await expectUntouched();
  });

  it("flipped bits in every field: a code for each, and no bit that is taken", async () => {
    const made = worker(2);
    await field.publish(made);
    const plan = field.plan([made]);
    for (let part = 0; part < 16; part++) {
      const code = await field.code(flipped(plan, Math.floor((part * plan.length) / 16)));
      expect(["E_CBOR", "E_DIGEST", "E_KEY", "E_SIG"]).toContain(code);
    }
    await field.retain(topics.module(made.digest), flipped(made.envelope, 100));
    expect(await field.code(field.plan([made]))).toBe("E_DIGEST");
    await expectUntouched();
  });

  it("an unknown key: E_KEY", async () => {
    expect(await field.code(field.plan([], {}, [key("deploy", 9)]))).toBe("E_KEY");
    expect(await field.install(worker(2, { keys: [key("release", 9)] }))).toMatchObject({ code: "E_KEY" });
    await expectUntouched();
  });

  it("a right key in a wrong role: E_KEY", async () => {
    expect(await field.code(field.plan([], {}, [release]))).toBe("E_KEY");
    expect(await field.install(worker(2, { keys: [deploy] }))).toMatchObject({ code: "E_KEY" });
    expect(await configured(configuration(own(), [release]))).toBe("E_KEY");
    await expectUntouched();
  });

  it("one kind of document in the place of another: E_CBOR", async () => {
    const [module, plan] = [worker(2), field.plan([])];
    for (const bytes of [module.envelope, configuration(own()), fieldRoot({ version: 2 })]) {
      expect(await field.code(bytes)).toBe("E_CBOR");
    }
    expect(await configured(plan)).toBe("E_CBOR");
    expect(await configured(module.envelope)).toBe("E_CBOR");
    const asModule = { ...module, envelope: plan, digest: sha256Hex(plan) };
    await field.publish(asModule);
    expect(await field.code(field.plan([asModule]))).toBe("E_CBOR");
    await expectUntouched();
  });

  it("an old plan: E_ROLLBACK", async () => {
    const old = field.plan([worker(2)]);
    expect(await field.install(worker(3))).toMatchObject({ code: "OK", state: "committed" });
    expect(await field.code(old)).toBe("E_ROLLBACK");
    await expectUntouched();
  });

  it("another gateway's plan: E_TARGET", async () => {
    expect(await field.code(field.plan([worker(4)], { gateway: "gw-8" }))).toBe("E_TARGET");
    await expectUntouched();
  });

  it("a release below the floor: E_ROLLBACK", async () => {
    expect(await field.install(worker(2))).toMatchObject({ code: "E_ROLLBACK" });
    await expectUntouched();
  });

  it("an equal sequence number with another digest: E_ROLLBACK", async () => {
    expect(await field.install(worker(3, { wasm: workerWasm(99) }))).toMatchObject({ code: "E_ROLLBACK" });
    await expectUntouched();
  });

  it("a frozen world: an expired plan is E_EXPIRED, and a fresh one is taken", async () => {
    const made = worker(4);
    await field.publish(made);
    expect(await field.code(field.plan([made], { expires: seconds() - 1 }))).toBe("E_EXPIRED");
    expect(await field.install(made)).toMatchObject({ code: "OK" });
  });

  it("a mix of old and new envelopes: E_DIGEST", async () => {
    const [made, old] = [worker(5), worker(4)];
    await field.publish(made);
    await field.retain(topics.module(made.digest), old.envelope);
    expect(await field.code(field.plan([made]))).toBe("E_DIGEST");
    await expectUntouched();
  });

  it("an endless blob: what lies beyond the signed size is not taken", async () => {
    const made = worker(5);
    for (let index = 3; index < 40; index++)
      await field.retain(topics.block(made.blob, index), new Uint8Array(BLOCK_BYTES));
    expect(await field.install(made)).toMatchObject({ code: "OK" });
    expect(readFileSync(join(field.folder, "data", "trust", "blobs", made.blob))).toHaveLength(made.wasm.length);
  });

  it("blocks longer or shorter than signed: E_SIZE", async () => {
    const made = worker(6);
    for (const change of [
      (block: Uint8Array) => new Uint8Array(block.length + 1),
      (block: Uint8Array) => block.slice(1),
    ]) {
      await field.publish(made, (block, index) => (index === 1 ? change(block) : block));
      expect(await field.code(field.plan([made]))).toBe("E_SIZE");
    }
    await expectUntouched();
  });

  it("a slow trickle: E_TIMEOUT, and a newer plan goes past it", async () => {
    const slow = worker(7, { wasm: workerWasm(7) });
    await field.retain(topics.module(slow.digest), slow.envelope);
    const trickle = setInterval(() => {
      void field.session.retain(topics.block(slow.blob, trickled++), slow.wasm.slice(0, BLOCK_BYTES));
    }, 2_500);
    let trickled = 0;
    expect(await field.answer(field.plan([slow]))).toMatchObject({ code: "E_TIMEOUT", final: false });
    clearInterval(trickle);
    expect(await field.install(worker(8))).toMatchObject({ code: "OK" });
  });

  it("one key's signature twice for a threshold: E_THRESHOLD", async () => {
    expect(await field.install(worker(9, { keys: [release, release] }))).toMatchObject({ code: "E_THRESHOLD" });
    expect(
      await field.rootCode(
        fieldRoot(
          { version: 2 },
          [rootKeys[0], rootKeys[0]].flatMap((it) => it ?? []),
        ),
        2,
      ),
    ).toBe("E_THRESHOLD");
    await expectUntouched();
  });

  it("a root that skips a version: E_ROOT_GAP", async () => {
    expect(await field.rootCode(fieldRoot({ version: 3 }), 2)).toBe("E_ROOT_GAP");
  });

  it("a root signed by the new keys only: E_THRESHOLD", async () => {
    const others = [key("root", 11), key("root", 12)];
    const roles = { ...rootDocument().roles, root: { threshold: 2, keys: publicKeys(...others) } };
    expect(await field.rootCode(fieldRoot({ version: 2, roles }, others), 2)).toBe("E_THRESHOLD");
  });

  it("a root whose keys are no sound points: E_KEY", async () => {
    const weak = [new Uint8Array(32), Uint8Array.of(1, ...new Uint8Array(31)), new Uint8Array(32).fill(0xff)];
    for (const point of weak) {
      const roles = { ...rootDocument().roles, deploy: { threshold: 1, keys: [point] } };
      const { issued, expires } = { issued: seconds() - DAY, expires: seconds() + 100 * DAY };
      const payload = encodeRoot(rootDocument({ version: 2, issued, expires, roles }));
      expect(await field.rootCode(signPayload("root", payload, rootKeys.slice(0, 2)), 2)).toBe("E_KEY");
    }
  });

  it("hostile CBOR in the place of every document, signed or not: E_CBOR", async () => {
    const hostile = [
      "81ff",
      "9fff",
      "c25820" + "ff".repeat(32),
      "a201020102",
      "fb3ff0000000000000",
      "81".repeat(5_000),
    ];
    for (const hex of hostile) {
      const bytes = Uint8Array.fromHex(hex);
      expect(await field.code(bytes)).toBe("E_CBOR");
      expect(await field.rootCode(signPayload("root", bytes, rootKeys.slice(0, 2)), 2)).toBe("E_CBOR");
    }
    for (const hex of hostile.slice(0, 3)) {
      const bytes = Uint8Array.fromHex(hex);
      expect(await field.code(signPayload("plan", bytes, [deploy]))).toBe("E_CBOR");
      expect(await configured(signPayload("configuration", bytes, [operator]))).toBe("E_CBOR");
      const envelope = signPayload("module", bytes, [release]);
      const made = { ...worker(9), envelope, digest: sha256Hex(envelope) };
      await field.publish(made);
      expect(await field.code(field.plan([made]))).toBe("E_CBOR");
    }
    await expectUntouched();
  });

  it("a release for other gateways: E_TARGET", async () => {
    for (const document of [{ vendor: new Uint8Array(16).fill(1) }, { class: new Uint8Array(16).fill(1) }]) {
      expect(await field.install(worker(9, { document }))).toMatchObject({ code: "E_TARGET" });
    }
    await expectUntouched();
  });

  it("a release that asks for capabilities beyond its grant: E_CAP, before its wasm is fetched", async () => {
    const capabilities = [{ slot: "north", interface: "mqtt", rights: ["publish"] }];
    const made = worker(9, { claims: { capabilities } });
    const event = await field.install(made);
    expect(event).toMatchObject({ code: "E_CAP", state: "rejected", percent: 0 });
    expect(event.reason).toContain("worker.north");
    await expectUntouched();
  });

  it("a release that imports beyond its claims: E_CAP", async () => {
    const event = await field.install(worker(9, { claims: { capabilities: [] } }));
    expect(event).toMatchObject({ code: "E_CAP" });
    expect(event.reason).toContain("which its signed document does not ask for");
    await expectUntouched();
  });

  it("a configuration that lets a module hear and speak on #: E_CONFIG", async () => {
    for (const right of ["publish", "subscribe"]) {
      const text = own().replace('north: { mqtt: { publish: ["site/7/#"] } }', `north: { mqtt: { ${right}: ["#"] } }`);
      expect(await configured(configuration(text))).toBe("E_CONFIG");
    }
    await expectUntouched();
  });

  it("oversize packets: they are turned away, and the gateway hears what comes after them", async () => {
    expect(await field.code(new Uint8Array(400 * 1024))).toBe("E_SIZE");
    for (const size of [600 * 1024, 4 << 20]) await field.retain(DESIRED, new Uint8Array(size));
    expect(await field.install(worker(10))).toMatchObject({ code: "OK" });
  });

  it("a forged `reported`: nobody who has the gateway's key believes it", async () => {
    const thief = key("deploy", 66);
    const last = { code: "OK", reason: "", plan: "ab".repeat(32) } as const;
    const plan = { digest: "ab".repeat(32), version: 0xffff_ffff };
    const lie = { gateway: FIELD_GATEWAY, counter: 1e9, rootVersion: 9, plan, configuration: undefined, last };
    const payload = encodeReport({ ...lie, modules: new Map() });
    const contentType = REPORT_CONTENT_TYPES.reported;
    const signature = signEd25519(toBeSigned(contentType, thief.id, payload), thief);
    const forged = encodeSign1({ contentType, keyId: thief.id, payload, signature });
    await field.retain(topics.gateway(FIELD_GATEWAY, "reported"), forged);
    await field.until("the forgery", () => (field.forged > 0 ? true : undefined));
    const made = worker(11);
    const result = await pushUpdate({
      broker: { url: field.broker.url },
      gatewayId: FIELD_GATEWAY,
      gatewayKey: await field.publicKey,
      modules: [readRelease(made.whole)],
      deployKey: deploy,
      planVersion: field.nextVersion(),
      timeoutMs: 3_000,
    }).catch((error: unknown) => error);
    // The forgery has taken the place of the retained report: a push says so instead of building upon it.
    expect(result).toMatchObject({ code: "E_TIMEOUT", detail: { found: "1 reports that its key did not sign" } });
    expect(await field.install(made)).toMatchObject({ code: "OK" });
  });

  it("10,000 forged envelopes a second: no reading is lost, and verification takes a bounded share of a processor", async () => {
    const attacker = await connectAsync(field.broker.url, { protocolVersion: 4 });
    const genuine = field.plan([worker(12)]);
    const signatureAt = Buffer.from(genuine).indexOf(Buffer.from("f65840", "hex")) + 3;
    const counts = () => field.readings.counts();
    const before = counts().received;
    const heard = field.events.length;
    const begun = performance.now();
    const spent = trustSeconds();
    for (let index = 0; index < 10_000; index++) {
      // A known key id and the right form: only the signature gives it away.
      attacker.publish(DESIRED, Buffer.from(flipped(genuine, signatureAt + (index % 64), 1 + (index >> 6))), {
        qos: 0,
      });
      if (index % 500 === 499) await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await attacker.publishAsync(DESIRED, Buffer.from("the last"), { qos: 1 });
    await attacker.endAsync();
    expect(await field.install(worker(12))).toMatchObject({ code: "OK" });
    const elapsed = (performance.now() - begun) / 1000;
    // Verifying each of them would take ten seconds and more; what is seen is that of the allowance, and an honest update.
    expect(trustSeconds() - spent).toBeLessThan(3);
    const refused = field.events.slice(heard).filter((event) => event.type === "update" && event.code === "E_SIG");
    // Each signature that was computed has a refusal; of those only so many are told.
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.length).toBeLessThan(16 + 2 * elapsed + 1);
    await field.readings.until("readings go on", () => counts().received > before + 5, 60_000);
    expect(counts()).toMatchObject({ lost: 0, duplicated: 0, reordered: 0 });
  });

  it("a stolen deploy key: no root, no configuration, no module by it, and far-future dates move no clock", async () => {
    const roles = { ...rootDocument().roles, release: { threshold: 1, keys: publicKeys(key("release", 2)) } };
    const revoking = fieldRoot({ version: 2, roles, revokedKeys: [release.id] }, [deploy]);
    expect(await field.rootCode(revoking, 2)).toBe("E_THRESHOLD");
    expect(await configured(configuration(own(), [deploy]))).toBe("E_KEY");
    const future = { issued: seconds() + 9_000 * DAY, expires: seconds() + 10_000 * DAY };
    expect(await field.install(worker(13), future)).toMatchObject({ code: "OK" });
    expect(await field.install(worker(14))).toMatchObject({ code: "OK" });
    const committed = field.set.get("worker");
    field.set.delete("worker");
    expect(await field.code(field.plan([]))).toBe("E_TARGET");
    if (committed !== undefined) field.set.set("worker", committed);
    await expectUntouched();
  });

  it("a clock set back brings no expired plan in, and one set forward stops installs until it is right again: E_EXPIRED", async () => {
    const transport = await MqttTransport.connect(field.broker.url);
    const gateway = new Bench({ delivered: [deliveredAs(first)], transport });
    transport.onMessage = (topic, payload) => {
      gateway.agent.message(topic, payload);
    };
    const publish = transport.publish.bind(transport);
    transport.publish = (topic, payload, options) => {
      gateway.broker.published.push({ topic, payload });
      publish(topic, payload, options);
    };
    const desired = async (plan: Uint8Array): Promise<string> => {
      await field.retain(topics.gateway(GATEWAY, "desired"), plan);
      return sha256Hex(plan);
    };
    for (const made of [late, third]) {
      publishModule(gateway.broker, made);
      for (const [topic, payload] of gateway.broker.retained) await field.retain(topic, payload);
    }
    expect(await gateway.code(await desired(makePlan(1, [late])))).toBe("OK");
    gateway.clock.offsetMs = -NOW * 1000;
    expect(await gateway.code(await desired(makePlan(2, [third], { expires: NOW - 10 })))).toBe("E_EXPIRED");
    gateway.clock.offsetMs = 400 * DAY * 1000;
    const plan = await desired(makePlan(3, [third]));
    expect(await gateway.code(plan)).toBe("E_EXPIRED");
    gateway.clock.offsetMs = 0;
    await desired(makePlan(3, [third]));
    expect(await gateway.result(plan, 1)).toMatchObject({ code: "OK" });
    await gateway.close();
    await transport.client.endAsync();
  });

  it("everything so far: not one reading was lost, doubled or overtaken", async () => {
    const now = field.readings.counts().received;
    await field.readings.until("readings go on", () => field.readings.counts().received > now, 30_000);
    expect(field.readings.counts()).toMatchObject({ lost: 0, duplicated: 0, reordered: 0 });
    expect(field.events.filter(({ type }) => type === "fault" || type === "held")).toEqual([]);
  });

  it("a maximal plan version: a root with a new deploy key ends the lock-out", async () => {
    expect(await field.install(worker(15), { version: 0xffff_ffff })).toMatchObject({ code: "OK" });
    const made = worker(16);
    await field.publish(made);
    expect(await field.code(field.plan([made]))).toBe("E_ROLLBACK");
    const fresh = key("deploy", 2);
    const roles = { ...rootDocument().roles, deploy: { threshold: 1, keys: publicKeys(fresh) } };
    await field.rotate(fieldRoot({ version: 2, roles, revokedKeys: [keyIdOf(deploy.publicKey)] }), 2);
    expect(await field.code(field.plan([made], { version: 0xffff_ffff }))).toBe("E_REVOKED");
    expect(await field.install(made, { rootVersion: 2 }, [fresh])).toMatchObject({ code: "OK" });
  });

  it("a release that the root has revoked: E_REVOKED, and the next boot runs the set before it", async () => {
    const fresh = key("deploy", 2);
    const revoked = worker(17);
    expect(await field.install(revoked, { rootVersion: 2 }, [fresh])).toMatchObject({ code: "OK" });
    const roles = { ...rootDocument().roles, deploy: { threshold: 1, keys: publicKeys(fresh) } };
    const revocations = { revokedKeys: [keyIdOf(deploy.publicKey)], revokedDigests: [sha256(revoked.wasm)] };
    await field.rotate(fieldRoot({ version: 3, roles, ...revocations }), 3);
    field.set.delete("worker");
    expect(await field.code(field.plan([revoked], { rootVersion: 3 }, [fresh]))).toBe("E_REVOKED");
    await field.restart();
    expect(await field.running()).toMatchObject({ worker: "16.0.0" });
    const findings = field.events.flatMap((event) => (event.type === "finding" ? [event.text] : []));
    expect(findings.join("\n")).toContain("E_REVOKED");
    await field.gateway.stop();
    expect(verifyAudit(join(field.folder, "data", AUDIT_FILE), await field.publicKey)).toMatchObject({ ok: true });
  });
});
