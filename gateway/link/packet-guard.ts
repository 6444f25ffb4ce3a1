/** Bounds what an MQTT broker can make this process hold: packets over the limit never reach the parser, which buffers them. */
import type { Socket } from "node:net";
import { Duplex } from "node:stream";

const PUBLISH = 3;
const QOS_BITS = 0x06;
/** Nothing is subscribed to above QoS 1; what comes above it the MQTT library would store, without a bound. */
const QOS_1 = 0x02;
/** Room for a PUBLISH's topic (a u16 length and up to 65,535 bytes) and packet identifier. */
const PUBLISH_PREFIX_BYTES = 2 + 65_535 + 2;

/** The topic under which an oversized message is handed on, empty, so that it is acknowledged and counted. */
export const OVERSIZED_TOPIC = "$oversized";

/** States: the fixed header, a body that is passed on, a PUBLISH's start that is kept, a body that is swallowed. */
type State = "header" | "pass" | "prefix" | "swallow";

/**
 * MQTT 5.0 section 2.1: a type-and-flags byte, a length of one to four bytes, then that many bytes. A PUBLISH that is
 * too long is replaced by an empty one on OVERSIZED_TOPIC with the same packet identifier, for an unacknowledged message
 * would block the broker's window for this client. Any other packet that is too long ends the connection, as does a
 * PUBLISH of a QoS that was not asked for (section 3.8.4).
 */
export class PacketGuard {
  readonly #limit: number;
  readonly #isVersion5: boolean;
  #state: State = "header";
  #header: number[] = [];
  #left = 0;
  #prefix: Buffer = Buffer.alloc(0);

  constructor(limit: number, isVersion5: boolean) {
    this.#limit = limit;
    this.#isVersion5 = isVersion5;
  }

  /** What of the chunk may go on to the parser. @throws Error on a packet that cannot be accepted. */
  pass(chunk: Buffer): Buffer[] {
    const passed: Buffer[] = [];
    for (let at = 0; at < chunk.length; ) {
      at = this.#state === "header" ? this.#readHeader(chunk, at, passed) : this.#readBody(chunk, at, passed);
    }
    return passed;
  }

  #readHeader(chunk: Buffer, at: number, passed: Buffer[]): number {
    const byte = chunk[at] ?? 0;
    const isFirst = this.#header.length === 0;
    if (isFirst && byte >> 4 === PUBLISH && (byte & QOS_BITS) > QOS_1)
      throw new Error("the broker sent a packet above QoS 1, which was not asked for");
    this.#header.push(byte);
    const isWhole = this.#header.length > 1 && byte < 0x80;
    if (!isWhole && this.#header.length === 5) throw new Error("the broker sent a packet with a malformed length");
    if (isWhole) this.#begin(passed);
    return at + 1;
  }

  /** The header is whole: decides what becomes of the body. */
  #begin(passed: Buffer[]): void {
    const [first = 0, ...digits] = this.#header;
    this.#left = digits.reduce((sum, digit, index) => sum + (digit & 0x7f) * 128 ** index, 0);
    if (this.#left > this.#limit) {
      if (first >> 4 !== PUBLISH) throw new Error(`the broker sent a packet of ${this.#left} bytes`);
      this.#state = "prefix";
      return;
    }
    passed.push(Buffer.from(this.#header));
    this.#state = "pass";
    if (this.#left === 0) this.#end();
  }

  #end(): void {
    this.#state = "header";
    this.#header = [];
  }

  #readBody(chunk: Buffer, at: number, passed: Buffer[]): number {
    const end = Math.min(chunk.length, at + this.#left);
    const piece = chunk.subarray(at, end);
    this.#left -= piece.length;
    if (this.#state === "pass") passed.push(piece);
    if (this.#state === "prefix") this.#keep(piece, passed);
    if (this.#left === 0) this.#end();
    return end;
  }

  /** Collects topic and packet identifier, then hands on the empty message and swallows the rest. */
  #keep(piece: Buffer, passed: Buffer[]): void {
    this.#prefix = Buffer.concat([this.#prefix, piece.subarray(0, PUBLISH_PREFIX_BYTES - this.#prefix.length)]);
    if (this.#prefix.length < 2) return;
    const idAt = 2 + this.#prefix.readUInt16BE(0);
    if (this.#prefix.length < idAt + 2) return;
    const flags = this.#header[0] ?? 0;
    const id = (flags & QOS_BITS) === 0 ? Buffer.alloc(0) : this.#prefix.subarray(idAt, idAt + 2);
    const topic = Buffer.from(OVERSIZED_TOPIC);
    const properties = Buffer.alloc(this.#isVersion5 ? 1 : 0);
    const body = Buffer.concat([Buffer.of(0, topic.length), topic, id, properties]);
    passed.push(Buffer.concat([Buffer.of(flags, body.length), body]));
    this.#prefix = Buffer.alloc(0);
    this.#state = "swallow";
  }
}

/** A socket to a broker, seen through the guard. */
export class GuardedSocket extends Duplex {
  readonly #socket: Socket;

  constructor(socket: Socket, guard: PacketGuard) {
    super();
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => {
      this.#receive(guard, chunk);
    });
    socket.on("end", () => this.push(null));
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.destroy());
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, done);
  }

  /** The writer's pieces of one packet leave as one: sent singly, each would wait for the acknowledgement of the last. */
  override _writev(chunks: { readonly chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#socket.write(Buffer.concat(chunks.map(({ chunk }) => chunk)), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }

  #receive(guard: PacketGuard, chunk: Buffer): void {
    try {
      const wantsMore = guard.pass(chunk).map((piece) => this.push(piece));
      if (wantsMore.includes(false)) this.#socket.pause();
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }
}
