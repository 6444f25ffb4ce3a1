/** Frames between processes: what is cut anyhow arrives whole, and hostile bytes are refused before they cost anything. */
import { PassThrough } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  encodeFrame,
  FRAME_BYTES,
  FrameReader,
  isEventPayload,
  whenDrained,
  writeFrame,
} from "../../gateway/wire/frames.ts";
import { encodeCbor, Refusal } from "../../kernel/index.ts";
import type { CborValue } from "../../kernel/index.ts";

function read(chunks: readonly Uint8Array[]): CborValue[] {
  const reader = new FrameReader();
  const values: CborValue[] = [];
  for (const chunk of chunks) reader.push(chunk, (value) => values.push(value));
  return values;
}

function refusalOf(run: () => unknown): Refusal {
  try {
    run();
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

function header(length: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, length, true);
  return bytes;
}

describe("FrameReader", () => {
  it("delivers the same frames however the stream is cut into chunks", () => {
    const message = fc.array(fc.oneof(fc.string({ unit: "grapheme-ascii" }), fc.uint8Array(), fc.integer()));
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 8 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 40 })),
        (sent, cuts) => {
          const bytes = Buffer.concat(sent.map((value) => encodeFrame(value)));
          const chunks: Uint8Array[] = [];
          for (let at = 0; at < bytes.length; ) {
            const length = cuts.next().value as number;
            chunks.push(bytes.subarray(at, at + length));
            at += length;
          }
          expect(read(chunks).map((value) => encodeCbor(value))).toEqual(sent.map((value) => encodeCbor(value)));
        },
      ),
    );
  });

  it("takes the largest frame, one byte at a time at its start and its end", () => {
    const frame = encodeFrame({ payload: new Uint8Array(FRAME_BYTES - 16) });
    const cut = frame.length - 3;
    const trickle = (from: number, to: number) => Array.from(frame.subarray(from, to), (byte) => Uint8Array.of(byte));
    const values = read([...trickle(0, 6), frame.subarray(6, cut), ...trickle(cut, frame.length)]);
    expect(values).toHaveLength(1);
  });

  it("refuses an empty frame", () => {
    expect(refusalOf(() => read([header(0)])).code).toBe("E_CBOR");
  });

  it("refuses a length over the limit from the header alone, before any of the body is there", () => {
    for (const length of [FRAME_BYTES + 1, 0x8000_0000, 0xffff_ffff]) {
      expect(refusalOf(() => read([header(length)])).code).toBe("E_SIZE");
    }
  });

  it("refuses a body that is not exactly one strict CBOR item", () => {
    const bodies = {
      truncated: [0x82, 0x01],
      trailing: [0x01, 0x02],
      indefinite: [0x9f, 0xff],
      tag: [0xc2, 0x41, 0x01],
    };
    for (const body of Object.values(bodies)) {
      expect(refusalOf(() => read([header(body.length), Uint8Array.from(body)])).code).toBe("E_CBOR");
    }
  });

  it("refuses everything after a refusal, good frames included", () => {
    const reader = new FrameReader();
    expect(() => reader.push(header(0), () => undefined)).toThrow(Refusal);
    expect(() => reader.push(encodeFrame(1), () => undefined)).toThrow(Refusal);
  });

  it("throws nothing but refusals on random bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 0, max: 64 }), (bytes, length) => {
        try {
          read([header(length), bytes]);
        } catch (error) {
          expect(error).toBeInstanceOf(Refusal);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("knows whether the stream ended between frames", () => {
    const reader = new FrameReader();
    const frame = encodeFrame([1, 2, 3]);
    expect(reader.isIdle).toBe(true);
    reader.push(frame.subarray(0, 2), () => undefined);
    expect(reader.isIdle).toBe(false);
    reader.push(frame.subarray(2), () => undefined);
    expect(reader.isIdle).toBe(true);
  });
});

describe("writing frames", () => {
  it("refuses a message that does not fit in a frame", () => {
    expect(refusalOf(() => encodeFrame(new Uint8Array(FRAME_BYTES))).code).toBe("E_SIZE");
  });

  it("tells the writer to hold back when the other side does not read, and when to go on", async () => {
    const stream = new PassThrough({ highWaterMark: 64 });
    expect(writeFrame(stream, 1)).toBe(true);
    expect(writeFrame(stream, new Uint8Array(100))).toBe(false);
    let drained = false;
    const waiting = whenDrained(stream).then(() => {
      drained = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(drained).toBe(false);
    stream.resume();
    await waiting;
    expect(drained).toBe(true);
  });

  it("does not wait for a stream that was destroyed", async () => {
    const stream = new PassThrough({ highWaterMark: 1 });
    writeFrame(stream, new Uint8Array(100));
    const waiting = whenDrained(stream);
    stream.destroy();
    await waiting;
    await whenDrained(stream);
  });
});

describe("isEventPayload", () => {
  it("accepts one strict CBOR item and nothing else", () => {
    expect(isEventPayload(encodeCbor(["a/b", new Uint8Array(3)]))).toBe(true);
    expect(isEventPayload(Uint8Array.of(0x81, 0xff))).toBe(false);
    expect(isEventPayload(new Uint8Array())).toBe(false);
  });
});
