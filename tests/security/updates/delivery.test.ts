/** Attacks at the broker: whoever controls it can delay an update, and nothing more. */

import { afterEach, describe, expect, it } from "vitest";
import { sha256Hex } from "../../../gateway/wire/digest.ts";
import { BLOCK_BYTES, topics } from "../../../gateway/wire/update-topics.ts";
import type { RootDocument } from "../../../gateway/envelopes/index.ts";
import { Refusal } from "../../../kernel/index.ts";
import { keyIdOf, sha256 } from "../../../gateway/envelopes/index.ts";
import type { SigningKey } from "../../../tools/keys/key.ts";
import { signConfiguration, signModule, signPayload, signRoot } from "../../../tools/keys/sign.ts";
import {
  configurationDocument,
  DAY,
  deploy,
  GATEWAY,
  key,
  moduleDocument,
  NOW,
  operator,
  publicKeys,
  release,
  rootDocument,
  rootKeys,
} from "../../trust/fixture.ts";
import { Bench, deliveredAs, makeModule, makePlan, publishModule } from "../../updates/bench.ts";
import type { BenchOptions, Made } from "../../updates/bench.ts";

const first = makeModule("threshold", 1);
const second = makeModule("threshold", 2, { size: 150_000 });
const third = makeModule("threshold", 3);

const benches: Bench[] = [];
function bench(options: BenchOptions = {}): Bench {
  const made = new Bench({ delivered: [deliveredAs(first)], ...options });
  benches.push(made);
  return made;
}

afterEach(async () => {
  for (const made of benches.splice(0)) await made.close();
});

/** The old module runs on, and nothing has been put in its place. */
function expectUntouched(gateway: Bench, module: Made = first): void {
  expect(gateway.runtime.running.get("threshold")).toBe(module.digest);
  expect(gateway.runtime.calls).not.toContain("swap");
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice();
  copy[at] = (copy[at] ?? 0) ^ 0x01;
  return copy;
}

/** Counts what arrives under topics, as the attacker sees it. */
function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  const look = () => {
    if (condition()) resolve(undefined);
    else if (Date.now() > deadline) reject(new Error("it did not come about"));
    else setTimeout(look, 2);
  };
  look();
  return promise.then(() => undefined);
}

describe("a broker that changes what it delivers", () => {
  it("cannot slip in other wasm: E_DIGEST", async () => {
    const gateway = bench();
    const evil = new Uint8Array(32_768).fill(0x66);
    gateway.broker.intercept = (topic, payload) => [topic.endsWith(`${second.blob}/2`) ? evil : payload];
    const plan = gateway.push(1, [second]);
    expect(await gateway.result(plan)).toMatchObject({ code: "E_DIGEST", state: "rejected", final: true });
    expectUntouched(gateway);
  });

  it("cannot flip a bit of the wasm: E_DIGEST, and nothing of it stays on the disk", async () => {
    const gateway = bench();
    gateway.broker.intercept = (topic, payload) => [topic.endsWith(`${second.blob}/0`) ? flipped(payload, 7) : payload];
    expect(await gateway.code(gateway.push(1, [second]))).toBe("E_DIGEST");
    expect(gateway.store.has("blobs", second.blob)).toBe(false);
    expect(gateway.store.part(second.blob, second.wasm.length).next).toBe(0);
    expectUntouched(gateway);
  });

  it("is forgiven one wrong delivery, because somebody may publish for a moment what he should not", async () => {
    const gateway = bench();
    let wrong = 1;
    gateway.broker.intercept = (topic, payload) => [
      topic.endsWith(`${second.blob}/0`) && wrong-- > 0 ? flipped(payload, 7) : payload,
    ];
    expect(await gateway.code(gateway.push(1, [second]))).toBe("OK");
  });

  it("cannot flip a bit anywhere in a plan", async () => {
    const gateway = bench();
    const plan = makePlan(1, [second]);
    publishModule(gateway.broker, second);
    // As many as the agent looks at without a pause; every single bit is flipped in documents.test.ts.
    for (let part = 0; part < 30; part++) {
      gateway.agent.message(topics.gateway(GATEWAY, "desired"), flipped(plan, Math.floor((part * plan.length) / 30)));
    }
    await gateway.agent.idle();
    const codes = gateway.events.map(({ code }) => code);
    expect(codes.length).toBeGreaterThan(10);
    expect(codes).not.toContain("OK");
    expect(codes).not.toContain(undefined);
    expectUntouched(gateway);
  });

  it("cannot flip any bit of a module envelope: what does not have the planned digest is not even decoded", async () => {
    const gateway = bench();
    gateway.broker.intercept = (topic, payload) => {
      if (topic !== topics.module(second.digest)) return [payload];
      return Array.from(payload, (_byte, at) => flipped(payload, at));
    };
    expect(await gateway.code(gateway.push(1, [second]))).toBe("E_DIGEST");
    expectUntouched(gateway);
  });

  it("may send wrong envelopes as long as it likes if the right one comes too", async () => {
    const gateway = bench();
    gateway.broker.intercept = (topic, payload) =>
      topic === topics.module(second.digest) ? [first.envelope, flipped(payload, 9), payload] : [payload];
    expect(await gateway.code(gateway.push(1, [second]))).toBe("OK");
  });

  it("cannot mix old and new envelopes: E_DIGEST", async () => {
    const gateway = bench();
    gateway.broker.intercept = (topic, payload) => [topic === topics.module(second.digest) ? third.envelope : payload];
    publishModule(gateway.broker, third);
    expect(await gateway.code(gateway.push(1, [second]))).toBe("E_DIGEST");
    expectUntouched(gateway);
  });

  it("cannot send blocks longer or shorter than signed: E_SIZE", async () => {
    for (const change of [
      (payload: Uint8Array) => new Uint8Array(payload.length + 1),
      (payload: Uint8Array) => payload.slice(1),
      () => new Uint8Array(8 * 1024 * 1024),
      () => new Uint8Array(),
    ]) {
      const gateway = bench();
      gateway.broker.intercept = (topic, payload) => [topic.endsWith(`${second.blob}/1`) ? change(payload) : payload];
      expect(await gateway.code(gateway.push(1, [second]))).toBe("E_SIZE");
      expectUntouched(gateway);
    }
  });

  it("cannot make a blob endless: no block beyond the signed size is asked for or taken", async () => {
    const gateway = bench();
    const plan = gateway.push(1, [second]);
    const asked = new Set<string>();
    const beyond = topics.block(second.blob, Math.ceil(second.wasm.length / BLOCK_BYTES));
    const watch = setInterval(() => {
      for (const topic of gateway.broker.subscriptions) asked.add(topic);
      gateway.agent.message(beyond, new Uint8Array(BLOCK_BYTES));
    }, 0);
    expect(await gateway.code(plan)).toBe("OK");
    clearInterval(watch);
    expect(asked).not.toContain(beyond);
    expect(gateway.store.read("blobs", second.blob)).toHaveLength(second.wasm.length);
  });

  it("cannot hold the agent with a trickle: E_TIMEOUT, tried again, and a newer plan goes past it", async () => {
    const gateway = bench({
      times: { downloadMs: 200, perBlockMs: 1, stallMs: 150, retryMs: 2_000, retryMaximumMs: 2_000 },
    });
    gateway.broker.intercept = (topic, payload) => {
      if (!topic.includes(`/blob/${second.blob}/`)) return [payload];
      setTimeout(() => gateway.agent.message(topic, payload), 140 * (1 + Number(topic.split("/").at(-1))));
      return [];
    };
    const plan = gateway.push(1, [second]);
    expect(await gateway.result(plan)).toMatchObject({ code: "E_TIMEOUT", final: false });
    expect(await gateway.code(gateway.push(2, [third]))).toBe("OK");
    expect(gateway.runtime.running.get("threshold")).toBe(third.digest);
  });

  it("gets oversize packets turned away before anything is computed: E_SIZE", async () => {
    const gateway = bench();
    const plan = gateway.publishPlan(new Uint8Array(400 * 1024));
    expect(await gateway.code(plan)).toBe("E_SIZE");
    gateway.broker.intercept = (topic, payload) => [
      topic === topics.module(second.digest) ? new Uint8Array(1 << 20) : payload,
    ];
    expect(await gateway.code(gateway.push(1, [second]))).toBe("E_SIZE");
    expectUntouched(gateway);
  });

  it("finds no ear for topics that nobody asked for", async () => {
    const gateway = bench();
    publishModule(gateway.broker, second);
    for (const topic of [topics.gateway("gw-8", "desired"), topics.module(second.digest), "bulkhead/v1/gw/#", ""]) {
      gateway.agent.message(topic, makePlan(1, [second]));
    }
    await gateway.agent.idle();
    expect(gateway.events).toEqual([]);
    expectUntouched(gateway);
  });
});

describe("a broker that replays", () => {
  it("cannot bring back a committed plan's predecessor: E_ROLLBACK", async () => {
    const gateway = bench();
    const old = gateway.push(1, [second]);
    await gateway.result(old);
    await gateway.result(gateway.push(2, [third]));
    const next = await gateway.restart();
    benches.push(next);
    const replayed = makePlan(1, [second]);
    next.agent.message(topics.gateway(GATEWAY, "desired"), replayed);
    expect(await next.code(sha256Hex(replayed))).toBe("OK");
    expect(await next.result(sha256Hex(replayed), 1)).toMatchObject({ code: "E_ROLLBACK" });
    expect(next.runtime.running.get("threshold")).toBe(third.digest);
  });

  it("cannot supersede a newer plan by an older one that was never committed: E_ROLLBACK", async () => {
    const gateway = bench();
    gateway.runtime.holdProbation = true;
    gateway.push(5, [third]);
    await until(() => gateway.runtime.calls.includes("probation"));
    publishModule(gateway.broker, second);
    const older = gateway.publishPlan(makePlan(4, [second]));
    expect(await gateway.code(older)).toBe("E_ROLLBACK");
    expect(gateway.runtime.running.get("threshold")).toBe(third.digest);
  });

  it("cannot give one gateway another's plan: E_TARGET", async () => {
    const gateway = bench();
    publishModule(gateway.broker, second);
    expect(await gateway.code(gateway.publishPlan(makePlan(1, [second], { gateway: "gw-8" })))).toBe("E_TARGET");
    expectUntouched(gateway);
  });

  it("cannot freeze a gateway with an expired plan: E_EXPIRED, and a fresh one is taken", async () => {
    const gateway = bench();
    publishModule(gateway.broker, second);
    const stale = gateway.publishPlan(makePlan(1, [second], { expires: NOW - 1 }));
    expect(await gateway.code(stale)).toBe("E_EXPIRED");
    expect(await gateway.code(gateway.push(2, [second]))).toBe("OK");
  });

  it("cannot go below a module's floor with a new plan: E_ROLLBACK", async () => {
    const gateway = bench();
    await gateway.result(gateway.push(1, [third]));
    expect(await gateway.code(gateway.push(2, [second]))).toBe("E_ROLLBACK");
    expect(gateway.runtime.running.get("threshold")).toBe(third.digest);
  });

  it("cannot give a sequence number twice: E_ROLLBACK", async () => {
    const gateway = bench();
    await gateway.result(gateway.push(1, [second]));
    const other = makeModule("threshold", 2, { seed: 99 });
    expect(await gateway.code(gateway.push(2, [other]))).toBe("E_ROLLBACK");
  });

  it("does not make a retained rejected plan flap, over restarts either", async () => {
    const gateway = bench();
    gateway.runtime.probationFailure = new Refusal("E_PROBATION", "module threshold trapped");
    const plan = gateway.push(1, [second]);
    expect(await gateway.code(plan)).toBe("E_PROBATION");
    for (let time = 0; time < 5; time++) gateway.publishPlan(makePlan(1, [second]));
    const next = await gateway.restart();
    benches.push(next);
    await until(() => next.events.filter((event) => event.plan === plan).length > 7);
    expect(gateway.runtime.calls.filter((call) => call === "swap")).toHaveLength(1);
    expect(next.runtime.calls).toEqual([]);
    expect(next.events.at(-1)).toMatchObject({ code: "E_PROBATION", state: "rolled-back", final: true });
    expect(next.events.at(-1)?.reason).toContain("module threshold trapped");
  });
});

describe("a signer who should not be one", () => {
  const stranger = key("release", 9);

  it("with an unknown key signs no module: E_KEY", async () => {
    const gateway = bench();
    const foreign = makeModule("threshold", 2, { keys: [stranger] });
    expect(await gateway.code(gateway.push(1, [foreign]))).toBe("E_KEY");
    expectUntouched(gateway);
  });

  it("who knows only the key's id signs no plan: E_SIG", async () => {
    const gateway = bench();
    publishModule(gateway.broker, second);
    const claimed = { ...key("deploy", 9), id: deploy.id };
    expect(await gateway.code(gateway.publishPlan(makePlan(1, [second], {}, [claimed])))).toBe("E_SIG");
    const module = makeModule("threshold", 2, { keys: [{ ...stranger, id: release.id }] });
    expect(await gateway.code(gateway.push(2, [module]))).toBe("E_SIG");
    expectUntouched(gateway);
  });

  it("with a key of another role signs neither plan nor module nor configuration: E_KEY", async () => {
    const gateway = bench();
    publishModule(gateway.broker, second);
    expect(await gateway.code(gateway.publishPlan(makePlan(1, [second], {}, [release])))).toBe("E_KEY");
    const byDeploy = makeModule("threshold", 2, { keys: [deploy] });
    expect(await gateway.code(gateway.push(2, [byDeploy]))).toBe("E_KEY");
    const configuration = signConfiguration(configurationDocument(), [deploy]);
    const digest = sha256Hex(configuration);
    gateway.broker.retain(topics.configuration(digest), configuration);
    const plan = makePlan(3, [second], { configuration: Uint8Array.fromHex(digest) });
    expect(await gateway.code(gateway.publishPlan(plan))).toBe("E_KEY");
    expectUntouched(gateway);
  });

  it("cannot pass one kind of document off as another: E_CBOR", async () => {
    const gateway = bench();
    for (const other of [first.envelope, signConfiguration(configurationDocument(), [operator]), rootBytesOf(2)]) {
      expect(await gateway.code(gateway.publishPlan(other))).toBe("E_CBOR");
    }
    const payload = makePlan(1, [second]);
    const asPlan = signPayload("plan", payload, [deploy]);
    expect(await gateway.code(gateway.publishPlan(asPlan))).toBe("E_CBOR");
    expectUntouched(gateway);
  });

  it("finds hostile CBOR refused with a code, whatever it is", async () => {
    const gateway = bench();
    const hostile = [
      [],
      [0xff],
      [0x81, 0xff],
      [0xf8, 0x15],
      [0x9f],
      [0xd8, 0x6b, 0xa0],
      [0xc2, 0x58, 0xff],
      Array.from({ length: 10_000 }, () => 0x81),
    ];
    for (const bytes of hostile) {
      expect(await gateway.code(gateway.publishPlan(Uint8Array.from(bytes)))).toBe("E_CBOR");
    }
    expectUntouched(gateway);
  });
});

describe("a module that is signed but not welcome", () => {
  it("for another vendor or class is refused before its wasm is fetched: E_TARGET", async () => {
    const gateway = bench();
    for (const document of [{ vendor: new Uint8Array(16).fill(1) }, { class: new Uint8Array(16).fill(1) }]) {
      const version = "vendor" in document ? 1 : 2;
      const other = makeModule("threshold", 2, { document });
      expect(await gateway.code(gateway.push(version, [other]))).toBe("E_TARGET");
      expect(gateway.store.has("blobs", other.blob)).toBe(false);
    }
    expectUntouched(gateway);
  });

  it("of another ABI is refused: E_ABI", async () => {
    const gateway = bench();
    expect(await gateway.code(gateway.push(1, [makeModule("threshold", 2, { claims: { abi: 2 } })]))).toBe("E_ABI");
  });

  it("that asks for more than it is granted is refused before its wasm is fetched: E_CAP", async () => {
    const gateway = bench();
    gateway.runtime.refusals = [new Refusal("E_CAP", "slot north is not granted"), new Refusal("E_CAP", "another")];
    const result = await gateway.result(gateway.push(1, [second]));
    expect(result).toMatchObject({ code: "E_CAP", state: "rejected" });
    expect(result.reason).toContain("and 1 more");
    expect(gateway.store.has("blobs", second.blob)).toBe(false);
  });

  it("that the runtime does not admit never runs, and the old one does: the runtime's code", async () => {
    for (const code of ["E_WASM", "E_ABI", "E_CAP", "E_MANIFEST"] as const) {
      const gateway = bench();
      gateway.runtime.stageFailure = new Refusal(code, "imports beyond the claims");
      expect(await gateway.code(gateway.push(1, [second]))).toBe(code);
      expect(gateway.runtime.calls).toContain("rollback");
      expectUntouched(gateway);
    }
  });

  it("that refuses the old state is not swapped in: E_STATE", async () => {
    const gateway = bench();
    gateway.runtime.swapFailure = new Refusal("E_STATE", "module threshold refused the state of schema 1");
    const result = await gateway.result(gateway.push(1, [second]));
    expect(result).toMatchObject({ code: "E_STATE", state: "rolled-back" });
    expect(gateway.runtime.running.get("threshold")).toBe(first.digest);
  });

  it("in a plan that leaves out another module takes nothing away: E_TARGET", async () => {
    const uplink = makeModule("uplink", 1);
    const gateway = bench({ delivered: [deliveredAs(first), deliveredAs(uplink)] });
    expect(await gateway.code(gateway.push(1, [second]))).toBe("E_TARGET");
    expectUntouched(gateway);
  });
});

/** Root version `version`, signed by two old root keys and by those that it lists. */
function rootBytesOf(
  version: number,
  changes: Partial<RootDocument> = {},
  signers: readonly SigningKey[] = rootKeys.slice(0, 2),
): Uint8Array {
  return signRoot(rootDocument({ version, issued: NOW - DAY, ...changes }), signers);
}

describe("roots at the broker", () => {
  const newDeploy = key("deploy", 2);
  const rotated = {
    roles: { ...rootDocument().roles, deploy: { threshold: 1, keys: publicKeys(newDeploy) } },
    revokedKeys: [keyIdOf(deploy.publicKey)],
  };

  async function rootVersion(gateway: Bench, version: number): Promise<void> {
    await until(() => gateway.agent.trust.root.version === version);
  }

  it("are taken one version at a time, are there after a restart, and are reported", async () => {
    const gateway = bench();
    gateway.broker.retain(topics.root(3), rootBytesOf(3));
    gateway.broker.retain(topics.root(2), rootBytesOf(2));
    await rootVersion(gateway, 3);
    expect(gateway.reports.at(-1)?.rootVersion).toBe(3);
    const next = await gateway.restart();
    benches.push(next);
    expect(next.agent.trust.root.version).toBe(3);
  });

  it("that skip a version are not taken", async () => {
    const gateway = bench();
    gateway.broker.retain(topics.root(2), rootBytesOf(3));
    await until(() => gateway.notices.some(({ code }) => code === "E_ROOT_GAP"));
    expect(gateway.agent.trust.root.version).toBe(1);
  });

  it("signed by the new keys only, or by too few, are not taken", async () => {
    const others = [key("root", 11), key("root", 12)];
    const roles = { ...rootDocument().roles, root: { threshold: 2, keys: publicKeys(...others) } };
    const gateway = bench();
    gateway.broker.retain(topics.root(2), rootBytesOf(2, { roles }, others));
    gateway.broker.retain(topics.root(2), rootBytesOf(2, {}, rootKeys.slice(0, 1)));
    await until(() => gateway.notices.filter(({ code }) => code === "E_THRESHOLD").length === 2);
    expect(gateway.agent.trust.root.version).toBe(1);
  });

  it("end the lock-out by a thief's maximal plan version, with a new deploy key", async () => {
    const gateway = bench();
    expect(await gateway.code(gateway.push(0xffff_ffff, [second]))).toBe("OK");
    expect(await gateway.code(gateway.push(2, [third]))).toBe("E_ROLLBACK");
    gateway.broker.retain(topics.root(2), rootBytesOf(2, rotated));
    await rootVersion(gateway, 2);
    publishModule(gateway.broker, third);
    const honest = gateway.publishPlan(makePlan(3, [third], { rootVersion: 2 }, [newDeploy]));
    expect(await gateway.code(honest)).toBe("OK");
    publishModule(gateway.broker, makeModule("threshold", 4));
    const thief = gateway.publishPlan(makePlan(0xffff_ffff, [makeModule("threshold", 4)]));
    expect(await gateway.code(thief)).toBe("E_REVOKED");
  });

  it("end the lock-out by a maximal sequence number of a thief of the release key, and keep old releases out", async () => {
    const gateway = bench();
    const maximal = makeModule("threshold", 0xffff_ffff, { claims: { version: "9.0.0" } });
    expect(await gateway.code(gateway.push(1, [maximal]))).toBe("OK");
    expect(await gateway.code(gateway.push(2, [third]))).toBe("E_ROLLBACK");
    const newRelease = key("release", 2);
    const roles = { ...rootDocument().roles, release: { threshold: 1, keys: publicKeys(newRelease) } };
    const revokedDigests = [Uint8Array.fromHex(maximal.digest)];
    const floors = new Map([["threshold", 3]]);
    gateway.broker.retain(topics.root(2), rootBytesOf(2, { roles, floors, revokedKeys: [release.id], revokedDigests }));
    await rootVersion(gateway, 2);
    const old = makeModule("threshold", 2, { keys: [newRelease] });
    expect(await gateway.code(gateway.push(3, [old]))).toBe("E_ROLLBACK");
    const honest = makeModule("threshold", 3, { keys: [newRelease] });
    expect(await gateway.code(gateway.push(4, [honest]))).toBe("OK");
    expect(gateway.runtime.running.get("threshold")).toBe(honest.digest);
  });

  it("may come after the plan that was made under them", async () => {
    const gateway = bench();
    const plan = gateway.push(1, [second]);
    await gateway.result(plan);
    publishModule(gateway.broker, third);
    const early = gateway.publishPlan(makePlan(2, [third], { rootVersion: 2 }));
    expect(await gateway.result(early)).toMatchObject({ code: "E_ROOT_GAP", final: false });
    gateway.broker.retain(topics.root(2), rootBytesOf(2));
    expect(await gateway.result(early, 1)).toMatchObject({ code: "OK" });
  });

  it("may come after a plan by a key that only they list, as they do after a week off", async () => {
    const gateway = bench();
    publishModule(gateway.broker, second);
    const early = gateway.publishPlan(makePlan(1, [second], {}, [newDeploy]));
    expect(await gateway.code(early)).toBe("E_KEY");
    gateway.broker.retain(topics.root(2), rootBytesOf(2, rotated));
    expect(await gateway.result(early, 1)).toMatchObject({ code: "OK", state: "committed" });
  });

  it("are taken although a thief floods the gateway with plans, and one that came in a flood of roots is asked for", async () => {
    const gateway = bench();
    await gateway.agent.idle();
    const desired = topics.gateway(GATEWAY, "desired");
    for (let version = 1; version <= 300; version++) gateway.agent.message(desired, makePlan(version, [second]));
    gateway.agent.message(topics.root(2), rootBytesOf(2));
    expect(gateway.agent.trust.root.version).toBe(2);
    const forged = rootBytesOf(3);
    for (let at = 0; at < 300; at++)
      gateway.agent.message(topics.root(3), flipped(forged, forged.length - 1 - (at % 60)));
    gateway.broker.retain(topics.root(3), rootBytesOf(3));
    await rootVersion(gateway, 3);
  });

  it("that revoke the signer end an attempt that goes on: E_REVOKED", async () => {
    const gateway = bench();
    gateway.runtime.holdProbation = true;
    const plan = gateway.push(1, [second]);
    await until(() => gateway.runtime.calls.includes("probation"));
    gateway.broker.retain(topics.root(2), rootBytesOf(2, rotated));
    expect(await gateway.result(plan)).toMatchObject({ code: "E_ABORTED", state: "rolled-back", final: false });
    expect(await gateway.result(plan, 1)).toMatchObject({ code: "E_REVOKED", final: true });
    expect(gateway.runtime.running.get("threshold")).toBe(first.digest);
  });

  it("revoke what is installed, too: the next boot runs the version before it", async () => {
    const gateway = bench();
    await gateway.result(gateway.push(1, [second]));
    await gateway.result(gateway.push(2, [third]));
    const revokedDigests = [sha256(third.wasm)];
    gateway.broker.retain(topics.root(2), rootBytesOf(2, { revokedDigests }));
    await rootVersion(gateway, 2);
    const next = await gateway.restart();
    benches.push(next);
    expect(next.boot.source).toBe("previous");
    expect(next.boot.modules.get("threshold")?.envelope).toBe(second.digest);
    expect(next.boot.findings.join()).toContain("E_REVOKED");
  });

  it("revoke what came with the gateway: it is refused by name, and the rest starts", async () => {
    const uplink = makeModule("uplink", 1);
    const delivered = [deliveredAs(first), deliveredAs(uplink)];
    const gateway = bench({ delivered });
    gateway.broker.retain(topics.root(2), rootBytesOf(2, { revokedDigests: [Uint8Array.fromHex(first.digest)] }));
    await rootVersion(gateway, 2);
    const next = await gateway.restart();
    benches.push(next);
    expect([...next.boot.modules.keys()]).toEqual(["uplink"]);
    expect(next.boot.refused.get("threshold")?.code).toBe("E_REVOKED");
  });
});

describe("a clock that is wrong", () => {
  it("set back to 1970 brings no expired plan back, because release dates are its floor", async () => {
    const gateway = bench();
    const late = makeModule("threshold", 2, { claims: { released: NOW, expires: NOW + 90 * DAY } });
    await gateway.result(gateway.push(1, [late]));
    gateway.clock.offsetMs = -NOW * 1000;
    publishModule(gateway.broker, third);
    const stale = gateway.publishPlan(makePlan(2, [third], { expires: NOW - 10 }));
    expect(await gateway.code(stale)).toBe("E_EXPIRED");
  });

  it("is not believed below the date of the build, at the first start as little as at a later one", async () => {
    const before = bench();
    await before.agent.stop();
    for (const folder of [undefined, before.folder]) {
      const gateway = bench({ buildDate: NOW + DAY, ...(folder === undefined ? {} : { folder }) });
      gateway.clock.offsetMs = -NOW * 1000;
      publishModule(gateway.broker, second);
      const stale = gateway.publishPlan(makePlan(1, [second], { expires: NOW + DAY - 1 }));
      expect(await gateway.code(stale)).toBe("E_EXPIRED");
      expect(await gateway.code(gateway.push(2, [second]))).toBe("OK");
    }
  });

  it("set forward stops installs only until it is right again", async () => {
    const gateway = bench();
    gateway.clock.offsetMs = 400 * DAY * 1000;
    const plan = gateway.push(1, [second]);
    expect(await gateway.code(plan)).toBe("E_EXPIRED");
    expect(gateway.runtime.running.get("threshold")).toBe(first.digest);
    gateway.clock.offsetMs = 0;
    gateway.publishPlan(makePlan(1, [second]));
    expect(await gateway.result(plan, 1)).toMatchObject({ code: "OK" });
  });

  it("is not moved by the thief of the deploy key: far-future dates of plans count for nothing", async () => {
    const gateway = bench();
    publishModule(gateway.broker, second);
    const future = { issued: NOW + 9_000 * DAY, expires: NOW + 10_000 * DAY };
    expect(await gateway.code(gateway.publishPlan(makePlan(1, [second], future)))).toBe("OK");
    expect(gateway.agent.trust.clockFloor).toBeLessThan(NOW + DAY);
    expect(await gateway.code(gateway.push(2, [third]))).toBe("OK");
  });
});

describe("a flood", () => {
  it("of 10,000 forged plans a second costs a bounded number of signatures, and the true plan gets through after it", {
    timeout: 60_000,
  }, async () => {
    const gateway = bench();
    const genuine = makePlan(1, [second]);
    publishModule(gateway.broker, second);
    const forged = Array.from({ length: 10_000 }, (_, index) => {
      // A known key id and the right form: only the signature gives it away.
      const plan = genuine.slice();
      const at = plan.length - 1 - (index % 200);
      plan[at] = (plan[at] ?? 0) ^ (1 + (index % 255));
      return plan;
    });
    const cpu = process.cpuUsage();
    const begun = performance.now();
    for (const plan of forged) gateway.agent.message(topics.gateway(GATEWAY, "desired"), plan);
    const { user, system } = process.cpuUsage(cpu);
    const milliseconds = performance.now() - begun;
    expect(milliseconds).toBeLessThan(1_000);
    expect((user + system) / 1000).toBeLessThan(1_000);
    expect(gateway.events.length).toBeLessThan(40);
    const plan = gateway.publishPlan(genuine);
    expect(await gateway.code(plan)).toBe("OK");
    expect(gateway.agent.trust.moduleFloors.get("threshold")?.version).toBe(2);
    expect(gateway.store.state.rejected.size).toBe(0);
  });

  it("of forged plans writes nothing to the disk", async () => {
    const gateway = bench();
    await gateway.agent.idle();
    const before = gateway.store.generation;
    const stranger = key("deploy", 7);
    for (let version = 1; version <= 50; version++) {
      gateway.agent.message(topics.gateway(GATEWAY, "desired"), makePlan(version, [second], {}, [stranger]));
    }
    await gateway.agent.idle();
    expect(gateway.events.some(({ code }) => code === "E_KEY")).toBe(true);
    expect(gateway.store.generation).toBe(before);
  });
});

describe("signatures on module envelopes", () => {
  it("of the same key twice do not make two: the envelope is refused", async () => {
    const gateway = bench();
    const document = moduleDocument({
      name: "threshold",
      sequence: 2,
      wasmDigest: sha256(second.wasm),
      wasmSize: 150_000,
    });
    const twice = signModule(document, [release, release]);
    const digest = sha256Hex(twice);
    gateway.broker.retain(topics.module(digest), twice);
    const plan = gateway.publishPlan(makePlan(1, [{ ...second, digest }]));
    expect(await gateway.code(plan)).toBe("E_THRESHOLD");
    expectUntouched(gateway);
  });
});
