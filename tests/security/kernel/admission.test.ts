/** Hostile binaries and manifests at admission: each refused with its exact code, before a byte of it is compiled. */
import { describe, expect, test } from "vitest";
import type { Grant } from "../../../kernel/index.ts";
import { admitModule, encodeCbor, LIMITS } from "../../../kernel/index.ts";
import type { ManifestFields } from "../../support/modules.ts";
import { manifestFields, moduleBinary, moduleSpec, watBinary, watModule, withSection } from "../../support/modules.ts";
import { endpoint, endpointSlot, LOG, LOG_SLOT } from "../../support/probe.ts";

const HANDLE = `(func (export "bulkhead_handle") (param i32 i32) (result i64) (i64.const 0))`;
const SEND_TYPE = "(param i32 i32 i32 i32) (result i32)";
const OUT = { out: endpointSlot(["send"]) };

async function codeOf(binary: Uint8Array, grants: Grant[] = [], name = "probe"): Promise<string> {
  return await admitModule(binary, moduleSpec(name, grants)).then(
    () => "admitted",
    (error: unknown) => (error as { code?: string }).code ?? String(error),
  );
}

const wat = (imports: string, extra = ""): string => watModule(imports, `${HANDLE}${extra}`);

describe("imports", () => {
  test.each<[string, string, ManifestFields["slots"], Grant[], string]>([
    ["an ungranted slot", `(import "out" "send" (func ${SEND_TYPE}))`, OUT, [], "E_CAP"],
    [
      "a slot that the manifest does not name",
      `(import "out" "send" (func ${SEND_TYPE}))`,
      {},
      [endpoint("a.in")],
      "E_CAP",
    ],
    [
      "an operation that the interface lacks",
      `(import "out" "steal" (func ${SEND_TYPE}))`,
      OUT,
      [endpoint("a.in")],
      "E_CAP",
    ],
    [
      "an operation named like a member of Object",
      `(import "out" "constructor" (func ${SEND_TYPE}))`,
      OUT,
      [endpoint("a.in")],
      "E_CAP",
    ],
    [
      "an operation named __proto__",
      `(import "out" "__proto__" (func ${SEND_TYPE}))`,
      OUT,
      [endpoint("a.in")],
      "E_CAP",
    ],
    ["a wrong signature", `(import "out" "send" (func (param i32) (result i32)))`, OUT, [endpoint("a.in")], "E_CAP"],
    [
      "a wrong result",
      `(import "out" "send" (func (param i32 i32 i32 i32) (result i64)))`,
      OUT,
      [endpoint("a.in")],
      "E_CAP",
    ],
    [
      "a right that its manifest does not ask for",
      `(import "out" "call" (func (param i32 i32 i32 i32 i32) (result i32)))`,
      OUT,
      [endpoint("a.in")],
      "E_CAP",
    ],
    [
      "a right that the grant lacks",
      `(import "out" "send" (func ${SEND_TYPE}))`,
      OUT,
      [endpoint("a.in", { rights: ["call"] })],
      "E_CAP",
    ],
    [
      "a slot that is granted as another interface",
      `(import "out" "send" (func ${SEND_TYPE}))`,
      OUT,
      [{ ...LOG, slot: "out" }],
      "E_CAP",
    ],
    ["a global", `(import "out" "send" (global i32))`, OUT, [endpoint("a.in")], "E_CAP"],
    [
      "a mutable global of another module",
      `(import "out" "memory" (global (mut i32)))`,
      OUT,
      [endpoint("a.in")],
      "E_CAP",
    ],
    ["a table", `(import "out" "send" (table 1 funcref))`, OUT, [endpoint("a.in")], "E_CAP"],
    ["the kernel's own module", `(import "bulkhead:meter" "exhausted" (func))`, {}, [], "E_CAP"],
    ["a slot named __proto__", `(import "__proto__" "send" (func ${SEND_TYPE}))`, {}, [], "E_CAP"],
    ["a slot named constructor", `(import "constructor" "send" (func ${SEND_TYPE}))`, {}, [], "E_CAP"],
    ["the empty names", `(import "" "" (func))`, {}, [], "E_CAP"],
    [
      "a clock without a grant",
      `(import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))`,
      {},
      [],
      "E_CAP",
    ],
  ])("of %s are refused", async (_, imports, slots, grants, code) => {
    expect(await codeOf(moduleBinary(wat(imports), manifestFields("probe", { slots })), grants)).toBe(code);
  });

  test("of a memory are refused", async () => {
    const text = `(module (import "out" "memory" (memory 1)) (export "memory" (memory 0))
      (func (export "bulkhead_inbox") (result i32) (i32.const 1024)) ${HANDLE})`;
    expect(await codeOf(moduleBinary(text, manifestFields("probe", { slots: OUT })), [endpoint("a.in")])).toBe("E_CAP");
  });

  test("refused name module, slot, operation and the line to add", async () => {
    const binary = moduleBinary(
      wat(`(import "out" "send" (func ${SEND_TYPE}))`),
      manifestFields("probe", { slots: OUT }),
    );
    const error = (await admitModule(binary, moduleSpec("probe")).catch((caught: unknown) => caught)) as {
      message: string;
      detail: { hint: string };
    };
    expect(error.message).toContain("probe.out.send");
    expect(error.detail.hint).toContain("modules.probe.grants");
  });
});

describe("manifests", () => {
  const binary = watBinary(wat(""));
  const withManifest = (value: unknown): Uint8Array => withSection(binary, "bulkhead", encodeCbor(value as never));
  const bare = manifestFields("probe");

  test.each<[string, unknown, string]>([
    ["a name with a path separator", { ...bare, name: "../probe" }, "E_MANIFEST"],
    ["a name with NUL", { ...bare, name: "probe\0" }, "E_MANIFEST"],
    ["a name of capitals", { ...bare, name: "Probe" }, "E_MANIFEST"],
    ["the name __proto__", { ...bare, name: "__proto__" }, "E_MANIFEST"],
    ["a name of 49 characters", { ...bare, name: "a".repeat(49) }, "E_MANIFEST"],
    ["an empty name", { ...bare, name: "" }, "E_MANIFEST"],
    ["a version that is not semantic", { ...bare, version: "1.0" }, "E_MANIFEST"],
    ["a version of unbounded length", { ...bare, version: `1.0.${"9".repeat(80)}` }, "E_MANIFEST"],
    ["an unknown kind", { ...bare, kind: "kernel" }, "E_MANIFEST"],
    ["an unknown key", { ...bare, root: true }, "E_MANIFEST"],
    ["a missing key", Object.fromEntries(Object.entries(bare).filter(([key]) => key !== "fuel")), "E_MANIFEST"],
    ["two ports of one name", { ...bare, ports: [bare.ports[0], bare.ports[0]] }, "E_MANIFEST"],
    [
      "65 ports",
      { ...bare, ports: Array.from({ length: 65 }, (_, i) => ({ ...bare.ports[0], name: `p${i}` })) },
      "E_MANIFEST",
    ],
    ["a slot of the kernel's", { ...bare, slots: { "bulkhead-x": LOG_SLOT } }, "E_MANIFEST"],
    ["a slot named handles of another interface", { ...bare, slots: { handles: LOG_SLOT } }, "E_MANIFEST"],
    [
      "a slot named constructor of no interface",
      { ...bare, slots: { log: { ...LOG_SLOT, interface: "constructor" } } },
      "E_MANIFEST",
    ],
    ["a right that the interface lacks", { ...bare, slots: { log: { ...LOG_SLOT, rights: ["read"] } } }, "E_MANIFEST"],
    [
      "an event port that is not there",
      { ...bare, slots: { t: { interface: "timer", rights: ["use"], port: "x" } } },
      "E_MANIFEST",
    ],
    [
      "an event port of an interface without events",
      { ...bare, slots: { log: { ...LOG_SLOT, port: "in" } } },
      "E_MANIFEST",
    ],
    ["no memory", { ...bare, memory: 0 }, "E_MANIFEST"],
    ["2 GiB of memory", { ...bare, memory: 32_768 }, "E_MANIFEST"],
    ["an inbox too small for a header", { ...bare, inbox: 64 }, "E_MANIFEST"],
    ["an inbox above 64 KiB and its header", { ...bare, inbox: LIMITS.payloadBytes + 65 }, "E_MANIFEST"],
    ["a state above its limit", { ...bare, state: LIMITS.stateBytes + 1 }, "E_MANIFEST"],
    ["no fuel", { ...bare, fuel: 0 }, "E_MANIFEST"],
    ["endless fuel", { ...bare, fuel: LIMITS.activationFuelMaximum + 1 }, "E_MANIFEST"],
    ["a negative schema", { ...bare, schema: -1 }, "E_MANIFEST"],
    ["NaNs by name", { ...bare, nans: "canonical" }, "E_MANIFEST"],
    ["fuel as text", { ...bare, fuel: "100" }, "E_MANIFEST"],
    ["more memory than granted", { ...bare, memory: 17 }, "E_SIZE"],
    ["another module's name", { ...bare, name: "other" }, "E_MANIFEST"],
    ["ABI 2", { ...bare, abi: 2 }, "E_ABI"],
    ["an array in place of the map", [1, 2, 3], "E_MANIFEST"],
  ])("with %s are refused", async (_, value, code) => {
    expect(await codeOf(withManifest(value))).toBe(code);
  });

  test.each<[string, Uint8Array]>([
    ["no manifest", binary],
    ["two manifests", withSection(withManifest(bare), "bulkhead", encodeCbor(bare as never))],
    ["an empty manifest", withSection(binary, "bulkhead", new Uint8Array(0))],
    [
      "a manifest with bytes behind it",
      withSection(binary, "bulkhead", Uint8Array.from([...encodeCbor(bare as never), 0])),
    ],
    ["deep CBOR", withSection(binary, "bulkhead", Uint8Array.from([...new Uint8Array(5000).fill(0x81), 0]))],
    ["an indefinite map", withSection(binary, "bulkhead", Uint8Array.from([0xbf, 0xff]))],
    ["a bignum", withSection(binary, "bulkhead", Uint8Array.from([0xc2, 0x41, 1]))],
    ["duplicate keys", withSection(binary, "bulkhead", Uint8Array.from([0xa2, 0x61, 0x61, 0, 0x61, 0x61, 0]))],
    ["invalid UTF-8", withSection(binary, "bulkhead", Uint8Array.from([0xa1, 0x61, 0xff, 0]))],
    ["a manifest of 17 KiB", withSection(binary, "bulkhead", new Uint8Array(17 * 1024))],
  ])("that are %s are refused", async (_, bytes) => {
    expect(await codeOf(bytes)).toBe("E_MANIFEST");
  });
});

describe("binaries", () => {
  const whole = moduleBinary(wat(""), { name: "probe" });

  test.each<[string, Uint8Array, string]>([
    ["nothing", new Uint8Array(0), "E_WASM"],
    ["text", new TextEncoder().encode("#!/bin/sh\nreboot"), "E_WASM"],
    ["another version", Uint8Array.from([...whole.subarray(0, 4), 2, 0, 0, 0, ...whole.subarray(8)]), "E_WASM"],
    ["cut short", whole.subarray(0, whole.length - 20), "E_WASM"],
    ["too large", new Uint8Array(LIMITS.binaryBytes + 1), "E_SIZE"],
  ])("that are %s are refused", async (_, bytes, code) => {
    expect(await codeOf(bytes)).toBe(code);
  });

  test("whose memory is larger than their manifest says are refused", async () => {
    expect(await codeOf(moduleBinary(watModule("", HANDLE, 5), { name: "probe" }))).toBe("E_SIZE");
  });

  test("that change while they are admitted are admitted as they were", async () => {
    const bytes = whole.slice();
    const admitted = admitModule(bytes, moduleSpec("probe"));
    bytes.fill(0);
    expect((await admitted).manifest.name).toBe("probe");
  });

  test("with every byte flipped in turn are admitted or refused by code, never anything else", async () => {
    for (let at = 0; at < whole.length; at++) {
      const bytes = whole.slice();
      bytes[at] = (bytes[at] ?? 0) ^ 0xff;
      expect(await codeOf(bytes)).toMatch(/^(admitted|E_[A-Z]+)$/);
    }
  });
});
