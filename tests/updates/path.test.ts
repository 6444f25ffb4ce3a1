/** The whole path of an update, from the retained plan to the commit, and what the next boot makes of it. */

import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../../gateway/trust/effects.ts";
import { PlanLedger } from "../../gateway/trust/ledger.ts";
import { REPORT_CONTENT_TYPES } from "../../gateway/wire/update-report.ts";
import { topics } from "../../gateway/wire/update-topics.ts";
import { Refusal } from "../../kernel/index.ts";
import { decodeSign1, toBeSigned, verifyEd25519 } from "../../gateway/envelopes/index.ts";
import { Bench, deliveredAs, GATEWAY, makeModule, makePlan, publishModule, TEST_TIMES } from "./bench.ts";

const uplink = makeModule("uplink", 1);
const oldThreshold = makeModule("threshold", 1);
const newThreshold = makeModule("threshold", 2, { size: 150_000 });
const delivered = [deliveredAs(uplink), deliveredAs(oldThreshold)];

const benches: Bench[] = [];
function bench(...options: ConstructorParameters<typeof Bench>): Bench {
  const made = new Bench(...options);
  benches.push(made);
  return made;
}

afterEach(async () => {
  for (const made of benches.splice(0)) await made.close();
});

describe("an update over MQTT", () => {
  it("goes through every state in order and ends committed", async () => {
    const gateway = bench({ delivered });
    const plan = gateway.push(1, [newThreshold], [uplink]);
    const result = await gateway.result(plan);
    expect(result).toMatchObject({ code: "OK", state: "committed", percent: 100, final: true, pauseMs: 0.25 });
    expect(gateway.statesOf(plan)).toEqual([
      "plan-verified",
      "manifest-verified",
      "policy-ok",
      "fetching",
      "digest-ok",
      "staged",
      "probation",
      "committed",
    ]);
    expect(gateway.runtime.calls).toEqual(["policy", "stage threshold@2", "swap", "probation", "commit"]);
    expect(gateway.runtime.running.get("threshold")).toBe(newThreshold.digest);
  });

  it("reports percentages that only rise, one for each block", async () => {
    const gateway = bench({ delivered });
    const plan = gateway.push(1, [newThreshold], [uplink]);
    await gateway.result(plan);
    const percents = gateway.events.filter((event) => event.state === "fetching").map(({ percent }) => percent);
    expect(percents).toEqual([0, 20, 40, 60, 80, 99]);
  });

  it("signs each event and report with the gateway's key under a counter that rises", async () => {
    const gateway = bench({ delivered });
    await gateway.result(gateway.push(1, [newThreshold], [uplink]));
    const topic = topics.gateway(GATEWAY, "event");
    for (const { payload } of gateway.broker.published.filter((message) => message.topic === topic)) {
      const sign1 = decodeSign1(payload);
      expect(sign1.contentType).toBe(REPORT_CONTENT_TYPES.event);
      const signed = toBeSigned(sign1.contentType, sign1.keyId, sign1.payload ?? new Uint8Array());
      expect(verifyEd25519(sign1.signature, signed, gateway.key.publicKey)).toBe(true);
    }
    const counters = gateway.events.map(({ counter }) => counter);
    expect(counters).toEqual([...new Set(counters)].sort((a, b) => a - b));
  });

  it("reports the set that runs, and the next boot runs it", async () => {
    const gateway = bench({ delivered });
    const plan = gateway.push(1, [newThreshold], [uplink]);
    await gateway.result(plan);
    const next = await gateway.restart();
    expect(next.boot.source).toBe("installed");
    expect(next.boot.modules.get("threshold")?.envelope).toBe(newThreshold.digest);
    expect(next.boot.modules.get("uplink")?.envelope).toBe(uplink.digest);
    const report = next.reports.at(-1);
    expect(report).toMatchObject({ plan: { digest: plan, version: 1 }, rootVersion: 1, last: { code: "OK" } });
    expect(report?.modules.get("threshold")).toEqual({
      sequence: 2,
      envelope: newThreshold.digest,
      version: "2.0.0",
    });
    await next.close();
  });

  it("does nothing again when the retained plan comes after a restart", async () => {
    const gateway = bench({ delivered });
    const plan = gateway.push(1, [newThreshold], [uplink]);
    await gateway.result(plan);
    const next = await gateway.restart();
    expect(await next.result(plan, 1)).toMatchObject({ state: "committed", code: "OK" });
    expect(next.runtime.calls).toEqual([]);
    await next.close();
  });

  it("installs a module that the gateway did not have, and takes a later one after it", async () => {
    const gateway = bench({ delivered: [deliveredAs(uplink)] });
    expect(await gateway.code(gateway.push(1, [oldThreshold], [uplink]))).toBe("OK");
    expect(await gateway.code(gateway.push(2, [newThreshold], [uplink]))).toBe("OK");
    expect(gateway.runtime.running.get("threshold")).toBe(newThreshold.digest);
  });

  it("continues a download where its last good block ended", async () => {
    const gateway = bench({ delivered });
    const asked: string[] = [];
    gateway.broker.intercept = (topic, payload) => (topic.endsWith("/4") ? [] : [payload]);
    const plan = gateway.push(1, [newThreshold], [uplink]);
    expect(await gateway.result(plan)).toMatchObject({ code: "E_TIMEOUT", final: false });
    gateway.broker.intercept = (topic, payload) => {
      asked.push(topic);
      return [payload];
    };
    const next = await gateway.restart();
    expect(await next.result(plan, 1)).toMatchObject({ code: "OK" });
    expect(asked.filter((topic) => topic.includes("/blob/"))).toEqual([topics.block(newThreshold.blob, 4)]);
    await next.close();
  });

  it("waits for modules that are published after their plan", async () => {
    const gateway = bench({ delivered });
    const plan = gateway.publishPlan(makePlan(1, [uplink, newThreshold]));
    await new Promise((resolve) => setTimeout(resolve, 50));
    publishModule(gateway.broker, newThreshold);
    expect(await gateway.code(plan)).toBe("OK");
  });

  it("tries again by itself as long as the module stays away, and takes it when it comes", async () => {
    const gateway = bench({ delivered, times: { documentMs: 10, retryMs: 10, retryMaximumMs: 20 } });
    const plan = gateway.publishPlan(makePlan(1, [uplink, newThreshold]));
    for (let index = 0; index < 4; index++) {
      expect(await gateway.result(plan, index)).toMatchObject({ code: "E_TIMEOUT", state: "rejected", final: false });
    }
    publishModule(gateway.broker, newThreshold);
    while (gateway.runtime.running.get("threshold") !== newThreshold.digest) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(gateway.store.state.rejected.size).toBe(0);
  });

  it("waits twice as long before each retry of a plan, up to a limit, with jitter of half of it either way", () => {
    const ledger = new PlanLedger(bench().store, () => 0);
    const delays = (random: number) =>
      Array.from({ length: 5 }, () => {
        const clock = { ...systemClock, random: () => random };
        return ledger.retryDelay(`plan ${random}`, {
          clock,
          times: { ...TEST_TIMES, retryMs: 10, retryMaximumMs: 100 },
        });
      });
    expect(delays(0.5)).toEqual([10, 20, 40, 80, 100]);
    expect(delays(0)).toEqual([5, 10, 20, 40, 50]);
    expect(delays(1)).toEqual([15, 30, 60, 120, 150]);
  });

  it("listens to its plan and the next root only, when nothing goes on", async () => {
    const gateway = bench({ delivered });
    await gateway.result(gateway.push(1, [newThreshold], [uplink]));
    expect([...gateway.broker.subscriptions]).toEqual([topics.gateway(GATEWAY, "desired"), topics.root(2)]);
  });

  it("lets a newer plan supersede one that hangs, in whichever state it hangs", async () => {
    const gateway = bench({ delivered });
    gateway.runtime.holdProbation = true;
    const hanging = gateway.push(1, [newThreshold], [uplink]);
    while (!gateway.runtime.calls.includes("probation")) await new Promise((resolve) => setTimeout(resolve, 2));
    gateway.runtime.holdProbation = false;
    const third = makeModule("threshold", 3);
    const plan = gateway.push(2, [third], [uplink]);
    expect(await gateway.code(plan)).toBe("OK");
    expect(await gateway.result(hanging)).toMatchObject({ code: "E_ABORTED", state: "rolled-back" });
    expect(gateway.runtime.running.get("threshold")).toBe(third.digest);
  });

  it("lets a swap that cannot be interrupted end before it is undone", async () => {
    const gateway = bench({ delivered });
    const held = Promise.withResolvers<undefined>();
    gateway.runtime.swapHeld = held.promise.then(() => undefined);
    const hanging = gateway.push(1, [newThreshold], [uplink]);
    while (!gateway.runtime.calls.includes("swap")) await new Promise((resolve) => setTimeout(resolve, 2));
    const third = makeModule("threshold", 3);
    const plan = gateway.push(2, [third], [uplink]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(gateway.runtime.calls).not.toContain("rollback");
    held.resolve(undefined);
    expect(await gateway.code(plan)).toBe("OK");
    expect(await gateway.code(hanging)).toBe("E_ABORTED");
    expect(gateway.runtime.running.get("threshold")).toBe(third.digest);
  });

  it("stays committed where the runtime cannot let go of the old modules", async () => {
    const gateway = bench({ delivered });
    gateway.runtime.commitFailure = new Refusal("E_BUSY", "the old module is still running");
    expect(await gateway.code(gateway.push(1, [newThreshold], [uplink]))).toBe("OK");
    expect(gateway.runtime.running.get("threshold")).toBe(newThreshold.digest);
    expect(gateway.runtime.calls).not.toContain("rollback");
    expect(gateway.notices).toContainEqual(expect.objectContaining({ code: "E_BUSY", plan: "" }));
  });

  it("takes a plan that the grants forbade once they allow it, after a restart", async () => {
    const gateway = bench({ delivered });
    gateway.runtime.refusals = [new Refusal("E_CAP", "slot north is not granted")];
    const plan = gateway.push(1, [newThreshold], [uplink]);
    expect(await gateway.code(plan)).toBe("E_CAP");
    const next = await gateway.restart();
    expect(await next.result(plan, 1)).toMatchObject({ code: "OK" });
    await next.close();
  });

  it("takes a plan whose modules are there already without staging anything", async () => {
    const gateway = bench({ delivered });
    const plan = gateway.publishPlan(makePlan(1, [uplink, oldThreshold]));
    expect(await gateway.code(plan)).toBe("OK");
    expect(gateway.runtime.calls).toContain("stage ");
  });
});
