/** Hostile binaries and manifests: each is refused by code before a byte of it runs, and the refusal stays in the audit log. */
import { describe, expect, it } from "vitest";
import type { CborInput, Grant } from "../../../kernel/index.ts";
import { encodeCbor } from "../../../kernel/index.ts";
import type { ManifestFields } from "../../support/modules.ts";
import { manifestFields, moduleBinary, watBinary, watModule, withSection } from "../../support/modules.ts";
import { endpoint, endpointSlot, LOG } from "../../support/probe.ts";
import { refusedLine } from "./support.ts";

const HANDLE = `(func (export "bulkhead_handle") (param i32 i32) (result i64) (i64.const 0))`;
const INBOX = `(func (export "bulkhead_inbox") (result i32) (i32.const 1024))`;
const MEMORY = `(memory (export "memory") 1)`;
const SEND = "(param i32 i32 i32 i32) (result i32)";
const OUT = { out: endpointSlot(["send"]) };
const TO = [endpoint("a.in", { rights: ["send"] })];

function withImports(imports: string, slots: ManifestFields["slots"] = OUT): Uint8Array {
  return moduleBinary(watModule(imports, HANDLE), manifestFields("probe", { slots }));
}

async function expectRefused(binary: Uint8Array, grants: readonly Grant[], code: string, words: string): Promise<void> {
  const refused = await refusedLine(binary, grants);
  expect(refused.code).toBe(code);
  expect(refused.line).toMatchObject({ kind: "refused", source: "probe", subject: code });
  expect(refused.line?.detail["text"]).toContain(words);
}

describe("an import", () => {
  it.each<[string, Uint8Array, readonly Grant[], string]>([
    ["of an ungranted slot", withImports(`(import "out" "send" (func ${SEND}))`), [], "imported but not granted"],
    ["of a slot that the manifest lacks", withImports(`(import "x" "send" (func ${SEND}))`), TO, "does not name"],
    [
      "of an operation that does not exist",
      withImports(`(import "out" "grab" (func ${SEND}))`),
      TO,
      "no operation grab",
    ],
    ["with a wrong signature", withImports(`(import "out" "send" (func (param i64)))`), TO, "another signature"],
    ["with one result too many", withImports(`(import "out" "send" (func ${SEND.replace("i32)", "i64)")}))`), TO, ""],
    ["of a global", withImports(`(import "out" "send" (global i32))`), TO, "is a global"],
    ["of a table", withImports(`(import "out" "send" (table 1 funcref))`), TO, "is a table"],
    [
      "of a memory",
      moduleBinary(
        `(module (import "out" "memory" (memory 1)) (export "memory" (memory 0)) ${INBOX} ${HANDLE})`,
        manifestFields("probe", { slots: OUT }),
      ),
      TO,
      "is a memory",
    ],
    [
      "of a right that the manifest does not ask for",
      withImports(`(import "out" "call" (func (param i32 i32 i32 i32 i32) (result i32)))`),
      [endpoint("a.in")],
      "does not ask for",
    ],
    [
      "of a right that the grant lacks",
      withImports(`(import "out" "send" (func ${SEND}))`),
      [endpoint("a.in", { rights: ["call"] })],
      "needs a right that the grant lacks",
    ],
    [
      "of a slot granted as another interface",
      withImports(`(import "out" "send" (func ${SEND}))`),
      [{ ...LOG, slot: "out" }],
      "granted as another interface",
    ],
    ["of the kernel's own meter", withImports(`(import "bulkhead:meter" "exhausted" (func))`), TO, "does not name"],
    ["of a slot named __proto__", withImports(`(import "__proto__" "send" (func ${SEND}))`), TO, "__proto__"],
    ["of a slot named constructor", withImports(`(import "constructor" "send" (func ${SEND}))`), TO, "constructor"],
    ["of an operation named toString", withImports(`(import "out" "toString" (func ${SEND}))`), TO, "no operation"],
    [
      "of WASI without a grant",
      withImports(`(import "wasi_snapshot_preview1" "fd_write" (func))`),
      TO,
      "does not name",
    ],
  ])("%s is refused: E_CAP", async (_, binary, grants, words) => {
    await expectRefused(binary, grants, "E_CAP", words);
  });
});

describe("an export", () => {
  it.each<[string, string]>([
    ["no handler", `(module ${MEMORY} ${INBOX})`],
    ["a handler of another type", `(module ${MEMORY} ${INBOX} (func (export "bulkhead_handle") (param i32)))`],
    [
      "a global in the handler's place",
      `(module ${MEMORY} ${INBOX} (global (export "bulkhead_handle") i32 (i32.const 0)))`,
    ],
    ["no inbox", `(module ${MEMORY} ${HANDLE})`],
    ["a function in the memory's place", `(module (memory 1) ${INBOX} ${HANDLE} (func (export "memory")))`],
    [
      "a save without a restore",
      `(module ${MEMORY} ${INBOX} ${HANDLE} (func (export "bulkhead_save") (result i64) (i64.const 0)))`,
    ],
  ])("makes a module refused that has %s: E_ABI", async (_, wat) => {
    await expectRefused(moduleBinary(wat, manifestFields("probe")), [], "E_ABI", "E_ABI");
  });
});

describe("a manifest that disagrees with its binary or with the ABI", () => {
  const wat = watModule("", HANDLE);
  const fields = manifestFields("probe");
  it.each<[string, unknown, string, string]>([
    ["another module's name", { ...fields, name: "other" }, "E_MANIFEST", "this binary is the module other"],
    ["a name with a path separator", { ...fields, name: "../probe" }, "E_MANIFEST", "name"],
    ["the name __proto__", { ...fields, name: "__proto__" }, "E_MANIFEST", "name"],
    ["a slot named like the kernel's own", { ...fields, slots: { "bulkhead-x": OUT.out } }, "E_MANIFEST", "kernel's"],
    ["a slot named toString", { ...fields, slots: { toString: OUT.out } }, "E_MANIFEST", "name"],
    ["another ABI", { ...fields, abi: 2 }, "E_ABI", "ABI 2"],
    ["two ports of one name", { ...fields, ports: [fields.ports[0], fields.ports[0]] }, "E_MANIFEST", "one name"],
    ["an unknown right", { ...fields, slots: { out: endpointSlot(["send", "root"]) } }, "E_MANIFEST", "no right root"],
    ["a port named __proto__", { ...fields, ports: [{ ...fields.ports[0], name: "__proto__" }] }, "E_MANIFEST", "name"],
    ["a port named toString", { ...fields, ports: [{ ...fields.ports[0], name: "toString" }] }, "E_MANIFEST", "name"],
    [
      "events of a line that it may only write to",
      { ...fields, slots: { line: { interface: "uart", rights: ["write"], port: "in" } } },
      "E_MANIFEST",
      "events of uart need the right read",
    ],
    ["an inbox beyond the ABI", { ...fields, inbox: 64 * 1024 + 65 }, "E_MANIFEST", "inbox"],
    ["more memory than it is granted", { ...fields, memory: 1000 }, "E_SIZE", "more memory"],
    ["a key that nobody knows", { ...fields, root: true }, "E_MANIFEST", "manifest"],
    [
      "a contract of no kind",
      { ...fields, contracts: { c: { message: [["a", false, "eval"]] } } },
      "E_MANIFEST",
      "kind",
    ],
    [
      "a contract with one field twice",
      {
        ...fields,
        contracts: {
          c: {
            message: [
              ["a", false, "number"],
              ["a", false, "number"],
            ],
          },
        },
      },
      "E_MANIFEST",
      "twice",
    ],
  ])("is refused with %s", async (_, manifest, code, words) => {
    const binary = withSection(watBinary(wat), "bulkhead", encodeCbor(manifest as CborInput));
    await expectRefused(binary, [], code, words);
  });

  it("is refused where its binary has less memory than it needs at once", async () => {
    await expectRefused(
      moduleBinary(watModule("", HANDLE, 8), manifestFields("probe", { memory: 4 })),
      [],
      "E_SIZE",
      "",
    );
  });

  it("is refused where there are two of it", async () => {
    const once = moduleBinary(wat, fields);
    await expectRefused(withSection(once, "bulkhead", encodeCbor(fields as never)), [], "E_MANIFEST", "one manifest");
  });
});

describe("a manifest in hostile CBOR", () => {
  const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"));
  it.each<[string, Uint8Array, string]>([
    ["a tag-2 bignum of 15 KiB", Uint8Array.from([0xc2, 0x59, 0x3c, 0x00, ...new Uint8Array(0x3c00).fill(255)]), "tag"],
    ["ten thousand nested arrays", new Uint8Array(10_000).fill(0x81), "too-deep"],
    ["a duplicate key", hex("a2616101616102"), "duplicate-key"],
    ["a break inside an array: 81ff", hex("81ff"), "indefinite-length"],
    ["a two-byte simple value: f815", hex("f815"), "simple-value"],
    ["tag 27, an object of cbor-x", hex("d81b82656572726f726178"), "tag"],
    ["tag 28, a shared reference", hex("d81c80"), "tag"],
    ["tag 51, a packed table", hex("d8338101"), "tag"],
    ["tag 105, a record", hex("d8698119e000"), "tag"],
    ["an indefinite length", hex("bf6161016162ff"), "indefinite-length"],
    ["bytes after the item", hex("a000"), "trailing-bytes"],
    ["a text that is not UTF-8", hex("a161ff01"), "invalid-utf8"],
    ["a key that is a map", hex("a1a001"), "key-type"],
    ["an array of 2^32 - 1 items", hex("9affffffff"), "truncated"],
  ])("is refused: %s", async (_, section, words) => {
    const binary = withSection(watBinary(watModule("", HANDLE)), "bulkhead", section);
    await expectRefused(binary, [], "E_MANIFEST", words);
  });
});

describe("a binary", () => {
  it.each<[string, Uint8Array, string]>([
    ["that is none", new TextEncoder().encode("#!/bin/sh\nreboot\n"), "E_WASM"],
    ["that is cut off", moduleBinary(watModule("", HANDLE), { name: "probe" }).slice(0, 60), "E_WASM"],
    ["beyond the limit", new Uint8Array(8 * 1024 * 1024 + 1), "E_SIZE"],
  ])("%s is refused", async (_, binary, code) => {
    await expectRefused(binary, [], code, code);
  });
});
