/** Copies between guests and the kernel are exact, by words or by bytes. */
import { expect, test } from "vitest";
import { copyBytes } from "../../kernel/memory.ts";

/** Bytes of all values, among them whole words that are NaNs with a payload, as a double. */
function source(seed: number): Uint8Array {
  return Uint8Array.from({ length: 400 }, (_, index) => (index % 24 < 8 ? 0xff : (index * 37 + seed) & 0xff));
}

test("a copy of any length, to and from any address, moves its bytes and no other", () => {
  for (let length = 0; length <= 270; length++) {
    for (const [fromAt, toAt] of [
      [0, 0],
      [3, 8],
      [8, 5],
    ] as const) {
      const from = source(length);
      const to = new Uint8Array(400).fill(0xaa);
      copyBytes(new DataView(from.buffer), fromAt, new DataView(to.buffer), toAt, from, to, length);
      const expected = new Uint8Array(400).fill(0xaa);
      for (let index = 0; index < length; index++) expected[toAt + index] = from[fromAt + index] ?? 0;
      expect(Buffer.compare(to, expected), `${length} bytes from ${fromAt} to ${toAt}`).toBe(0);
    }
  }
});
