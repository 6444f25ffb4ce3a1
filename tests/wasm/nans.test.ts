/** Canonical NaNs where a module asks for them: each instruction, random programs, the same fuel, and what it may not break. */
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { Refusal } from "../../kernel/errors.ts";
import { DEFAULT_METER_OPTIONS, meter } from "../../kernel/wasm/meter.ts";
import { makeFloatProgram } from "./float-programs.ts";
import { computeAt, NANS, NUMBERS, type Operation, OPERATIONS, WIDTHS } from "./float-operations.ts";
import { patiently, repeatedly } from "../support/patience.ts";
import { chooser, compileWat, startMetered } from "./support.ts";

const CANONICAL = { ...DEFAULT_METER_OPTIONS, canonicalNans: true };

/** `<name>`: operands from 0 and 16, the result to 32; each of the other instructions leaves bits alone. */
function module(names: readonly { readonly name: string; readonly operands: number }[]): string {
  const functions = names.map((each) => `(func (export "${each.name}") ${computeAt(each, 0, 16, 32)})`);
  return `(module (memory (export "memory") 1) ${functions.join("\n")})`;
}

interface Instance {
  run(name: string, operands: readonly bigint[], from: 4 | 8): DataView;
}

function lanes(view: DataView, bytes: 4 | 8, size: number): bigint[] {
  return Array.from({ length: size / bytes }, (_, lane) =>
    bytes === 4 ? BigInt(view.getUint32(32 + 4 * lane, true)) : view.getBigUint64(32 + 8 * lane, true),
  );
}

function isNan(bits: bigint, bytes: 4 | 8): boolean {
  return bytes === 4 ? (bits & 0x7fff_ffffn) > 0x7f80_0000n : (bits & 0x7fff_ffff_ffff_ffffn) > 0x7ff0_0000_0000_0000n;
}

function canonical(bits: bigint, bytes: 4 | 8): bigint {
  return isNan(bits, bytes) ? (WIDTHS.find((width) => width.bytes === bytes)?.nan ?? 0n) : bits;
}

function instance(exports: WebAssembly.Exports): Instance {
  const view = new DataView((exports["memory"] as WebAssembly.Memory).buffer);
  return {
    run: (name, operands, from) => {
      // Each lane of an operand holds another of the values, so that no lane is like its neighbour.
      for (const [place, value] of operands.entries())
        for (let lane = 0; lane < 16 / from; lane++) {
          const bits = lane % 2 === 0 ? value : (operands[1 - place] ?? value ^ 1n);
          if (from === 4) view.setUint32(16 * place + 4 * lane, Number(bits), true);
          else view.setBigUint64(16 * place + 8 * lane, bits, true);
        }
      (exports[name] as () => void)();
      return view;
    },
  };
}

function pairs({ from, operands }: Operation): bigint[][] {
  const all = [...NANS[from], ...NUMBERS[from]];
  return operands === 1 ? all.map((value) => [value]) : all.flatMap((one) => all.map((other) => [one, other]));
}

const plainExports = (binary: Uint8Array<ArrayBuffer>): WebAssembly.Exports =>
  new WebAssembly.Instance(new WebAssembly.Module(binary)).exports;

describe("with canonical NaNs", () => {
  let asked: Instance;
  let plain: Instance;

  beforeAll(async () => {
    const binary = await compileWat(module(OPERATIONS));
    asked = instance(startMetered(meter(binary, CANONICAL)).exports);
    plain = instance(plainExports(binary));
  });

  it("there are 48 instructions whose NaNs the specification leaves open", () => {
    expect(new Set(OPERATIONS.map(({ name }) => name)).size).toBe(48);
  });

  it.each(OPERATIONS)("$name gives the positive canonical one for every NaN, and all else as it is", (operation) => {
    const { name, from, to, size } = operation;
    let made = 0;
    let others = 0;
    for (const operands of pairs(operation)) {
      const bits = lanes(plain.run(name, operands, from), to, size);
      const wanted = bits.map((lane) => canonical(lane, to));
      expect(lanes(asked.run(name, operands, from), to, size), `${name} ${operands.join()}`).toEqual(wanted);
      made += bits.filter((lane) => isNan(lane, to)).length;
      others += bits.filter((lane, at) => lane !== wanted[at]).length;
    }
    expect(made).toBeGreaterThanOrEqual(6);
    // Not asked for, this processor gives other bits: else nothing would have been shown.
    expect(others).toBeGreaterThan(0);
  });

  it("instructions that only hand bits on do just that", async () => {
    const carrying = [
      ...WIDTHS.flatMap(({ scalar, vector, bytes }) => [
        ...["abs", "neg"].map((name) => ({ name: `${scalar}.${name}`, from: bytes, size: bytes, operands: 1 })),
        { name: `${scalar}.copysign`, from: bytes, size: bytes, operands: 2 },
        ...["abs", "neg"].map((name) => ({ name: `${vector}.${name}`, from: bytes, size: 16, operands: 1 })),
        ...["pmin", "pmax"].map((name) => ({ name: `${vector}.${name}`, from: bytes, size: 16, operands: 2 })),
      ]),
    ] as const;
    const binary = await compileWat(module(carrying));
    const metered = meter(binary, CANONICAL);
    expect(metered).toEqual(meter(binary));
    const [guest, bare] = [instance(startMetered(metered).exports), instance(plainExports(binary))];
    for (const { name, from, size, operands } of carrying)
      for (const values of pairs({ name, from, to: from, size: size as 16, operands }))
        expect(lanes(guest.run(name, values, from), from, size)).toEqual(
          lanes(bare.run(name, values, from), from, size),
        );
  });

  it("a module without such an instruction is rewritten to the same bytes", async () => {
    const binary = await compileWat(`(module (memory 1) (func (export "f") (param f64) (result i64)
      (f64.store (i32.const 0) (f64.neg (local.get 0))) (i64.reinterpret_f64 (select (local.get 0) (f64.const nan:0x1) (i32.const 1)))))`);
    expect(meter(binary, CANONICAL)).toEqual(meter(binary));
  });

  it.each([
    ["behind what is never reached", "(f64.sqrt (local.get 0)) (block (br 0) f64.add drop)"],
    [
      "of the first arm",
      "(local.get 0) (i32.const 1) (if (param f64) (result f64) (then f64.sqrt) (else f64.sqrt f64.sqrt))",
    ],
    [
      "under what has been dropped",
      "(f64.sqrt (local.get 0)) (drop (f64.sqrt (local.get 1))) (local.set 1) (f64.sqrt (local.get 2)) (local.get 1) (local.set 2) (drop) (local.get 2)",
    ],
    [
      "of lanes that others read",
      "(f64x2.extract_lane 0 (f64x2.max (f32x4.sqrt (f64x2.splat (local.get 0))) (v128.const f64x2 -inf -inf)))",
    ],
  ])("a NaN %s is canonical all the same", async (_, code) => {
    const wat = `(module (func (export "f") (param f64 f64 f64) (result i64) ${code} (i64.reinterpret_f64)))`;
    const guest = startMetered(meter(await compileWat(wat), CANONICAL));
    expect(guest.call("f", -1, -1, -1)).toBe(code.includes("f64x2") ? 0x7fc0_0000_0000_0000n : 0x7ff8_0000_0000_0000n);
  });

  it("a NaN that is only asked whether it is one costs nothing", async () => {
    const one = await compileWat(`(module (func (export "f") (param f64 f64) (result f64)
      (f64.add (f64.mul (local.get 0) (local.get 1)) (f64.sqrt (f64.sub (local.get 0) (local.get 1))))))`);
    const single = await compileWat(`(module (func (export "f") (param f64 f64) (result f64)
      (f64.add (local.get 0) (local.get 1))))`);
    const added = (binary: Uint8Array<ArrayBuffer>): number => meter(binary, CANONICAL).length - meter(binary).length;
    expect(added(one)).toBe(added(single));
    expect(added(one)).toBeGreaterThan(10);
  });
});

interface Left {
  readonly memory: string;
  readonly used: number;
}

/** Runs `run` in slices, 0 for one that is long enough. */
function run(metered: Uint8Array<ArrayBuffer>, slice: number): Left {
  const start = slice === 0 ? 1_000_000_000 : slice;
  let granted = start;
  const guest = startMetered(metered, {
    fuel: start,
    depth: 500_000,
    exhausted: () => {
      if (slice === 0) throw new Error("exhausted");
      granted += slice;
      guest.exports["bulkhead:fuel"].value += slice;
    },
  });
  guest.call("run");
  return { memory: bitsOf(guest.exports), used: granted - guest.remaining() };
}

function bitsOf(exports: WebAssembly.Exports): string {
  return Buffer.from((exports["memory"] as WebAssembly.Memory).buffer, 0, 1024).toString("hex");
}

describe("random programs that look at the bits of floats", () => {
  it("come to what their twins do that make NaNs canonical themselves, in every slice, at the same fuel", {
    timeout: patiently(300_000),
  }, async () => {
    let differing = 0;
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const program = await compileWat(makeFloatProgram(chooser(seed), false));
        const twin = await compileWat(makeFloatProgram(chooser(seed), true));
        const { exports } = new WebAssembly.Instance(new WebAssembly.Module(twin));
        (exports["run"] as () => void)();
        const wanted = bitsOf(exports);
        const metered = meter(program, CANONICAL);
        const whole = run(metered, 0);
        expect(whole.memory).toBe(wanted);
        for (const slice of [1, 7, 1000]) expect(run(metered, slice)).toEqual(whole);
        // The twin takes the same way whether it is asked for or not: so it must take the same fuel.
        expect(run(meter(twin, CANONICAL), 0)).toEqual(run(meter(twin), 0));
        if (run(meter(program), 0).memory !== wanted) differing += 1;
      }),
      { numRuns: repeatedly(Number(process.env["BULKHEAD_PROGRAMS"] ?? 150)), seed: 20_261_121, endOnFailure: true },
    );
    // Where it is not asked for, this processor's own NaNs are seen.
    expect(differing).toBeGreaterThan(repeatedly(20));
  });
});

describe("the locals in which NaNs are made canonical", () => {
  const refusal = (binary: Uint8Array): Refusal => {
    try {
      meter(binary, CANONICAL);
    } catch (error) {
      if (error instanceof Refusal) return error;
    }
    throw new Error("it was not refused");
  };

  /** Loops, so that fuel has a local as well; all three types. */
  const body = (locals: number): string => `(module (memory 1) (func (export "f") (local ${"i64 ".repeat(locals)})
    (loop (f32.store (i32.const 0) (f32.sqrt (f32.load (i32.const 0)))) (f64.store (i32.const 0) (f64.sqrt (f64.load (i32.const 0))))
      (v128.store (i32.const 0) (f32x4.sqrt (f64x2.sqrt (v128.load (i32.const 0))))))))`;

  it("count among the 500 that a function may have", async () => {
    const most = await compileWat(body(495));
    expect(WebAssembly.validate(meter(most, CANONICAL))).toBe(true);
    const more = await compileWat(body(496));
    expect(WebAssembly.validate(meter(more))).toBe(true);
    expect(refusal(more)).toMatchObject({
      code: "E_SIZE",
      detail: { expected: "at most 500 parameters and locals", found: "501" },
    });
  });

  it.each(["local.get", "local.set", "local.tee"])("are out of the guest's reach by %s", async (instruction) => {
    const binary = await compileWat(`(module (func (export "f") (param f64) (result f64)
      (local.set 0 (f64.sqrt (local.get 0))) (local.get 0) (${instruction} 0) ${instruction === "local.set" ? "(local.get 0)" : ""}
      ${instruction === "local.get" ? "(drop)" : ""}))`);
    // The last index of that instruction is made one beyond the parameter.
    const opcode = { "local.get": 0x20, "local.set": 0x21, "local.tee": 0x22 }[instruction] ?? 0;
    const at = binary.findLastIndex(
      (byte, index) => byte === opcode && binary[index + 1] === 0 && index < binary.length - 1,
    );
    for (const index of [1, 2, 3]) {
      binary[at + 1] = index;
      expect(refusal(binary)).toMatchObject({ code: "E_WASM", detail: { found: `${index}` } });
    }
  });

  it("50,000 declared ones are refused before any is added", async () => {
    const binary = await compileWat(
      `(module (func (export "f") (local ${"f64 ".repeat(50_000)}) (local.set 0 (f64.sqrt (local.get 1)))))`,
    );
    expect(refusal(binary)).toMatchObject({ code: "E_SIZE", detail: { found: "50000" } });
  });
});

describe("a function that is nothing but float instructions", () => {
  it("grows by a constant factor, and is refused by size once it is beyond what may be compiled", async () => {
    const size = async (count: number): Promise<number> => {
      const chain = "local.get 0 f32x4.sqrt v128.not ".repeat(count);
      const binary = await compileWat(`(module (func (export "f") (param v128) (result v128) (local.get 0) (drop)
        ${chain.replaceAll("v128.not", "v128.not local.set 0")} (local.get 0)))`);
      return meter(binary, CANONICAL).length;
    };
    const [small, large] = [await size(100), await size(1000)];
    expect(large).toBeLessThan(10.5 * small);
    await expect(size(9000)).rejects.toMatchObject({ code: "E_SIZE" });
  });
});
