/** The verbs why, plan and graph, as the operator calls them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { encodeConfiguration, encodeEnvelope } from "../../gateway/envelopes/index.ts";
import { ConfigurationError } from "../../gateway/config/index.ts";
import type { Command } from "../../tools/command.ts";
import { graphCommand, planCommand, whyCommand } from "../../tools/policy/index.ts";
import { broken, VALID } from "../config/support.ts";
import { ECHO, manifestFields, moduleBinary, watModule } from "../support/modules.ts";
import { runVerb } from "../support/verb.ts";

const folder = mkdtempSync(join(tmpdir(), "bulkhead-policy-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function write(name: string, content: string | Uint8Array): string {
  const file = join(folder, name);
  writeFileSync(file, content);
  return file;
}

const IN_FORCE = write("gateway.yaml", VALID);

async function call(
  command: Command,
  ...args: readonly string[]
): Promise<{ code: number; out: string; errors: string }> {
  return runVerb(command, args);
}

describe("bulkhead why", () => {
  it("ends with 0 for what is allowed and 1 for what is denied", async () => {
    expect((await call(whyCommand, "bme280", "sensor", "--config", IN_FORCE)).code).toBe(0);
    const denied = await call(whyCommand, "uplink", "bme280.control", "--config", IN_FORCE);
    expect(denied.code).toBe(1);
    expect(denied.out).toContain("uplink -> bme280.control: denied");
  });

  it("says which manifests it did not know", async () => {
    const { errors } = await call(whyCommand, "bme280", "sensor", "--config", IN_FORCE);
    expect(errors).toContain("manifest not known: bme280: E_UNKNOWN: cannot read");
    expect(errors).toContain("manifest not known: uplink: it comes with an update");
  });

  it("prints one JSON object", async () => {
    const { out } = await call(whyCommand, "uplink", "north", "--json", "--config", IN_FORCE);
    expect(JSON.parse(out)).toMatchObject({ allowed: true, module: "uplink", asked: "north", next: null });
  });
});

describe("bulkhead plan", () => {
  it("tells what a new file would change", async () => {
    const file = write("new.yaml", broken("site/7/#", "site/8/#"));
    const { code, out } = await call(planCommand, file, "--config", IN_FORCE);
    expect(code).toBe(0);
    expect(out).toContain("+ grant    uplink.north -> mqtt:site/8/# (publish)");
  });

  it("reads the layers of the new file", async () => {
    const file = write("layered.yaml", VALID);
    const { mkdirSync } = await import("node:fs");
    mkdirSync(join(folder, "layered.d"));
    write("layered.d/10-lock.yaml", "rules:\n  - deny: '* -> gpio-line'\n");
    write("layered.d/.hidden.yaml", "nonsense: 1\n");
    write("layered.d/notes.txt", "nonsense");
    const { out } = await call(planCommand, file, "--config", IN_FORCE, "--json");
    expect(JSON.parse(out)).toMatchObject({
      ok: true,
      lost: [{ module: "uplink", slot: "relay", target: "gpio-line:0/17", rights: ["read", "write"] }],
      rules: { added: ["deny: * -> gpio-line"] },
    });
  });

  it("runs the assertions of the new file", async () => {
    const file = write("failing.yaml", `${VALID}tests:\n  - deny: bme280 -> uplink\n`);
    await expect(call(planCommand, file, "--config", IN_FORCE)).rejects.toThrow(/does not hold/);
  });

  it("holds a received configuration to the marks of the one in force", async () => {
    const local = write("local.yaml", `${VALID}rules:\n  - { deny: '* -> http', local-only: true }\n`);
    const content = broken("tick: { timer: {} }", "tick: { http: { origin: 'http://a.example' } }");
    const payload = encodeConfiguration({ target: "gw-7", version: 1, issued: 1_700_000_000, content });
    const signature = { keyId: new Uint8Array(16), signature: new Uint8Array(64) };
    const file = write("new.envelope", encodeEnvelope({ kind: "configuration", payload, signatures: [signature] }));
    const { code, errors } = await call(planCommand, file, "--config", local);
    expect(code).toBe(1);
    expect(errors).toContain("bme280.tick would gain 'request' on http:http://a.example");
  });

  it("takes a module's binary, and warns of a slot that it asks for and never imports", async () => {
    const slots = { tick: { interface: "timer", rights: ["use"], port: null } };
    const wasm = moduleBinary(watModule("", ECHO), manifestFields("bme280", { slots, memory: 4 }));
    const file = write("bme280.wasm", wasm);
    const { out } = await call(planCommand, file, "--config", IN_FORCE);
    expect(out).toContain("~ module   bme280: swapped; version none -> 1.0.0");
    expect(out).toContain("excess privilege: bme280 asks for 'tick' (timer) and never uses it");
  });

  it("refuses a proposal that is not valid with every place in it", async () => {
    const file = write("bad.yaml", broken("priority: 2", "prioritty: 2"));
    await expect(call(planCommand, file, "--config", IN_FORCE)).rejects.toThrow(ConfigurationError);
    await expect(call(planCommand, join(folder, "absent.yaml"), "--config", IN_FORCE)).rejects.toThrow(/no such file/);
  });
});

describe("bulkhead graph", () => {
  it("draws Mermaid, DOT or JSON", async () => {
    expect((await call(graphCommand, IN_FORCE)).out).toMatch(/^flowchart LR\n/);
    expect((await call(graphCommand, IN_FORCE, "--format", "dot")).out).toMatch(/^digraph bulkhead \{\n/);
    const { groups } = JSON.parse((await call(graphCommand, IN_FORCE, "--json")).out) as { groups: unknown[] };
    expect(groups).toHaveLength(5);
  });
});

describe("each verb about policy", () => {
  it.each([whyCommand, planCommand, graphCommand])(
    "has help, and ends with 2 on wrong usage: $name",
    async (command) => {
      const help = await call(command, "--help");
      expect([help.code, help.out]).toEqual([0, command.help]);
      const wrong = await call(command, "one", "two", "three");
      expect(wrong.code).toBe(2);
      expect(wrong.errors).toContain(`bulkhead ${command.name}: name`);
    },
  );
});
