/** Edits module binaries for the fault campaign: a port that injects faults into the running module, and mutated code. */
import wabtFactory from "wabt";
import { decodeCbor, encodeCbor, LIMITS } from "../../kernel/index.ts";
import type { CborInput } from "../../kernel/index.ts";
import type { Random } from "../../tools/fuzz/random.ts";

const wabt = await wabtFactory();

/** What the injection port of an instrumented module does; the first word of the message. */
export const INJECT = Object.freeze({
  nothing: 0,
  /** Pairs of address and mask follow: each word is changed by exclusive or. */
  flip: 1,
  /** Burns so many turns of a loop, then traps. */
  trap: 2,
  /** Burns as much, then never ends. */
  loop: 3,
  /** From now on every save goes wrong in the way of `SAVE`. */
  save: 4,
  /** Calls itself until the stack is used up. */
  recurse: 5,
  /** Grows the memory until it may not. */
  grow: 6,
} as const);

/** Ways in which a save goes wrong. */
export const SAVE = Object.freeze({ trap: 1, outside: 2, loop: 3, rubbish: 4 } as const);

const SECTION = Object.freeze({ custom: 0, type: 1, import: 2, function: 3, global: 6, export: 7, code: 10 } as const);

type Bytes = Uint8Array<ArrayBuffer>;

interface Section {
  readonly id: number;
  readonly bytes: Uint8Array;
}

class Reader {
  at = 0;
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get done(): boolean {
    return this.at >= this.bytes.length;
  }

  byte(): number {
    return this.bytes[this.at++] ?? 0;
  }

  /** Unsigned LEB128; of signed ones it finds the end. */
  leb(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }

  take(length: number): Uint8Array {
    const part = this.bytes.subarray(this.at, this.at + length);
    this.at += length;
    return part;
  }

  rest(): Uint8Array {
    return this.take(this.bytes.length - this.at);
  }
}

function leb(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low + 128 : low);
  } while (rest > 0);
  return bytes;
}

function signedLeb(value: number): number[] {
  const bytes: number[] = [];
  let rest = value | 0;
  for (;;) {
    const low = rest & 0x7f;
    rest >>= 7;
    const ends = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0);
    bytes.push(ends ? low : low | 0x80);
    if (ends) return bytes;
  }
}

function join(...parts: (Uint8Array | readonly number[])[]): Bytes {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

function readSections(binary: Uint8Array): Section[] {
  const reader = new Reader(binary);
  reader.at = 8;
  const sections: Section[] = [];
  while (!reader.done) {
    const id = reader.byte();
    sections.push({ id, bytes: reader.take(reader.leb()) });
  }
  return sections;
}

function writeSections(sections: readonly Section[]): Bytes {
  const header = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  return join(header, ...sections.map(({ id, bytes }) => join([id], leb(bytes.length), bytes)));
}

function sectionOf(sections: readonly Section[], id: number): Uint8Array {
  return sections.find((section) => section.id === id)?.bytes ?? Uint8Array.of(0);
}

/** Replaces a section's content, or puts it where the order of the format wants it. */
function withContent(sections: readonly Section[], id: number, bytes: Uint8Array): Section[] {
  if (sections.some((section) => section.id === id))
    return sections.map((section) => (section.id === id ? { id, bytes } : section));
  const after = sections.findIndex((section) => section.id > id);
  const at = after < 0 ? sections.length : after;
  return [...sections.slice(0, at), { id, bytes }, ...sections.slice(at)];
}

/** Appends entries to a section that is a vector. */
function appended(sections: readonly Section[], id: number, entries: readonly Uint8Array[]): Section[] {
  const reader = new Reader(sectionOf(sections, id));
  const count = reader.leb();
  return withContent(sections, id, join(leb(count + entries.length), reader.rest(), ...entries));
}

function countOf(sections: readonly Section[], id: number): number {
  return new Reader(sectionOf(sections, id)).leb();
}

/** Functions that the module imports; modules of this kernel import nothing else. */
function importedFunctions(sections: readonly Section[]): number {
  return countOf(sections, SECTION.import);
}

interface Export {
  readonly name: string;
  readonly kind: number;
  readonly index: number;
}

function readExports(sections: readonly Section[]): Export[] {
  const reader = new Reader(sectionOf(sections, SECTION.export));
  return Array.from({ length: reader.leb() }, () => {
    const name = new TextDecoder().decode(reader.take(reader.leb()));
    return { name, kind: reader.byte(), index: reader.leb() };
  });
}

function writeExports(exports: readonly Export[]): Uint8Array {
  const entries = exports.map(({ name, kind, index }) => {
    const text = new TextEncoder().encode(name);
    return join(leb(text.length), text, [kind], leb(index));
  });
  return join(leb(exports.length), ...entries);
}

/** The last `count` bodies of a module in WAT, each with its length in front, as a code section has them. */
function assembleBodies(wat: string, count: number): Uint8Array[] {
  const parsed = wabt.parseWat("injection.wat", wat, { bulk_memory: true });
  try {
    const sections = readSections(new Uint8Array(parsed.toBinary({}).buffer));
    const reader = new Reader(sectionOf(sections, SECTION.code));
    const bodies = Array.from({ length: reader.leb() }, () => {
      const length = reader.leb();
      return join(leb(length), reader.take(length));
    });
    return bodies.slice(-count);
  } finally {
    parsed.destroy();
  }
}

/** The injected handler and save, for functions and a global with these numbers. */
function injectedBodies(functions: number, inbox: number, handle: number, save: number, global: number, port: number) {
  const stand = Array.from({ length: functions }, (_, index) => {
    if (index === inbox) return `(func (result i32) (i32.const 0))`;
    return index === handle ? `(func (param i32 i32) (result i64) (i64.const 0))` : `(func (result i64) (i64.const 0))`;
  });
  const globals = Array.from({ length: global + 1 }, () => `(global (mut i32) (i32.const 0))`);
  const burn = `(local.set $turns (i32.load offset=68 (local.get $inbox)))
    (loop $burn (if (i32.gt_s (local.get $turns) (i32.const 0))
      (then (local.set $turns (i32.sub (local.get $turns) (i32.const 1))) (br $burn))))`;
  const when = (operation: number, action: string): string =>
    `(if (i32.eq (i32.load offset=64 (local.get $inbox)) (i32.const ${operation})) (then ${action}))`;
  return assembleBodies(
    `(module (memory 1) ${globals.join("")} ${stand.join("")}
      (func (param $port i32) (param $length i32) (result i64) (local $inbox i32) (local $turns i32) (local $at i32)
        (if (i32.ne (local.get $port) (i32.const ${port}))
          (then (return (call ${handle} (local.get $port) (local.get $length)))))
        (local.set $inbox (call ${inbox}))
        ${when(
          INJECT.flip,
          `(local.set $turns (i32.const 4))
           (block $done (loop $next
             (br_if $done (i32.ge_u (local.get $turns) (local.get $length)))
             (local.set $at (i32.rem_u (i32.load offset=64 (i32.add (local.get $inbox) (local.get $turns)))
               (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4))))
             (i32.store (local.get $at) (i32.xor (i32.load (local.get $at))
               (i32.load offset=68 (i32.add (local.get $inbox) (local.get $turns)))))
             (local.set $turns (i32.add (local.get $turns) (i32.const 8)))
             (br $next)))`,
        )}
        ${when(INJECT.trap, `${burn} (unreachable)`)}
        ${when(INJECT.loop, `${burn} (loop $ever (br $ever))`)}
        ${when(INJECT.save, `(global.set ${global} (i32.load offset=68 (local.get $inbox)))`)}
        ${when(INJECT.recurse, `(return (call ${functions} (local.get $port) (local.get $length)))`)}
        ${when(INJECT.grow, `(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))`)}
        (i64.const 0))
      (func (result i64)
        (if (i32.eq (global.get ${global}) (i32.const ${SAVE.trap})) (then (unreachable)))
        (if (i32.eq (global.get ${global}) (i32.const ${SAVE.outside})) (then (return (i64.const -2))))
        (if (i32.eq (global.get ${global}) (i32.const ${SAVE.loop})) (then (loop $ever (br $ever))))
        (if (i32.eq (global.get ${global}) (i32.const ${SAVE.rubbish})) (then (return (i64.const 0x40_0000_0040))))
        (call ${save})))`,
    2,
  );
}

/** Adds the port `inject` to the manifest. @returns the section's content and the port's number. */
function withInjectPort(custom: Uint8Array): { readonly bytes: Uint8Array; readonly port: number } {
  const reader = new Reader(custom);
  const name = reader.take(reader.leb());
  const limits = { maxBytes: 65_536, maxDepth: 16, maxItems: 4096, tags: [], deterministic: false };
  // SAFETY: a manifest that the build has written; admission checks what comes of it.
  const manifest = decodeCbor(reader.rest(), limits) as Map<string, CborInput>;
  const ports = manifest.get("ports") as readonly CborInput[];
  const inject = new Map<string, CborInput>([
    ["name", "inject"],
    ["contract", null],
    ["fuel", 100_000],
    ["stack", 4096],
  ]);
  manifest.set("ports", [...ports, inject]);
  return { bytes: join(leb(name.length), name, encodeCbor(manifest)), port: ports.length };
}

function isManifest({ id, bytes }: Section): boolean {
  const reader = new Reader(bytes);
  return id === SECTION.custom && new TextDecoder().decode(reader.take(reader.leb())) === "bulkhead";
}

/** The module with one port more, `inject`, by which faults are put into it while it runs. */
export function withInjection(binary: Uint8Array): Bytes {
  let sections = readSections(binary).filter(({ id, bytes }) => id !== SECTION.custom || isManifest({ id, bytes }));
  const manifest = sections.find(isManifest);
  if (manifest === undefined) throw new TypeError("the binary has no manifest");
  const { bytes, port } = withInjectPort(manifest.bytes);
  sections = sections.map((section) => (section === manifest ? { id: SECTION.custom, bytes } : section));
  const exports = readExports(sections);
  const find = (name: string): number => exports.find((each) => each.name === name)?.index ?? -1;
  const [inbox, handle, save] = [find("bulkhead_inbox"), find("bulkhead_handle"), find("bulkhead_save")];
  const functions = importedFunctions(sections) + countOf(sections, SECTION.function);
  const types = countOf(sections, SECTION.type);
  const global = countOf(sections, SECTION.global);
  const bodies = injectedBodies(functions, inbox, handle, save < 0 ? handle + 1 : save, global, port);
  const added = save < 0 ? bodies.slice(0, 1) : bodies;
  sections = appended(sections, SECTION.type, [
    Uint8Array.of(0x60, 2, 0x7f, 0x7f, 1, 0x7e),
    Uint8Array.of(0x60, 0, 1, 0x7e),
  ]);
  const declared = added.map((_, index) => Uint8Array.from(leb(types + index)));
  sections = appended(sections, SECTION.function, declared);
  sections = appended(sections, SECTION.global, [Uint8Array.of(0x7f, 1, 0x41, 0, 0x0b)]);
  const renamed = exports.map((each) => {
    if (each.name === "bulkhead_handle") return { ...each, index: functions };
    return each.name === "bulkhead_save" ? { ...each, index: functions + 1 } : each;
  });
  sections = withContent(sections, SECTION.export, writeExports(renamed));
  return writeSections(appended(sections, SECTION.code, added));
}

interface Instruction {
  readonly opcode: number;
  readonly from: number;
  readonly to: number;
  /** Where the immediate operands begin. */
  readonly operands: number;
}

function skipOperands(reader: Reader, opcode: number): void {
  const lebs = (count: number): void => {
    for (let index = 0; index < count; index++) reader.leb();
  };
  if (opcode === 0x0e) lebs(reader.leb() + 1);
  else if (opcode === 0x1c) reader.take(reader.leb());
  else if (opcode === 0x43) reader.take(4);
  else if (opcode === 0x44) reader.take(8);
  else if (opcode === 0x11 || (opcode >= 0x28 && opcode <= 0x3e)) lebs(2);
  else if (opcode === 0xfc) lebs([0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 1, 2, 1, 2, 1, 1, 1][reader.leb()] ?? 0);
  else if ([0x02, 0x03, 0x04, 0x0c, 0x0d, 0x10, 0x3f, 0x40, 0x41, 0x42, 0xd0, 0xd2].includes(opcode)) lebs(1);
  else if (opcode >= 0x20 && opcode <= 0x26) lebs(1);
}

/** The instructions of a body, after its locals. */
function readInstructions(body: Uint8Array): Instruction[] {
  const reader = new Reader(body);
  for (let groups = reader.leb(); groups > 0; groups--) {
    reader.leb();
    reader.byte();
  }
  const list: Instruction[] = [];
  while (reader.at < body.length - 1) {
    const from = reader.at;
    const opcode = reader.byte();
    const operands = reader.at;
    skipOperands(reader, opcode);
    list.push({ opcode, from, to: reader.at, operands });
  }
  return list;
}

/** Opcodes that may stand for each other: the same operands and results. */
const CLASSES: readonly (readonly [number, number])[] = [
  [0x46, 0x4f],
  [0x51, 0x5a],
  [0x5b, 0x60],
  [0x61, 0x66],
  [0x67, 0x69],
  [0x6a, 0x78],
  [0x79, 0x7b],
  [0x7c, 0x8a],
  [0x8b, 0x91],
  [0x92, 0x98],
  [0x99, 0x9f],
  [0xa0, 0xa6],
  [0x2c, 0x2f],
  [0x30, 0x35],
  [0x3a, 0x3b],
  [0x3c, 0x3e],
];

interface Mutation {
  readonly applies: (instruction: Instruction) => boolean;
  /** The bytes that stand in for the instruction's own. */
  readonly replace: (instruction: Instruction, bytes: Uint8Array, random: Random) => number[];
}

const hasIndex = ({ opcode }: Instruction): boolean => opcode === 0x10 || (opcode >= 0x20 && opcode <= 0x24);
const isMemory = ({ opcode }: Instruction): boolean => opcode >= 0x28 && opcode <= 0x3e;

/** What a programmer, a compiler or a bit of flash does to an instruction. */
export const MUTATIONS: Readonly<Record<string, Mutation>> = Object.freeze({
  operand: {
    applies: (instruction) => hasIndex(instruction) || isMemory(instruction),
    replace: (instruction, bytes, random) => {
      const reader = new Reader(bytes);
      reader.at = instruction.operands;
      const first = reader.leb();
      if (hasIndex(instruction)) return [instruction.opcode, ...leb(Math.max(0, first + random.pick([-2, -1, 1, 2])))];
      return [instruction.opcode, ...leb(first), ...leb(random.below(65_536))];
    },
  },
  opcode: {
    applies: ({ opcode }) => CLASSES.some(([from, to]) => opcode >= from && opcode <= to),
    replace: ({ opcode, operands, to }, bytes, random) => {
      const [from, last] = CLASSES.find(([low, high]) => opcode >= low && opcode <= high) ?? [opcode, opcode];
      return [from + random.below(last - from + 1), ...bytes.subarray(operands, to)];
    },
  },
  constant: {
    applies: ({ opcode }) => opcode === 0x41 || opcode === 0x44,
    replace: ({ opcode, operands, to }, bytes, random) => {
      if (opcode === 0x41) {
        return [opcode, ...signedLeb(random.pick([0, 1, -1, random.below(2 ** 31), 1 << random.below(32)]))];
      }
      const value = bytes.slice(operands, to);
      const at = random.below(8);
      value[at] = (value[at] ?? 0) ^ (1 << random.below(8));
      return [opcode, ...value];
    },
  },
  branch: {
    applies: ({ opcode }) => opcode === 0x0c || opcode === 0x0d || opcode === 0x04,
    replace: ({ opcode, operands, to, from }, bytes, random) => {
      if (opcode === 0x0c || (opcode === 0x0d && random.below(2) === 0)) return [opcode, ...leb(random.below(4))];
      return [0x45, ...bytes.subarray(from, operands), ...bytes.subarray(operands, to)];
    },
  },
  trap: { applies: () => true, replace: ({ from, to }, bytes) => [0x00, ...bytes.subarray(from, to)] },
  loop: {
    applies: () => true,
    replace: ({ from, to }, bytes) => [0x03, 0x40, 0x0c, 0x00, 0x0b, ...bytes.subarray(from, to)],
  },
});

/** One valid mutation of one instruction, or undefined where twenty tries gave none. */
export function mutateCode(
  binary: Uint8Array,
  random: Random,
): { readonly binary: Uint8Array; readonly mutation: string } | undefined {
  const sections = readSections(binary);
  const reader = new Reader(sectionOf(sections, SECTION.code));
  const bodies = Array.from({ length: reader.leb() }, () => reader.take(reader.leb()));
  for (let attempt = 0; attempt < 20; attempt++) {
    const index = random.below(bodies.length);
    const body = bodies[index];
    const mutation = random.pick(Object.keys(MUTATIONS));
    const { applies, replace } = MUTATIONS[mutation] as Mutation;
    const candidates = body === undefined ? [] : readInstructions(body).filter(applies);
    if (body === undefined || candidates.length === 0) continue;
    const instruction = random.pick(candidates);
    const bytes = replace(instruction, body, random);
    if (Buffer.compare(Uint8Array.from(bytes), body.subarray(instruction.from, instruction.to)) === 0) continue;
    const changed = join(body.subarray(0, instruction.from), bytes, body.subarray(instruction.to));
    const code = bodies.map((each, at) => {
      const content = at === index ? changed : each;
      return join(leb(content.length), content);
    });
    const mutated = writeSections(withContent(sections, SECTION.code, join(leb(bodies.length), ...code)));
    if (mutated.length <= LIMITS.binaryBytes && WebAssembly.validate(mutated)) return { binary: mutated, mutation };
  }
  return undefined;
}
