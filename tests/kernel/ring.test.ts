/** The ring between two partitions, random writes and reads, against a plain list. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Ring } from "../../kernel/ipc/shared.ts";

const record = fc.record({ head: fc.uint8Array({ maxLength: 20 }), body: fc.uint8Array({ maxLength: 70 }) });
const step = fc.oneof({ weight: 3, arbitrary: record }, { weight: 2, arbitrary: fc.constant("read" as const) });

/** Writes one record, as a packet is written: reserved, filled in, committed. */
function write(ring: Ring, bytes: Uint8Array): boolean {
  const at = ring.reserve(bytes.length);
  if (at < 0) return false;
  ring.bytes.set(bytes, at);
  ring.commit();
  return true;
}

/** A copy of the oldest record, or undefined where there is none. */
function read(ring: Ring): number[] | undefined {
  let got: number[] | undefined;
  const isRead = ring.read(({ bytes }, at, length) => (got = [...bytes.subarray(at, at + length)]));
  expect(isRead).toBe(got !== undefined);
  return got;
}

/** Bytes that a record takes: length word, content, padding to 8. */
const sizeOf = (length: number): number => Math.ceil((4 + length) / 8) * 8;

test("records come out whole and in order, through every wrap, and nothing is written where there is no room", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const capacity = 256;
      const writer = new Ring(Ring.allocate(capacity));
      const reader = new Ring(writer.buffer);
      const model: number[][] = [];
      for (const action of steps) {
        if (action === "read") {
          expect(read(reader)).toEqual(model.shift());
          continue;
        }
        const whole = [...action.head, ...action.body];
        const used = model.reduce((sum, { length }) => sum + sizeOf(length), 0);
        const isWritten = write(writer, Uint8Array.from(whole));
        // Less than the whole may be free in one piece, but what fits twice over is always taken.
        if (isWritten) expect(used + sizeOf(whole.length)).toBeLessThanOrEqual(capacity);
        else expect(used + 2 * sizeOf(whole.length)).toBeGreaterThan(capacity);
        if (isWritten) model.push(whole);
      }
      while (model.length > 0) expect(read(reader)).toEqual(model.shift());
      expect(read(reader)).toBeUndefined();
    }),
    { numRuns: 300 },
  );
});

test("what was reserved and not committed was never written", () => {
  const ring = new Ring(Ring.allocate(64));
  expect(ring.reserve(8)).toBe(4);
  expect(read(ring)).toBeUndefined();
  expect(write(ring, new Uint8Array([1, 2]))).toBe(true);
  expect(read(ring)).toEqual([1, 2]);
});

test("a reader that throws has still taken its record", () => {
  const ring = new Ring(Ring.allocate(64));
  write(ring, new Uint8Array([1]));
  write(ring, new Uint8Array([2]));
  expect(() =>
    ring.read(() => {
      throw new Error("no");
    }),
  ).toThrow("no");
  expect(read(ring)).toEqual([2]);
});

test("positions go on past 2^32", () => {
  const ring = new Ring(Ring.allocate(64));
  // Both positions stand just before the wrap, as after four gigabytes.
  new Int32Array(ring.buffer).fill(-24, 0, 1);
  new Int32Array(ring.buffer).fill(-24, 16, 17);
  for (let round = 0; round < 20; round++) {
    expect(write(ring, new Uint8Array(10).fill(round))).toBe(true);
    expect(read(ring)).toEqual(new Array<number>(10).fill(round));
  }
});

test.each([0, 63, 65, 100])("a ring of %d bytes is refused", (capacity) => {
  expect(() => Ring.allocate(capacity)).toThrow(RangeError);
});
