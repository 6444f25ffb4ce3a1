/** Configurations at the broker: what a thief, a replay or a hostile document can do with one, and what a boot makes of it. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { classId, vendorId } from "../../../gateway/envelopes/index.ts";
import type { ConfigurationDocument } from "../../../gateway/envelopes/index.ts";
import { sha256Hex } from "../../../gateway/wire/digest.ts";
import { topics } from "../../../gateway/wire/update-topics.ts";
import { Refusal } from "../../../kernel/index.ts";
import type { SigningKey } from "../../../tools/keys/key.ts";
import { signConfiguration, signRoot } from "../../../tools/keys/sign.ts";
import { configurationDocument, deploy, NOW, operator, rootDocument, rootKeys } from "../../trust/fixture.ts";
import { Bench, deliveredAs, gatewayText, makeModule, makePlan } from "../../updates/bench.ts";
import type { BenchOptions, Made } from "../../updates/bench.ts";

const threshold = makeModule("threshold", 1);
const uplink = makeModule("uplink", 1);
const lamp = makeModule("lamp", 1);

const benches: Bench[] = [];
function bench(options: BenchOptions = {}): Bench {
  const made = new Bench({ delivered: [deliveredAs(threshold), deliveredAs(uplink)], ...options });
  benches.push(made);
  return made;
}
afterEach(async () => {
  for (const made of benches.splice(0)) await made.close();
});

/** Runs modules of these names, and says nothing of the gateway itself. */
function running(names: readonly string[], place?: (name: string) => string): string {
  const text = gatewayText(names, place);
  return text.slice(text.indexOf("partitions:"));
}

function publish(
  gateway: Bench,
  content: string,
  changes: Partial<ConfigurationDocument> = {},
  keys: readonly SigningKey[] = [operator],
): Uint8Array {
  const envelope = signConfiguration(configurationDocument({ content, version: 1, ...changes }), keys);
  const digest = sha256Hex(envelope);
  gateway.broker.retain(topics.configuration(digest), envelope);
  return Uint8Array.fromHex(digest);
}

/** The result of a plan with these modules under this configuration. */
async function planned(gateway: Bench, version: number, modules: readonly Made[], configuration?: Uint8Array) {
  for (const module of modules) gateway.push(version, [module], []);
  const plan = makePlan(version + 1000, modules, configuration === undefined ? {} : { configuration });
  return await gateway.result(gateway.publishPlan(plan));
}

const names = (gateway: Bench): string[] => [...gateway.runtime.running.keys()].sort();
const places = (gateway: Bench): string[] | undefined =>
  gateway.runtime.configuration?.system.modules.map(({ name }) => name).sort();

describe("a configuration that the operator signed", () => {
  it("takes effect with its plan, stays with plans that name none, and is there after a restart", async () => {
    const gateway = bench();
    const configuration = publish(gateway, running(["uplink", "lamp"]));
    expect(await planned(gateway, 1, [uplink, lamp], configuration)).toMatchObject({ code: "OK" });
    expect(names(gateway)).toEqual(["lamp", "uplink"]);
    expect(places(gateway)).toEqual(["lamp", "uplink"]);
    expect(gateway.reports.at(-1)?.configuration).toBe(configuration.toHex());
    const newer = makeModule("lamp", 2);
    expect(await planned(gateway, 2, [uplink, newer])).toMatchObject({ code: "OK" });
    const next = await gateway.restart();
    expect(places(next)).toEqual(["lamp", "uplink"]);
    expect([...next.boot.modules.keys()].sort()).toEqual(["lamp", "uplink"]);
    expect(next.boot.modules.get("lamp")?.envelope).toBe(newer.digest);
    await next.close();
  });

  it("may be for the gateway's class, and for no other gateway or class: E_TARGET", async () => {
    const gateway = bench();
    const vendor = vendorId("bulkhead.example");
    const others = [classId(vendor, "other"), "gw-8"];
    for (const [index, target] of others.entries()) {
      const configuration = publish(gateway, running(["threshold", "uplink"]), { target });
      expect(await planned(gateway, index + 1, [threshold, uplink], configuration)).toMatchObject({ code: "E_TARGET" });
    }
    const ours = publish(gateway, running(["threshold", "uplink"]), { target: classId(vendor, "pi-gateway") });
    expect(await planned(gateway, 5, [threshold, uplink], ours)).toMatchObject({ code: "OK" });
  });

  it("goes back with its set, to the gateway's own file", async () => {
    const gateway = bench();
    gateway.runtime.probationFailure = new Refusal("E_PROBATION", "it crashed");
    const configuration = publish(gateway, running(["uplink", "lamp"]));
    const result = await planned(gateway, 1, [uplink, lamp], configuration);
    expect(result).toMatchObject({ code: "E_PROBATION", state: "rolled-back" });
    expect(names(gateway)).toEqual(["threshold", "uplink"]);
    expect(gateway.store.state.last?.reason).toContain("it crashed");
    const next = await gateway.restart();
    expect(next.boot.configuration).toBeUndefined();
    expect([...next.boot.modules.keys()].sort()).toEqual(["threshold", "uplink"]);
    await next.close();
  });

  it("whose probation a power cut interrupted goes back to the one before it where it fails then", async () => {
    const gateway = bench();
    gateway.runtime.holdProbation = true;
    const configuration = publish(gateway, running(["uplink", "lamp"]));
    for (const module of [uplink, lamp]) gateway.push(1, [module], []);
    gateway.publishPlan(makePlan(1001, [uplink, lamp], { configuration }));
    while (!gateway.runtime.calls.includes("probation")) await new Promise((resolve) => setTimeout(resolve, 2));
    const next = await gateway.restart();
    expect(next.boot.source).toBe("candidate");
    expect(next.boot.configuration?.system.modules.map(({ name }) => name).sort()).toEqual(["lamp", "uplink"]);
    next.runtime.probationFailure = new Refusal("E_PROBATION", "it crashed");
    await next.agent.idle();
    expect(next.store.state.last).toMatchObject({ code: "E_PROBATION" });
    expect(names(next)).toEqual(["threshold", "uplink"]);
    expect(places(next)).toEqual(["threshold", "uplink"]);
    await next.close();
  });
});

describe("a thief of the deploy key", () => {
  it("cannot sign a configuration: E_KEY, and cannot name bytes that are not the planned ones: E_DIGEST", async () => {
    const gateway = bench({ times: { documentMs: 100, retryMs: 60_000 } });
    const own = publish(gateway, running(["uplink"]), {}, [deploy]);
    expect(await planned(gateway, 1, [uplink], own)).toMatchObject({ code: "E_KEY" });
    const digest = new Uint8Array(32).fill(7);
    gateway.broker.retain(topics.configuration(digest.toHex()), new Uint8Array(9));
    expect(await planned(gateway, 3, [uplink], digest)).toMatchObject({ code: "E_DIGEST" });
    expect(names(gateway)).toEqual(["threshold", "uplink"]);
  });

  it("cannot take modules away under the configuration in force: E_TARGET", async () => {
    const gateway = bench();
    const configuration = publish(gateway, running(["threshold", "uplink"]));
    expect(await planned(gateway, 1, [threshold, uplink], configuration)).toMatchObject({ code: "OK" });
    expect(await planned(gateway, 3, [uplink], configuration)).toMatchObject({ code: "E_TARGET" });
    expect(await gateway.code(gateway.publishPlan(makePlan(1010, [], { configuration })))).toBe("E_TARGET");
    expect(names(gateway)).toEqual(["threshold", "uplink"]);
  });

  it("cannot bring back an older configuration, or another one of the same version: E_ROLLBACK", async () => {
    const gateway = bench();
    const old = publish(gateway, running(["threshold", "uplink", "lamp"]), { version: 1 });
    const present = publish(gateway, running(["threshold", "uplink"]), { version: 2 });
    const twin = publish(gateway, running(["threshold", "uplink", "lamp"]), { version: 2, issued: NOW - 5 });
    expect(await planned(gateway, 1, [threshold, uplink], present)).toMatchObject({ code: "OK" });
    expect(await planned(gateway, 3, [threshold, uplink], old)).toMatchObject({ code: "E_ROLLBACK" });
    expect(await planned(gateway, 5, [threshold, uplink], twin)).toMatchObject({ code: "E_ROLLBACK" });
    expect(places(gateway)).toEqual(["threshold", "uplink"]);
  });
});

describe("a configuration that reaches too far", () => {
  const both = [threshold, uplink];
  const grants = (grant: string) => running(["threshold", "uplink"], () => `{ grants: { slot: ${grant} } }`);

  it.each(["#", "+/v1/#", "bulkhead/#", "bulkhead/v1/gw/+/desired", "+", "$share/g/bulkhead/v1/#"])(
    "cannot let a module hear or speak the update topics: E_CONFIG for %s",
    async (filter) => {
      const gateway = bench();
      for (const [index, right] of ["subscribe", "publish"].entries()) {
        const configuration = publish(gateway, grants(`{ mqtt: { ${right}: ["${filter}"] } }`));
        expect(await planned(gateway, 1 + 2 * index, both, configuration)).toMatchObject({ code: "E_CONFIG" });
      }
      expect(gateway.runtime.calls).not.toContain("swap");
    },
  );

  it.each([
    ["another identity", "gateway: { id: gw-8, vendor: bulkhead.example, class: pi-gateway }\n", "E_CAP"],
    ["another root", "trust: { root: other.envelope }\n", "E_CAP"],
    ["another data folder", "data: elsewhere\n", "E_CAP"],
    ["another broker", 'broker: { url: "mqtt://evil.example" }\n', "E_CAP"],
    ["an anchor", "data: &a [*a]\n", "E_CONFIG"],
    ["two documents", "---\na: 1\n---\n", "E_CONFIG"],
    ["a key of a prototype", "__proto__: { x: 1 }\n", "E_UNKNOWN"],
    ["deep nesting", `data: ${"[".repeat(5000)}${"]".repeat(5000)}\n`, "E_CONFIG"],
  ])("with %s is refused: %#", async (_, text, code) => {
    const gateway = bench();
    const configuration = publish(gateway, text + running(["threshold", "uplink"]));
    expect(await planned(gateway, 1, both, configuration)).toMatchObject({ code, state: "rejected" });
    expect(gateway.runtime.calls).not.toContain("policy");
  });

  it("cannot widen what the gateway's own file marks: E_CAP", async () => {
    const own = gatewayText(["threshold", "uplink"], (name) =>
      name === "uplink" ? "{ grants: { out: { mqtt: { publish: [plant/alarm], local-only: true } } } }" : "{}",
    );
    const gateway = bench({ own });
    const configuration = publish(gateway, grants("{ mqtt: { publish: [plant/#] } }"));
    const result = await planned(gateway, 1, both, configuration);
    expect(result).toMatchObject({ code: "E_CAP", state: "rejected" });
    expect(result.reason).toContain("would gain 'publish' on mqtt:plant/#");
  });
});

describe("a boot with a configuration", () => {
  /** Two configurations have been committed: the second is in force, the first belongs to the set before it. */
  async function twice(): Promise<{ gateway: Bench; second: Uint8Array }> {
    const gateway = bench();
    const first = publish(gateway, running(["threshold", "uplink"]), { version: 1 });
    const second = publish(gateway, running(["uplink"]), { version: 2 });
    expect(await planned(gateway, 1, [threshold, uplink], first)).toMatchObject({ code: "OK" });
    expect(await planned(gateway, 3, [uplink], second)).toMatchObject({ code: "OK" });
    return { gateway, second };
  }

  it("that is damaged on the disk runs the whole set before it, with its configuration", async () => {
    const { gateway, second } = await twice();
    writeFileSync(join(gateway.folder, "envelopes", second.toHex()), "damaged");
    const next = await gateway.restart();
    expect(next.boot.source).toBe("previous");
    expect([...next.boot.modules.keys()].sort()).toEqual(["threshold", "uplink"]);
    expect(next.boot.configuration?.system.modules).toHaveLength(2);
    await next.close();
  });

  it("that a root has revoked runs the whole set before it: E_REVOKED is told", async () => {
    const { gateway, second } = await twice();
    const root = signRoot(rootDocument({ version: 2, revokedDigests: [second] }), rootKeys.slice(0, 2));
    gateway.broker.retain(topics.root(2), root);
    while (gateway.agent.trust.root.version !== 2) await new Promise((resolve) => setTimeout(resolve, 2));
    const next = await gateway.restart();
    expect(next.boot.source).toBe("previous");
    expect(next.boot.findings.join("\n")).toContain("E_REVOKED");
    await next.close();
  });

  it("that the gateway's own file does not allow any more runs the set before it, and says why", async () => {
    const gateway = bench();
    const grant = "{ mqtt: { publish: [plant/#] } }";
    const configuration = publish(
      gateway,
      running(["threshold", "uplink"], () => `{ grants: { s: ${grant} } }`),
    );
    expect(await planned(gateway, 1, [threshold, uplink], configuration)).toMatchObject({ code: "OK" });
    const own = `${gatewayText()}rules:\n  - { deny: "* -> mqtt", local-only: true }\n`;
    const next = await gateway.restart({ own });
    expect(next.boot.configuration).toBeUndefined();
    expect([...next.boot.modules.keys()].sort()).toEqual(["threshold", "uplink"]);
    expect(next.boot.findings.join("\n")).toMatch(/the installed set is not used: E_CAP: .*would gain 'publish'/);
    await next.close();
  });
});
