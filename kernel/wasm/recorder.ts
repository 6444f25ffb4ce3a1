/** Generates the recorder: Wasm between a module and its host that notes what passes, in a memory of its own. */
import { HEADER } from "../abi.ts";
import { LIMITS } from "../limits.ts";
import { Assembly, assemble, bodies, F64, FUNCREF, I32, I64 } from "./assembly.ts";
import { ByteWriter } from "./bytes.ts";

/** An import as the recorder sees it. */
export interface RecordedImport {
  readonly parameters: number;
  readonly isLong: boolean;
  /** Place of the address of a buffer that the host fills, the capacity follows it; -1 where there is none. */
  readonly buffer: number;
}

/**
 * A recording is a list of events of whole little-endian words. The low four bits of the first word say which it is:
 *
 * | event | in the first word from bit 4 on | words behind it |
 * | --- | --- | --- |
 * | `message` | port | payload length, the handler's result (f64), fuel left, the inbox as it was then: header and payload |
 * | `gated` | port | the same, of a call through a gate; its result is 0 |
 * | `called` | import | result (i64), fuel before and after, the arguments |
 * | `wrote` | - | address, length, bytes that the host has put into the guest's memory: for the call before it, or a state |
 * | `refuelled` | - | fuel granted with a new slice |
 * | `entered` | an `ENTRY`; for `restore`, from bit 8 on, the schema | length of the state, or 0 |
 *
 * `ENDED` is added to the first three where they came to an end; without it result and fuel mean nothing.
 */
export const RECORDED = Object.freeze({
  message: 1,
  gated: 2,
  called: 3,
  wrote: 4,
  refuelled: 5,
  entered: 6,
  ended: 8,
} as const);

/** Of a message: first word, length, result, fuel; then the inbox. */
const IMAGE_AT = 20;
const PAGE_BYTES = 65_536;
export const LOG_PAGES = LIMITS.recordingBytes / PAGE_BYTES;
/** Behind this a recording begins anew before the next message: the longest one has room then. */
const FULL_BYTES = LIMITS.recordingBytes - 80 * 1024;

/** Types: of `full` and `exhausted`, `enter`, `activate`, `room`, `entered` and `wrote`; imports' follow. */
const TYPE = Object.freeze({ nothing: 0, enter: 1, activate: 2, room: 3, pair: 4, imports: 5 });
const FUNCTION = Object.freeze({ full: 0, enter: 1, activate: 2, exhausted: 3, imports: 4 });
/** Behind the imported functions. */
const OWN = Object.freeze({ room: 0, enter: 1, activate: 2, exhausted: 3, entered: 4, wrote: 5, calls: 6 });
const GLOBAL = Object.freeze({ fuel: 0, at: 1, limit: 2, torn: 3, inbox: 4, messages: 5 });
/** The log is the first: engines reach that one soonest. */
const [LOG, GUEST] = [0, 1];
const [END, EMPTY, RETURN, IF, ELSE, LOOP, BLOCK, BRANCH, BRANCH_IF, CALL] = [
  0x0b, 0x40, 0x0f, 0x04, 0x05, 0x03, 0x02, 0x0c, 0x0d, 0x10,
] as const;

class EventAssembly extends Assembly {
  /** `value` at an offset of the event: the first word. */
  tag(at: number, value: number): this {
    return this.get(at).constant(value).store(0x36, 0);
  }

  /** Stores what is on the stack behind its address: i32 0x36, i64 0x37, f64 0x39. */
  store(opcode: number, offset: number): this {
    return this.raw(opcode, 0x42, LOG).u32(offset);
  }

  /** Takes what is on the stack, a multiple of 4 bytes, from the log; `at` is where, or below 0. */
  take(own: number, at: number): this {
    this.global(GLOBAL.at).raw(0x6a, 0x22).u32(at).global(GLOBAL.limit).raw(0x4b, IF, I32);
    this.get(at).op(CALL, own + OWN.room);
    return this.raw(ELSE).global(GLOBAL.at).get(at).setGlobal(GLOBAL.at).raw(END).set(at);
  }

  /** Rounds what is on the stack up to whole words. */
  words(): this {
    return this.add(3).constant(-4).raw(0x71);
  }

  /** `body` where `at` is 0 or more. */
  where(at: number, body: () => void): this {
    this.get(at).constant(0).raw(0x4e, IF, EMPTY);
    body();
    return this.raw(END);
  }

  /** One vector of the inbox into the log, at the offset in `by`, or the constant one. */
  vector(at: number, by: number | undefined, offset: number): this {
    this.get(at);
    if (by !== undefined) this.get(by).raw(0x6a);
    this.global(GLOBAL.inbox);
    if (by !== undefined) this.get(by).raw(0x6a);
    this.raw(0xfd, 0x00, 0x40, GUEST).u32(offset);
    return this.raw(0xfd, 0x0b, 0x40, LOG).u32(offset + IMAGE_AT);
  }
}

const code = (...groups: number[]): EventAssembly => new EventAssembly(128).raw(groups.length / 2, ...groups);

/** (end): makes room up to there. @returns where the event begins, or -1 from the first on that found none */
function roomBody(): EventAssembly {
  const end = 0;
  const out = code().global(GLOBAL.torn).raw(IF, EMPTY).constant(-1).raw(RETURN, END, LOOP, EMPTY);
  out.constant(1).raw(0x40, LOG).constant(-1).raw(0x46, IF, EMPTY);
  // A limit of 0 sends every later event here.
  out.constant(1).setGlobal(GLOBAL.torn).constant(0).setGlobal(GLOBAL.limit).constant(-1).raw(RETURN, END);
  out.raw(0x3f, LOG).constant(16).raw(0x74).setGlobal(GLOBAL.limit);
  out.get(end).global(GLOBAL.limit).raw(0x4b, BRANCH_IF, 0, END);
  return out.global(GLOBAL.at).get(end).setGlobal(GLOBAL.at);
}

/**
 * (fuel, depth, port, length): an activation. Between two of them a recording that is full begins anew. The last vector of
 * the inbox overlaps the one before it, so that nothing behind the message is touched.
 */
function activationBody(own: number, tag: number, target: number, type: number): EventAssembly {
  const [port, length, at, offset, last, result] = [2, 3, 4, 5, 6, 7];
  const out = code(3, I32, 1, type).global(GLOBAL.at).constant(FULL_BYTES).raw(0x4b).global(GLOBAL.torn).raw(0x72);
  out.raw(IF, EMPTY).op(CALL, FUNCTION.full).raw(END);
  out.global(GLOBAL.messages).add(1).setGlobal(GLOBAL.messages);
  const first = (word: number): unknown =>
    out.gets([at, port]).constant(4).raw(0x74).constant(word).raw(0x72).store(0x36, 0);
  const size = HEADER.size + IMAGE_AT;
  out.get(length).add(size).words().take(own, at);
  out.where(at, () => {
    first(tag);
    out.gets([at, length]).store(0x36, 4);
    for (let header = 0; header < HEADER.size; header += 16) out.vector(at, undefined, header);
    const end = HEADER.size - 16;
    out.get(length).add(end).set(last).constant(HEADER.size).set(offset);
    out.raw(BLOCK, EMPTY, LOOP, EMPTY).gets([offset, last]).raw(0x4e, BRANCH_IF, 1);
    out.vector(at, offset, 0).get(offset).add(16).set(offset).raw(BRANCH, 0, END, END);
    out.vector(at, last, 0);
  });
  out.gets([0, 1, port, length]).op(CALL, target).set(result);
  out.where(at, () => {
    first(tag + RECORDED.ended);
    if (type === F64) out.gets([at, result]).store(0x39, 8);
    out.get(at).global(GLOBAL.fuel).store(0x36, 16);
  });
  return out.get(result);
}

function exhaustedBody(own: number): EventAssembly {
  const [before, at] = [0, 1];
  const out = code(2, I32).global(GLOBAL.fuel).set(before).op(CALL, FUNCTION.exhausted).constant(8).take(own, at);
  return out.where(at, () => {
    out.tag(at, RECORDED.refuelled).get(at).global(GLOBAL.fuel).get(before).raw(0x6b).store(0x36, 4);
  });
}

function enteredBody(own: number): EventAssembly {
  const at = 2;
  const out = code(1, I32).constant(8).take(own, at);
  return out.where(at, () => out.gets([at, 0]).store(0x36, 0).gets([at, 1]).store(0x36, 4));
}

function wroteBody(own: number): EventAssembly {
  const [address, length, at] = [0, 1, 2];
  const out = code(1, I32).get(length).add(12).words().take(own, at);
  return out.where(at, () => {
    out.tag(at, RECORDED.wrote).gets([at, address]).store(0x36, 4).gets([at, length]).store(0x36, 8);
    out.get(at).add(12).gets([address, length]).raw(0xfc, 0x0a, LOG, GUEST);
  });
}

/** What a call was given, what the host wrote for it, and what it gave and cost: also where it was suspended in between. */
function callBody(own: number, index: number, { parameters, isLong, buffer }: RecordedImport): EventAssembly {
  const [at, result] = [parameters, parameters + 1];
  const tag = RECORDED.called | (index << 4);
  const given = Array.from({ length: parameters }, (_, each) => each);
  const out = code(1, I32, 1, isLong ? I64 : I32);
  out.constant(20 + 4 * parameters).take(own, at);
  out.where(at, () => {
    out.tag(at, tag).get(at).global(GLOBAL.fuel).store(0x36, 12);
    for (const each of given) out.gets([at, each]).store(0x36, 20 + 4 * each);
  });
  out.gets(given).op(CALL, FUNCTION.imports + index);
  out.set(result);
  if (buffer >= 0) {
    const capacity = buffer + 1;
    out.get(result).constant(0).raw(0x4a, IF, EMPTY);
    out.gets([buffer, result, capacity, result, capacity]).raw(0x49, 0x1b);
    out.op(CALL, own + OWN.wrote).raw(END);
  }
  out.where(at, () => {
    out.tag(at, tag + RECORDED.ended).gets([at, result]);
    if (!isLong) out.raw(0xac);
    out.store(0x37, 4).get(at).global(GLOBAL.fuel).store(0x36, 16);
  });
  return out.get(result);
}

function types(imports: readonly RecordedImport[]): ByteWriter {
  const out = new ByteWriter().u32(TYPE.imports + imports.length);
  const four = [4, I32, I32, I32, I32];
  out.raw(0x60, 0, 0, 0x60, ...four, 1, F64, 0x60, ...four, 1, I32, 0x60, 1, I32, 1, I32, 0x60, 2, I32, I32, 0);
  for (const { parameters, isLong } of imports)
    out.raw(0x60, parameters, ...Array.from({ length: parameters }, () => I32), 1, isLong ? I64 : I32);
  return out;
}

/**
 * The recorder of an instance with these imports. It holds no guest code.
 *
 * | import | what the kernel gives |
 * | --- | --- |
 * | `host.log` | a memory of 1 to `LOG_PAGES` pages for the events |
 * | `guest.memory`, `guest.fuel` | of the module |
 * | `guest.enter`, `guest.activate` | `bulkhead:enter` and `bulkhead:activate` |
 * | `host.full` | () -> (): makes room, between two activations |
 * | `host.exhausted`, `host.<n>` | the meter's import, and the module's n-th |
 *
 * | export | meaning |
 * | --- | --- |
 * | `at`, `limit`, `torn` | where the events end, where the room does; 1 from an event that found none on |
 * | `inbox`, `messages` | address of the inbox, set by the kernel; activations so far |
 * | `enter`, `activate`, `exhausted`, `<n>` | as those that it stands before |
 * | `entered`, `wrote` | (first word, second word) -> (), (address, length) -> (): noted by the kernel |
 */
export function makeRecorder(imports: readonly RecordedImport[]): Uint8Array<ArrayBuffer> {
  const own = FUNCTION.imports + imports.length;
  const given = new ByteWriter().u32(7 + imports.length);
  given.name("host", "log").raw(2, 1, 1).u32(LOG_PAGES).name("guest", "memory").raw(2, 0, 0);
  given.name("guest", "fuel").raw(3, I32, 1).name("host", "full").raw(0, TYPE.nothing);
  given.name("guest", "enter").raw(0, TYPE.enter).name("guest", "activate").raw(0, TYPE.activate);
  given.name("host", "exhausted").raw(0, TYPE.nothing);
  for (const index of imports.keys()) given.name("host", `${index}`).op(0, TYPE.imports + index);
  const functions = new ByteWriter().u32(OWN.calls + imports.length);
  const { room, pair, enter, activate, nothing } = TYPE;
  functions.raw(room, enter, activate, nothing, pair, pair);
  for (const index of imports.keys()) functions.u32(TYPE.imports + index);
  const globals = new ByteWriter().u32(5);
  for (const initial of [0, PAGE_BYTES, 0, 0, 0]) globals.raw(I32, 1).constant(initial).raw(END);
  const exported = new ByteWriter().u32(10 + imports.length);
  for (const name of ["at", "limit", "torn", "inbox", "messages"] as const) exported.name(name).raw(3, GLOBAL[name]);
  for (const name of ["enter", "activate", "exhausted", "entered", "wrote"] as const)
    exported.name(name).op(0, own + OWN[name]);
  for (const index of imports.keys()) exported.name(`${index}`).op(0, own + OWN.calls + index);
  return assemble([
    [1, types(imports)],
    [2, given],
    [3, functions],
    [6, globals],
    [7, exported],
    bodies(
      roomBody(),
      activationBody(own, RECORDED.message, FUNCTION.enter, F64),
      activationBody(own, RECORDED.gated, FUNCTION.activate, I32),
      exhaustedBody(own),
      enteredBody(own),
      wroteBody(own),
      ...imports.map((each, index) => callBody(own, index, each)),
    ),
  ]);
}

/**
 * What a recorded module gets for its imports: it exists before its recorder, which needs the module's memory. Exports the
 * table `recorder`, in which the recorder's functions `<n>` stand, `exhausted` last, and a function for each of them.
 */
export function makeStubs(imports: readonly RecordedImport[]): Uint8Array<ArrayBuffer> {
  const all = [...imports.keys(), imports.length];
  const typeOf = (index: number): number => (index < imports.length ? TYPE.imports + index : TYPE.nothing);
  const functions = new ByteWriter().u32(all.length);
  const exported = new ByteWriter().u32(imports.length + 2).name("recorder");
  exported.raw(1, 0);
  for (const index of all) {
    functions.u32(typeOf(index));
    exported.name(`${index}`).op(0, index);
  }
  const stubs = all.map((index) => {
    const out = code();
    for (let each = 0; each < (imports[index]?.parameters ?? 0); each++) out.get(each);
    return out.constant(index).raw(0x11).u32(typeOf(index)).raw(0);
  });
  return assemble([
    [1, types(imports)],
    [3, functions],
    [4, new ByteWriter().raw(1, FUNCREF, 0).u32(all.length)],
    [7, exported],
    bodies(...stubs),
  ]);
}
