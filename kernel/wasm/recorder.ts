/** Writes the recorder: Wasm inside a rewritten module that notes what goes into it, in a memory that its code cannot reach. */
import { HEADER } from "../abi.ts";
import { LIMITS } from "../limits.ts";
import { Assembly, AT_MEMORY, F64, I32, I64, LONG_OP, OP } from "./assembly.ts";
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
    return this.get(at).constant(value).store(OP.i32Store, 0);
  }

  /** Stores what is on the stack behind its address. */
  store(opcode: number, offset: number): this {
    return this.raw(opcode, AT_MEMORY + 2, LOG).u32(offset);
  }

  /** Takes what is on the stack, a number of bytes in whole words, from the log; `at` is where, or below 0. */
  take(at: number): this {
    this.own("at").raw(OP.i32Add).tee(at).own("limit").raw(OP.i32GreaterUnsigned, OP.if, I32);
    this.get(at).op(OP.call, this.#room).raw(OP.else);
    return this.own("at").get(at).setOwn("at").raw(OP.end).set(at);
  }

  /** Rounds what is on the stack up to whole words. */
  words(): this {
    return this.add(3).constant(-4).raw(OP.i32And);
  }

  /** `body` where `at` is 0 or more. */
  where(at: number, body: () => unknown): this {
    this.get(at).constant(0).raw(OP.i32AtLeastSigned, OP.if, OP.empty);
    body();
    return this.raw(OP.end);
  }

  /** A vector from the inbox into the log, at these offsets behind the local `by`. */
  copy(at: number, by: number, from: number, to: number): this {
    this.gets([at, by]).raw(OP.i32Add).own("inbox").get(by).raw(OP.i32Add);
    this.raw(...LONG_OP.v128Load, AT_MEMORY, GUEST).u32(from);
    return this.raw(...LONG_OP.v128Store, AT_MEMORY, LOG).u32(to);
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
      for (const each of parameters.keys()) out.gets([at, each]).store(OP.i32Store, 8 + 4 * each);
    });
    out.gets([...parameters.keys()]);
    out.op(OP.call, target).set(result);
    if (buffer >= 0) {
      out.get(result).constant(0).raw(OP.i32GreaterSigned, OP.if, OP.empty);
      out.gets([buffer, result, buffer + 1, result, buffer + 1]).raw(OP.i32LessUnsigned, OP.select);
      out.op(OP.call, this.#wrote).raw(OP.end);
    }
    out.where(at, () => {
      out.tag(at, tag + RECORDED.ended).gets([at, before]);
      out.fuel().raw(OP.i32Subtract).store(OP.i32Store, 4);
      out.gets([at, result]).store(isLong ? OP.i64Store : OP.i32Store, end);
    });
    return this.#module.helper(parameters, results, out.get(result).raw(OP.end));
  }

  /**
   * (fuel, depth, port, length): an activation. Between two of them a recording that is full begins anew. The last vector of a
   * payload overlaps what is before it, so that nothing behind it is touched; before the first there is room for that.
   * @param handle what it does: leaves an f64 for a message, anything for a call through a gate; may use `WORK`, an i64
   */
  around(tag: number, handle: (out: Assembly) => unknown): Assembly {
    const [port, length, at, first, result, offset, zero] = [2, 3, 4, 5, 7, 8, 9];
    const out = this.#code(2, I32, 1, I64, 1, F64, 2, I32);
    const hasHandles = (): EventAssembly => out.get(first).constant(28).raw(OP.i32ShiftRightUnsigned);
    const { header, payload, handleBytes } = MESSAGE_EVENT;
    out.own("at").constant(FULL_BYTES).raw(OP.i32GreaterUnsigned).own("torn").raw(OP.i32Or, OP.if, OP.empty);
    out.op(OP.call, this.#module.imported.full).raw(OP.end);
    out.own("messages").add(1).setOwn("messages");
    // A header begins with version, kind and number of handles.
    out.own("inbox").raw(OP.i32Load, 2, HEADER.version).constant(-65_536).raw(OP.i32And).get(port).raw(OP.i32Or);
    out.constant(4).raw(OP.i32ShiftLeft).constant(tag).raw(OP.i32Or).set(first);
    out.get(length).add(payload).words().constant(handleBytes).constant(0);
    hasHandles().raw(OP.select, OP.i32Add).take(at);
    out.where(at, () => {
      // The last word may be more than the payload's end.
      out.gets([at, length]).words().raw(OP.i32Add).constant(0);
      out.store(OP.i32Store, payload - 4).raw(OP.block, OP.empty, OP.loop, OP.empty);
      out.get(offset).add(16).get(length).raw(OP.i32AtLeastSigned, OP.brIf, 1).copy(at, offset, HEADER.size, payload);
      out.get(offset).add(16).set(offset).raw(OP.br, 0, OP.end, OP.end);
      out.copy(at, length, HEADER.size - 16, payload - 16).copy(at, zero, HEADER.senderModule, header);
      out.get(at).own("inbox").raw(OP.i32Load, 2, HEADER.lost);
      out.store(OP.i32Store, header + 16);
      out.gets([at, first]).store(OP.i32Store, 0).gets([at, length]).store(OP.i32Store, 16);
      hasHandles().raw(OP.if, OP.empty).gets([at, length]).words().raw(OP.i32Add).add(payload);
      out.own("inbox").add(HEADER.handleList).constant(handleBytes).copyMemory(LOG, GUEST).raw(OP.end);
    });
    handle(out);
    if (tag === RECORDED.message) out.tee(result);
    return out.where(at, () => {
      out.gets([at, first]).add(RECORDED.ended).store(OP.i32Store, 0);
      out.gets([at, result]).store(OP.f64Store, 4).get(at).fuel().store(OP.i32Store, 12);
    });
  }

  #code(...groups: readonly number[]): EventAssembly {
    return new EventAssembly(this.#module, this.#room, ...groups);
  }

  /** (end): makes room up to there. @returns where the event begins, or -1 from the first on that found none */
  #roomBody(): Assembly {
    const end = 0;
    const out = this.#code().own("torn").raw(OP.if, OP.empty).constant(-1).raw(OP.return, OP.end, OP.loop, OP.empty);
    out.constant(1).raw(OP.memoryGrow, LOG).constant(-1).raw(OP.i32Equal, OP.if, OP.empty);
    // A limit of 0 sends every later event here.
    out.constant(1).setOwn("torn").constant(0).setOwn("limit").constant(-1).raw(OP.return, OP.end);
    out.raw(OP.memorySize, LOG).constant(16).raw(OP.i32ShiftLeft).setOwn("limit");
    out.get(end).own("limit").raw(OP.i32GreaterUnsigned, OP.brIf, 0, OP.end);
    return out.own("at").get(end).setOwn("at").raw(OP.end);
  }

  #exhaustedBody(): Assembly {
    const [before, at] = [0, 1];
    const out = this.#code(2, I32).fuel().set(before).op(OP.call, this.#module.imported.exhausted).constant(8).take(at);
    out.where(at, () => {
      out.tag(at, RECORDED.refuelled).get(at).fuel().get(before).raw(OP.i32Subtract).store(OP.i32Store, 4);
    });
    return out.raw(OP.end);
  }

  #growBody(): Assembly {
    const [pages, at] = [0, 1];
    const out = this.#code(1, I32).get(pages).op(OP.call, this.#module.imported.grow).tee(pages);
    out.constant(-1).raw(OP.i32Equal, OP.if, OP.empty).constant(4).take(at);
    out.where(at, () => out.tag(at, RECORDED.refused)).raw(OP.end);
    return out.get(pages).raw(OP.end);
  }

  #enteredBody(): Assembly {
    const at = 2;
    const out = this.#code(1, I32).constant(8).take(at);
    return out.where(at, () => out.gets([at, 0]).store(OP.i32Store, 0).gets([at, 1]).store(OP.i32Store, 4)).raw(OP.end);
  }

  #wroteBody(): Assembly {
    const [address, length, at] = [0, 1, 2];
    const out = this.#code(1, I32).get(length).add(12).words().take(at);
    out.where(at, () => {
      out.tag(at, RECORDED.wrote).gets([at, address]).store(OP.i32Store, 4).gets([at, length]).store(OP.i32Store, 8);
      out.get(at).add(12).gets([address, length]).copyMemory(LOG, GUEST);
    });
    return out.raw(OP.end);
  }
}
