/** What a binary must export, with which type: checked before anything of it is compiled. */
import { describe, expect, test } from "vitest";
import type { Refusal } from "../../kernel/index.ts";
import { ABI_EXPORTS, ABI_VERSION, admitModule, inspectModule, STATE_EXPORTS } from "../../kernel/index.ts";
import { manifestFields, moduleBinary, moduleSpec } from "../support/modules.ts";

/** A WAT definition of each export as the ABI wants it. */
const RIGHT: Readonly<Record<string, string>> = {
  memory: `(memory (export "memory") 1)`,
  _initialize: `(func (export "_initialize"))`,
  bulkhead_inbox: `(func (export "bulkhead_inbox") (result i32) (i32.const 1024))`,
  bulkhead_handle: `(func (export "bulkhead_handle") (param i32 i32) (result i64) (i64.const 0))`,
  bulkhead_save: `(func (export "bulkhead_save") (result i64) (i64.const 0))`,
  bulkhead_state: `(func (export "bulkhead_state") (param i32) (result i32) (i32.const 0))`,
  bulkhead_restore: `(func (export "bulkhead_restore") (param i32 i32) (result i32) (i32.const 0))`,
  bulkhead_health: `(func (export "bulkhead_health") (result i32) (i32.const 0))`,
};

/** The same exports with other types or as other kinds. */
const WRONG: Readonly<Record<string, readonly string[]>> = {
  memory: [`(func (export "memory"))`, `(global (export "memory") i32 (i32.const 0))`],
  _initialize: [
    `(func (export "_initialize") (param i32))`,
    `(func (export "_initialize") (result i32) (i32.const 0))`,
    `(global (export "_initialize") i32 (i32.const 0))`,
  ],
  bulkhead_inbox: [
    `(func (export "bulkhead_inbox") (result i64) (i64.const 1024))`,
    `(func (export "bulkhead_inbox") (param i32) (result i32) (i32.const 1024))`,
    `(global (export "bulkhead_inbox") i32 (i32.const 1024))`,
  ],
  bulkhead_handle: [
    `(func (export "bulkhead_handle") (param i32 i32) (result i32) (i32.const 0))`,
    `(func (export "bulkhead_handle") (param i32) (result i64) (i64.const 0))`,
    `(func (export "bulkhead_handle") (param i32 i32))`,
    `(table (export "bulkhead_handle") 1 funcref)`,
  ],
  bulkhead_save: [
    `(func (export "bulkhead_save") (result i32) (i32.const 0))`,
    `(func (export "bulkhead_save") (param i32) (result i64) (i64.const 0))`,
  ],
  bulkhead_state: [
    `(func (export "bulkhead_state") (result i32) (i32.const 0))`,
    `(func (export "bulkhead_state") (param i64) (result i32) (i32.const 0))`,
  ],
  bulkhead_restore: [
    `(func (export "bulkhead_restore") (param i32) (result i32) (i32.const 0))`,
    `(func (export "bulkhead_restore") (param i32 i32))`,
  ],
  bulkhead_health: [
    `(func (export "bulkhead_health") (result i64) (i64.const 0))`,
    `(func (export "bulkhead_health"))`,
  ],
};

function binary(changes: Readonly<Record<string, string>> = {}, names = Object.keys(RIGHT)): Uint8Array {
  const body = names.map((name) => changes[name] ?? RIGHT[name]).join("\n");
  return moduleBinary(`(module ${body})`, { name: "probe" });
}

function refusal(bytes: Uint8Array): { code: string; message: string } {
  try {
    inspectModule(bytes);
  } catch (error) {
    const { code, message } = error as Refusal;
    return { code, message };
  }
  return { code: "none", message: "" };
}

test("every export of the table is tried here", () => {
  const names = ABI_EXPORTS.map(({ name }) => name);
  expect(Object.keys(RIGHT)).toEqual(names);
  expect(Object.keys(WRONG)).toEqual(names);
});

test("a binary with every export passes, and they are listed", () => {
  expect(inspectModule(binary()).exports).toEqual(Object.keys(RIGHT));
});

test("only memory, the inbox and the handler are required", () => {
  const required = ABI_EXPORTS.filter((item) => item.required).map(({ name }) => name);
  expect(required).toEqual(["memory", "bulkhead_inbox", "bulkhead_handle"]);
  expect(inspectModule(binary({}, required)).exports).toEqual(required);
});

describe.each(ABI_EXPORTS.map(({ name, required }) => ({ name, required })))("$name", ({ name, required }) => {
  const isState = STATE_EXPORTS.some((state) => state === name);
  const others = Object.keys(RIGHT).filter((other) => other !== name);

  test(required || isState ? "cannot be missing" : "can be missing", () => {
    const found = refusal(binary({}, others));
    if (required) expect(found).toMatchObject({ code: "E_ABI", message: expect.stringContaining(name) as string });
    else expect(found.code).toBe(isState ? "E_ABI" : "none");
  });

  test.each(WRONG[name] ?? [])("is refused as %s", (wat) => {
    expect(refusal(binary({ [name]: wat }))).toMatchObject({
      code: "E_ABI",
      message: expect.stringContaining(name) as string,
    });
  });
});

test("the state exports without the others are refused", () => {
  const few = ["memory", "bulkhead_inbox", "bulkhead_handle", "bulkhead_save", "bulkhead_restore"];
  expect(refusal(binary({}, few))).toMatchObject({ code: "E_ABI" });
});

test.each([0, ABI_VERSION + 1, 0xffff])("a manifest of ABI %d is refused", (abi) => {
  const wat = `(module ${Object.values(RIGHT).join("\n")})`;
  expect(refusal(moduleBinary(wat, manifestFields("probe", { abi })))).toMatchObject({ code: "E_ABI" });
});

test("exports that the ABI does not know are harmless and listed", () => {
  const wat = `(module ${Object.values(RIGHT).join("\n")} (func (export "my_own")))`;
  expect(inspectModule(moduleBinary(wat, { name: "probe" })).foreignExports).toEqual(["my_own"]);
});

test("an export with a name of the kernel's own is refused", async () => {
  const wat = `(module ${Object.values(RIGHT).join("\n")} (func (export "bulkhead:enter")))`;
  await expect(admitModule(moduleBinary(wat, { name: "probe" }), moduleSpec("probe"))).rejects.toMatchObject({
    code: "E_WASM",
  });
});
