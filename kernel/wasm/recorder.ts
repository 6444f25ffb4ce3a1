/** Writes the recorder: Wasm inside a rewritten module that notes what goes into it, in a memory that its code cannot reach. */
import { HEADER } from "../abi.ts";
import { LIMITS } from "../limits.ts";
import { Assembly, F64, I32, I64 } from "./assembly.ts";
import type { ByteWriter } from "./bytes.ts";
import type { Layout } from "./layout.ts";
import type { FunctionType } from "./reader.ts";

/** An operation that a recorded module may import. */
export interface RecordedImport {
  readonly slot: string;
  readonly operation: string;
  /** Place of the address of a buffer that the host fills, the capacity follows it; -1 where there is none. */
  readonly buffer: number;
}

/**
 * A recording is a list of events of whole little-endian words. The low four bits of the first word say which it is:
 *
 * | event | in the first word from bit 4 on | words behind it |
 * | --- | --- | --- |
 * | `message` | port, kind, number of handles: 16, 8, 4 bits | the handler's result (f64), fuel left, the payload's length, the
 *     header from the sender to `lost`, the payload; the handles where there are any |
 * | `gated` | port | the same, of a call through a gate; its result is 0 |
 * | `called` | import | what it cost, the arguments, result (i32, or i64) |
 * | `wrote` | - | address, length, bytes that the host has put into the guest's memory: for the call before it, or a state |
 * | `refuelled` | - | fuel granted with a new slice |
 * | `entered` | an `ENTRY`; for `restore`, from bit 8 on, the schema | length of the state, or 0 |
 * | `refused` | - | nothing: the memory did not grow when it was asked to |
 *
 * `ENDED` is added to the first three where they came to an end; without it result, fuel and cost mean nothing.
 */
export const RECORDED = Object.freeze({
  message: 1,
  gated: 2,
  called: 3,
  wrote: 4,
  refuelled: 5,
  entered: 6,
  refused: 7,
  ended: 8,
} as const);

/** Where in a message's event header and payload stand; the handles' bytes are behind the payload's last word. */
export const MESSAGE_EVENT = Object.freeze({ header: 20, payload: 40, handleBytes: 32 } as const);

const PAGE_BYTES = 65_536;
/** The log's memory, the second one: engines reach the first soonest, and that is the guest's. */
export const LOG_PAGES = Object.freeze({ minimum: 1, maximum: LIMITS.recordingBytes / PAGE_BYTES });
/** Behind this a recording begins anew before the next message: the longest one has room then. */
const FULL_BYTES = LIMITS.recordingBytes - 80 * 1024;

const [GUEST, LOG] = [0, 1];
const [END, EMPTY, RETURN, IF, ELSE, LOOP, BLOCK, BRANCH, BRANCH_IF, CALL] = [
  0x0b, 0x40, 0x0f, 0x04, 0x05, 0x03, 0x02, 0x0c, 0x0d, 0x10,
] as const;
/** Of `around`: an i64 that the handler's code may use. */
export const WORK = 6;
/**
 * Exported as `bulkhead:<name>`: where the events end, where the room does; 1 from an event that found none on; address of the
 * inbox, set by the kernel; activations so far.
 */
const GLOBALS = Object.freeze({ at: 0, limit: PAGE_BYTES, torn: 0, inbox: 0, messages: 0 });
type GlobalName = keyof typeof GLOBALS;
/** What the recorder's globals, each an i32, begin with. */
export const RECORDER_GLOBALS: readonly number[] = Object.values(GLOBALS);

/** Code with the recorder's globals and memories at hand. */
class EventAssembly extends Assembly {
  readonly #module: Layout;
  readonly #room: number;

  constructor(module: Layout, room: number, ...groups: readonly number[]) {
    super(128);
    this.#module = module;
    this.#room = room;
    this.raw(groups.length / 2, ...groups);
  }

  fuel(): this {
    return this.global(this.#module.fuel);
  }

  own(name: GlobalName): this {
    return this.global(this.#indexOf(name));
  }

  setOwn(name: GlobalName): this {
    return this.setGlobal(this.#indexOf(name));
  }

  /** Where the event begins, with its first word. */
  tag(at: number, value: number): this {
    return this.get(at).constant(value).store(0x36, 0);
  }

  /** Stores what is on the stack behind its address: i32 0x36, i64 0x37, f64 0x39. */
  store(opcode: number, offset: number): this {
    return this.raw(opcode, 0x42, LOG).u32(offset);
  }

  /** Takes what is on the stack, a number of bytes in whole words, from the log; `at` is where, or below 0. */
  take(at: number): this {
    this.own("at").raw(0x6a, 0x22).u32(at).own("limit").raw(0x4b, IF, I32);
    this.get(at).op(CALL, this.#room).raw(ELSE);
    return this.own("at").get(at).setOwn("at").raw(END).set(at);
  }

  /** Rounds what is on the stack up to whole words. */
  words(): this {
    return this.add(3).constant(-4).raw(0x71);
  }

  /** `body` where `at` is 0 or more. */
  where(at: number, body: () => unknown): this {
    this.get(at).constant(0).raw(0x4e, IF, EMPTY);
    body();
    return this.raw(END);
  }

  /** A vector from the inbox into the log, at these offsets behind the local `by`. */
  copy(at: number, by: number, from: number, to: number): this {
    this.gets([at, by]).raw(0x6a).own("inbox").get(by).raw(0x6a);
    return this.raw(0xfd, 0x00, 0x40, GUEST).u32(from).raw(0xfd, 0x0b, 0x40, LOG).u32(to);
  }

  #indexOf(name: GlobalName): number {
    return this.#module.result + 1 + Object.keys(GLOBALS).indexOf(name);
  }
}

/** Adds the recorder's functions to a module; it writes the code around imports and entries. */
export class Recorder {
  /** () -> (): what the meter calls in place of its import. */
  readonly exhausted: number;
  /** (pages) -> i32: `memory.grow`. */
  readonly grow: number;
  readonly #module: Layout;
  readonly #room: number;
  readonly #wrote: number;

  constructor(module: Layout) {
    this.#module = module;
    this.#room = module.helper([I32], [I32], this.#roomBody());
    this.exhausted = module.helper([], [], this.#exhaustedBody());
    this.grow = module.helper([I32], [I32], this.#growBody());
    this.#wrote = module.helper([I32, I32], [], this.#wroteBody());
    module.export("wrote", "function", this.#wrote);
    module.export("entered", "function", module.helper([I32, I32], [], this.#enteredBody()));
    module.export("log", "memory", LOG);
    for (const [at, name] of Object.keys(GLOBALS).entries()) module.export(name, "global", module.result + 1 + at);
  }

  /** Before the import `target`: what a call was given, what the host wrote for it, what it gave and cost; it may be suspended. */
  wrap(target: number, { parameters, results }: FunctionType, index: number, { buffer }: RecordedImport): number {
    const isLong = results[0] === I64;
    const [at, before, result] = [parameters.length, parameters.length + 1, parameters.length + 2];
    const tag = RECORDED.called | (index << 4);
    const end = 8 + 4 * parameters.length;
    const out = this.#code(2, I32, 1, isLong ? I64 : I32);
    out.constant(end + (isLong ? 8 : 4)).take(at);
    out.where(at, () => {
      out.tag(at, tag).fuel().set(before);
      for (const each of parameters.keys()) out.gets([at, each]).store(0x36, 8 + 4 * each);
    });
    out.gets([...parameters.keys()]);
    out.op(CALL, target).set(result);
    if (buffer >= 0) {
      out.get(result).constant(0).raw(0x4a, IF, EMPTY);
      out.gets([buffer, result, buffer + 1, result, buffer + 1]).raw(0x49, 0x1b);
      out.op(CALL, this.#wrote).raw(END);
    }
    out.where(at, () => {
      out.tag(at, tag + RECORDED.ended).gets([at, before]);
      out.fuel().raw(0x6b).store(0x36, 4);
      out.gets([at, result]).store(isLong ? 0x37 : 0x36, end);
    });
    return this.#module.helper(parameters, results, out.get(result).raw(END));
  }

  /**
   * (fuel, depth, port, length): an activation. Between two of them a recording that is full begins anew. The last vector of a
   * payload overlaps what is before it, so that nothing behind it is touched; before the first there is room for that.
   * @param handle what it does: leaves an f64 for a message, anything for a call through a gate; may use `WORK`, an i64
   */
  around(tag: number, handle: (out: ByteWriter) => unknown): ByteWriter {
    const [port, length, at, first, result, offset, zero] = [2, 3, 4, 5, 7, 8, 9];
    const out = this.#code(2, I32, 1, I64, 1, F64, 2, I32);
    const hasHandles = (): EventAssembly => out.get(first).constant(28).raw(0x76);
    const { header, payload, handleBytes } = MESSAGE_EVENT;
    out.own("at").constant(FULL_BYTES).raw(0x4b).own("torn").raw(0x72, IF, EMPTY);
    out.op(CALL, this.#module.imported.full).raw(END);
    out.own("messages").add(1).setOwn("messages");
    // A header begins with version, kind and number of handles.
    out.own("inbox").raw(0x28, 2, HEADER.version).constant(-65_536).raw(0x71).get(port).raw(0x72);
    out.constant(4).raw(0x74).constant(tag).raw(0x72).set(first);
    out.get(length).add(payload).words().constant(handleBytes).constant(0);
    hasHandles().raw(0x1b, 0x6a).take(at);
    out.where(at, () => {
      // The last word may be more than the payload's end.
      out.gets([at, length]).words().raw(0x6a, 0x41, 0);
      out.store(0x36, payload - 4).raw(BLOCK, EMPTY, LOOP, EMPTY);
      out.get(offset).add(16).get(length).raw(0x4e, BRANCH_IF, 1).copy(at, offset, HEADER.size, payload);
      out.get(offset).add(16).set(offset).raw(BRANCH, 0, END, END);
      out.copy(at, length, HEADER.size - 16, payload - 16).copy(at, zero, HEADER.senderModule, header);
      out.get(at).own("inbox").raw(0x28, 2, HEADER.lost);
      out.store(0x36, header + 16);
      out.gets([at, first]).store(0x36, 0).gets([at, length]).store(0x36, 16);
      hasHandles().raw(IF, EMPTY).gets([at, length]).words().raw(0x6a).add(payload);
      out.own("inbox").add(HEADER.handleList).constant(handleBytes).raw(0xfc, 0x0a, LOG, GUEST, END);
    });
    handle(out);
    if (tag === RECORDED.message) out.op(0x22, result);
    return out.where(at, () => {
      out.gets([at, first]).add(RECORDED.ended).store(0x36, 0);
      out.gets([at, result]).store(0x39, 4).get(at).fuel().store(0x36, 12);
    });
  }

  #code(...groups: readonly number[]): EventAssembly {
    return new EventAssembly(this.#module, this.#room, ...groups);
  }

  /** (end): makes room up to there. @returns where the event begins, or -1 from the first on that found none */
  #roomBody(): ByteWriter {
    const end = 0;
    const out = this.#code().own("torn").raw(IF, EMPTY).constant(-1).raw(RETURN, END, LOOP, EMPTY);
    out.constant(1).raw(0x40, LOG).constant(-1).raw(0x46, IF, EMPTY);
    // A limit of 0 sends every later event here.
    out.constant(1).setOwn("torn").constant(0).setOwn("limit").constant(-1).raw(RETURN, END);
    out.raw(0x3f, LOG).constant(16).raw(0x74).setOwn("limit");
    out.get(end).own("limit").raw(0x4b, BRANCH_IF, 0, END);
    return out.own("at").get(end).setOwn("at").raw(END);
  }

  #exhaustedBody(): ByteWriter {
    const [before, at] = [0, 1];
    const out = this.#code(2, I32).fuel().set(before).op(CALL, this.#module.imported.exhausted).constant(8).take(at);
    out.where(at, () => out.tag(at, RECORDED.refuelled).get(at).fuel().get(before).raw(0x6b).store(0x36, 4));
    return out.raw(END);
  }

  #growBody(): ByteWriter {
    const [pages, at] = [0, 1];
    const out = this.#code(1, I32).get(pages).op(CALL, this.#module.imported.grow).op(0x22, pages);
    out.constant(-1).raw(0x46, IF, EMPTY).constant(4).take(at);
    return out
      .where(at, () => out.tag(at, RECORDED.refused))
      .raw(END)
      .get(pages)
      .raw(END);
  }

  #enteredBody(): ByteWriter {
    const at = 2;
    const out = this.#code(1, I32).constant(8).take(at);
    return out.where(at, () => out.gets([at, 0]).store(0x36, 0).gets([at, 1]).store(0x36, 4)).raw(END);
  }

  #wroteBody(): ByteWriter {
    const [address, length, at] = [0, 1, 2];
    const out = this.#code(1, I32).get(length).add(12).words().take(at);
    out.where(at, () => {
      out.tag(at, RECORDED.wrote).gets([at, address]).store(0x36, 4).gets([at, length]).store(0x36, 8);
      out.get(at).add(12).gets([address, length]).raw(0xfc, 0x0a, LOG, GUEST);
    });
    return out.raw(END);
  }
}
