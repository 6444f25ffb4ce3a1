/** Frames between two processes: a u32 little-endian length, then that many bytes of strict CBOR. */
import type { Writable } from "node:stream";
import { checkCbor, decodeCbor, encodeCbor, Refusal } from "../../kernel/index.ts";
import type { CborInput, CborLimits, CborValue } from "../../kernel/index.ts";

const HEADER_BYTES = 4;

/** A frame at most: a message with its addressing, or a block of a module. */
export const FRAME_BYTES = 1024 * 1024;

/** A frame holds settings and bindings at most: no deeper, and no more items, than a configuration of a thousand modules. */
export const FRAME_CBOR: CborLimits = Object.freeze({
  maxBytes: FRAME_BYTES,
  maxDepth: 24,
  maxItems: 262_144,
  tags: [],
  deterministic: false,
});

/** What a host process says has few fields: a payload or a reply is one of them, of bytes. */
export const HOST_FRAME_CBOR: CborLimits = Object.freeze({ ...FRAME_CBOR, maxDepth: 8, maxItems: 256 });

/**
 * Takes a stream apart into frames, however it was cut into chunks. The length is checked before anything is allocated;
 * a body that arrives whole is not copied, one that arrives in pieces is copied once. After a refusal the stream has no
 * known frame boundary left, so the reader refuses everything that follows.
 */
export class FrameReader {
  readonly #header = new Uint8Array(HEADER_BYTES);
  #headerLength = 0;
  #body: Uint8Array | undefined;
  #bodyLength = 0;
  #refusal: Refusal | undefined;
  readonly #limits: CborLimits;

  constructor(limits = FRAME_CBOR) {
    this.#limits = limits;
  }

  /**
   * Feeds the next chunk and delivers each frame that it completes.
   * @throws Refusal E_CBOR or E_SIZE on a frame that is not acceptable; whatever `deliver` throws ends the reader too.
   */
  push(chunk: Uint8Array, deliver: (value: CborValue) => void): void {
    if (this.#refusal !== undefined) throw this.#refusal;
    try {
      let at = 0;
      while (at < chunk.length) at = this.#take(chunk, at, deliver);
    } catch (error) {
      this.#refusal = error instanceof Refusal ? error : new Refusal("E_ABORTED", "the receiver of frames failed");
      throw error;
    }
  }

  /** True between frames: an end of the stream here cuts nothing off. */
  get isIdle(): boolean {
    return this.#headerLength === 0;
  }

  #take(chunk: Uint8Array, start: number, deliver: (value: CborValue) => void): number {
    const at = this.#takeHeader(chunk, start);
    if (this.#headerLength < HEADER_BYTES) return at;
    const length = this.#announcedLength();
    if (this.#body === undefined && chunk.length - at >= length) {
      this.#headerLength = 0;
      deliver(decodeCbor(chunk.subarray(at, at + length), this.#limits));
      return at + length;
    }
    this.#body ??= new Uint8Array(length);
    const end = Math.min(chunk.length, at + length - this.#bodyLength);
    this.#body.set(chunk.subarray(at, end), this.#bodyLength);
    this.#bodyLength += end - at;
    if (this.#bodyLength === length) this.#finish(this.#body, deliver);
    return end;
  }

  #takeHeader(chunk: Uint8Array, start: number): number {
    if (this.#headerLength === HEADER_BYTES) return start;
    const end = Math.min(chunk.length, start + HEADER_BYTES - this.#headerLength);
    this.#header.set(chunk.subarray(start, end), this.#headerLength);
    this.#headerLength += end - start;
    return end;
  }

  #announcedLength(): number {
    const length = new DataView(this.#header.buffer).getUint32(0, true);
    if (length === 0) throw new Refusal("E_CBOR", "a frame is empty", { expected: "one CBOR item" });
    if (length <= FRAME_BYTES) return length;
    throw new Refusal("E_SIZE", "a frame is too long", {
      expected: `at most ${FRAME_BYTES} bytes`,
      found: `${length} bytes`,
    });
  }

  #finish(body: Uint8Array, deliver: (value: CborValue) => void): void {
    this.#body = undefined;
    this.#bodyLength = 0;
    this.#headerLength = 0;
    deliver(decodeCbor(body, this.#limits));
  }
}

/** Encodes one frame, header included. @throws Refusal E_SIZE where it would be longer than a frame may be. */
export function encodeFrame(message: CborInput): Uint8Array {
  const body = encodeCbor(message);
  if (body.length > FRAME_BYTES) {
    throw new Refusal("E_SIZE", "a message does not fit in a frame", {
      expected: `at most ${FRAME_BYTES} bytes`,
      found: `${body.length} bytes`,
    });
  }
  const frame = new Uint8Array(HEADER_BYTES + body.length);
  new DataView(frame.buffer).setUint32(0, body.length, true);
  frame.set(body, HEADER_BYTES);
  return frame;
}

/**
 * Writes one frame. False asks the caller to hold back until the stream drains (`whenDrained`); the frame itself is
 * queued in any case, so that replies are never lost.
 */
export function writeFrame(stream: Writable, message: CborInput): boolean {
  return stream.write(encodeFrame(message));
}

/** Resolves once the stream takes more, or will never take anything again. */
export function whenDrained(stream: Writable): Promise<void> {
  if (stream.destroyed || !stream.writable || !stream.writableNeedDrain) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      stream.off("drain", done).off("close", done);
      resolve();
    };
    stream.on("drain", done).on("close", done);
  });
}

/** True for bytes that are exactly one acceptable CBOR item: what an event's payload must be before a module sees it. */
export function isEventPayload(payload: Uint8Array): boolean {
  return checkCbor(payload, FRAME_CBOR).ok;
}
