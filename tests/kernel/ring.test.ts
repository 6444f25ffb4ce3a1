/** The ring between two partitions, random writes and reads, against a plain list. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Ring } from "../../kernel/ipc/shared.ts";

const record = fc.record({ head: fc.uint8Array({ maxLength: 20 }), body: fc.uint8Array({ maxLength: 70 }) });
const step = fc.oneof({ weight: 3, arbitrary: record }, { weight: 2, arbitrary: fc.constant("read" as const) });

/** Bytes that a record takes: length word, content, padding to 8. */
const sizeOf = (length: number): number => Math.ceil((4 + length) / 8) * 8;

test("records come out whole and in order, through every wrap, and nothing is written where there is no room", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const capacity = 256;
      const writer = new Ring(Ring.allocate(capacity));
      const reader = new Ring(writer.buffer);
      const model: Uint8Array[] = [];
      for (const action of steps) {
        if (action === "read") {
          const got: Uint8Array[] = [];
          expect(reader.read((bytes) => got.push(bytes.slice()))).toBe(model.length > 0);
          expect(got).toEqual(model.splice(0, 1));
          continue;
        }
        const whole = Uint8Array.from([...action.head, ...action.body]);
        const used = model.reduce((sum, { length }) => sum + sizeOf(length), 0);
        const isWritten = writer.write(action.head, action.body);
        // Less than the whole may be free in one piece, but what fits twice over is always taken.
        if (isWritten) expect(used + sizeOf(whole.length)).toBeLessThanOrEqual(capacity);
        else expect(used + 2 * sizeOf(whole.length)).toBeGreaterThan(capacity);
        if (isWritten) model.push(whole);
      }
      while (model.length > 0) reader.read((bytes) => expect(bytes.slice()).toEqual(model.shift()));
      expect(reader.read(() => undefined)).toBe(false);
    }),
    { numRuns: 300 },
  );
});

test("a second part may be longer than what is taken of it", () => {
  const ring = new Ring(Ring.allocate(64));
  expect(ring.write(new Uint8Array([1, 2]), new Uint8Array([3, 4, 5, 6]), 2)).toBe(true);
  ring.read((bytes) => expect([...bytes]).toEqual([1, 2, 3, 4]));
});

test("a reader that throws has still taken its record", () => {
  const ring = new Ring(Ring.allocate(64));
  ring.write(new Uint8Array([1]), new Uint8Array(0));
  ring.write(new Uint8Array([2]), new Uint8Array(0));
  expect(() =>
    ring.read(() => {
      throw new Error("no");
    }),
  ).toThrow("no");
  ring.read((bytes) => expect([...bytes]).toEqual([2]));
});

test("positions go on past 2^32", () => {
  const ring = new Ring(Ring.allocate(64));
  // Both positions stand just before the wrap, as after four gigabytes.
  new Int32Array(ring.buffer).fill(-24, 0, 1);
  new Int32Array(ring.buffer).fill(-24, 16, 17);
  for (let round = 0; round < 20; round++) {
    expect(ring.write(new Uint8Array([round]), new Uint8Array(9).fill(round))).toBe(true);
    ring.read((bytes) => expect([...bytes]).toEqual(new Array<number>(10).fill(round)));
  }
});

test.each([0, 63, 65, 100])("a ring of %d bytes is refused", (capacity) => {
  expect(() => Ring.allocate(capacity)).toThrow(RangeError);
});
