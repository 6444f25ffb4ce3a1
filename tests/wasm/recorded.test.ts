/** A guest that is recorded reaches nothing of its recorder: not its memory, its globals, its functions or its names. */
import { describe, expect, test } from "vitest";
import { DEFAULT_METER_OPTIONS, meter, Refusal } from "../../kernel/index.ts";
import { compileWat } from "./support.ts";

const OPTIONS = { ...DEFAULT_METER_OPTIONS, recorded: [] };

function refusal(binary: Uint8Array): string {
  try {
    meter(binary, OPTIONS);
  } catch (error) {
    if (error instanceof Refusal) return error.message;
    throw error;
  }
  return "accepted";
}

/** The binary of a function with this body, in which the one place that reads `from` is made to read `to`. */
async function forged(body: string, from: readonly number[], to: readonly number[]): Promise<Uint8Array> {
  const binary = await compileWat(
    `(module (memory (export "memory") 1) (global (mut i32) (i32.const 0)) (func (export "f") ${body}))`,
  );
  expect(refusal(binary)).toBe("accepted");
  const places = [...binary.keys()].filter((at) => from.every((byte, index) => binary[at + index] === byte));
  expect(places).toHaveLength(1);
  binary.set(to, places[0]);
  return binary;
}

describe("a binary is refused that names", () => {
  test.each([
    ["the log in a load", "(drop (i32.load8_u (i32.const 77)))", [0x2d, 0, 0], [0x2d, 0x40, 1]],
    ["the log in a store", "(i32.store8 (i32.const 77) (i32.const 1))", [0x3a, 0, 0], [0x3a, 0x40, 1]],
    ["the log's size", "(drop (memory.size))", [0x3f, 0, 0x1a], [0x3f, 1, 0x1a]],
    ["the log to make it grow", "(drop (memory.grow (i32.const 77)))", [0x40, 0, 0x1a], [0x40, 1, 0x1a]],
    [
      "the log as a copy's target",
      "(memory.copy (i32.const 1) (i32.const 2) (i32.const 3))",
      [0xfc, 0x0a, 0, 0],
      [0xfc, 0x0a, 1, 0],
    ],
    [
      "the log as a copy's source",
      "(memory.copy (i32.const 1) (i32.const 2) (i32.const 3))",
      [0xfc, 0x0a, 0, 0],
      [0xfc, 0x0a, 0, 1],
    ],
    ["the log to fill it", "(memory.fill (i32.const 1) (i32.const 2) (i32.const 3))", [0xfc, 0x0b, 0], [0xfc, 0x0b, 1]],
    ["where the events end", "(global.set 0 (i32.const 77))", [0x24, 0], [0x24, 3]],
    ["a helper of the recorder", "(call 0)", [0x10, 0], [0x10, 1]],
  ])("%s", async (_, body, from, to) => {
    expect(refusal(await forged(body, from, to))).not.toBe("accepted");
  });

  test.each(["log", "at", "wrote", "entered", "torn"])("the recorder's %s as an export of its own", async (name) => {
    const binary = await compileWat(`(module (memory (export "memory") 1) (func (export "bulkhead:${name}")))`);
    expect(refusal(binary)).toMatch(/reserved name/);
  });

  test.each(["grow", "full"])("what the recorder imports: %s", async (name) => {
    const binary = await compileWat(`(module (import "bulkhead:meter" "${name}" (func)) (memory (export "memory") 1))`);
    expect(refusal(binary)).toMatch(/reserved name/);
  });
});
