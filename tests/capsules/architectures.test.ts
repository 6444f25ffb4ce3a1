/** A capsule from arm64, made by its own Node under qemu, replays here where its module asks for canonical NaNs. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeCapsule } from "../../gateway/wire/capsule.ts";
import { canEmulate, emulatedNode } from "../../tools/package/emulation.ts";
import { runtimeFolder } from "../../tools/package/runtime.ts";
import { replay } from "../../tools/replay/replay.ts";
import { replayVerb } from "../../tools/replay/verb.ts";
import { watModule } from "../support/modules.ts";
import { computeAt, NANS, NUMBERS, OPERATIONS } from "../wasm/float-operations.ts";
import { failureOf, found, victim } from "./support.ts";
import { runVerb } from "../support/verb.ts";

const SCRIPT = path.join(import.meta.dirname, "fixtures/record.ts");
/** Emulated code is ten times slower, and the machine may be busy. */
const PATIENCE_MS = 300_000;
const [FIRST, SECOND, RESULT, SINGLES, DOUBLES] = [8192, 8208, 8224, 16_384, 16_640];
const PAIRS = 144;
const LAST = PAIRS + 6;

function data(at: number, values: readonly bigint[], bytes: 4 | 8): string {
  const table = Buffer.alloc(values.length * bytes);
  for (const [index, value] of values.entries()) {
    if (bytes === 4) table.writeUInt32LE(Number(value), index * 4);
    else table.writeBigUInt64LE(value, index * 8);
  }
  return `(data (i32.const ${at}) "${table.toString("hex").replaceAll(/../g, String.raw`\$&`)}")`;
}

function compute(bytes: 4 | 8): string {
  const all = OPERATIONS.filter(({ from }) => from === bytes);
  return all.map((operation) => `${computeAt(operation, FIRST, SECOND, RESULT)} (call $mix)`).join("\n");
}

/**
 * Each message computes all 48 instructions with another pair of operands, and folds the bits of the results into a
 * global; two others hold NaNs of their own. In the end all these bits say how long it spins before it traps: where a
 * single one differs, so does the fuel that is left. Its recording is full before, and begins anew from an image.
 */
const MODULE = watModule(
  "",
  `${data(SINGLES, [...NANS[4], ...NUMBERS[4]], 4)} ${data(DOUBLES, [...NANS[8], ...NUMBERS[8]], 8)}
   (global $count (mut i32) (i32.const -1)) (global $hash (mut i64) (i64.const 0))
   (global $single (mut f32) (f32.const 0)) (global $double (mut f64) (f64.const 0))
   (func $fold (param i64) (global.set $hash (i64.add (i64.mul (global.get $hash) (i64.const 0x100000001b3)) (local.get 0))))
   (func $mix (call $fold (i64.load (i32.const ${RESULT}))) (call $fold (i64.load (i32.const ${RESULT + 8}))))
   (func $singles ${compute(4)})
   (func $doubles ${compute(8)})
   (func (export "bulkhead_handle") (param i32 i32) (result i64) (local $i i32) (local $j i32)
     (global.set $count (i32.add (global.get $count) (i32.const 1)))
     (local.set $i (i32.rem_u (global.get $count) (i32.const 12)))
     (local.set $j (i32.rem_u (i32.div_u (global.get $count) (i32.const 12)) (i32.const 12)))
     (v128.store (i32.const ${FIRST}) (v128.load32_splat offset=${SINGLES} (i32.mul (local.get $i) (i32.const 4))))
     (v128.store (i32.const ${SECOND}) (v128.load32_splat offset=${SINGLES} (i32.mul (local.get $j) (i32.const 4))))
     (call $singles)
     (v128.store (i32.const ${FIRST}) (v128.load64_splat offset=${DOUBLES} (i32.mul (local.get $i) (i32.const 8))))
     (v128.store (i32.const ${SECOND}) (v128.load64_splat offset=${DOUBLES} (i32.mul (local.get $j) (i32.const 8))))
     (call $doubles)
     (if (i32.eq (global.get $count) (i32.const 5)) (then
       (global.set $single (f32.neg (f32.load (i32.const ${SINGLES + 20}))))
       (global.set $double (f64.neg (f64.load (i32.const ${DOUBLES + 40}))))))
     (if (i32.ge_u (global.get $count) (i32.const ${LAST})) (then
       (call $fold (i64.extend_i32_u (i32.reinterpret_f32 (global.get $single))))
       (call $fold (i64.reinterpret_f64 (global.get $double)))
       (local.set $i (i32.wrap_i64 (i64.shr_u (global.get $hash) (i64.const 51))))
       (loop $spin (local.set $i (i32.sub (local.get $i) (i32.const 1))) (br_if $spin (i32.gt_s (local.get $i) (i32.const 0))))
       (unreachable)))
     (i64.const 0))`,
);

const asking = victim(MODULE, { nans: true });
const careless = victim(MODULE);

it(
  "a module that asks for canonical NaNs says so in its capsule, and replays from an image that holds others",
  async () => {
    const payloads = Array.from({ length: LAST + 4 }, () => new Uint8Array(4000).fill(1));
    for (const [{ binary, spec }, isAsking] of [
      [asking, true],
      [careless, false],
    ] as const) {
      const failure = await failureOf({ binary, spec }, payloads);
      expect(failure).toMatchObject({ cause: "trap", text: "unreachable", canonicalNans: isAsking });
      expect(failure.events.before).toBeGreaterThan(20);
      const capsule = { ...failure, time: 1, architecture: process.arch, isRedacted: false };
      const { outcome, endings, divergence } = await replay(capsule, found(binary));
      expect(divergence).toBeUndefined();
      expect([outcome, ...endings.map(({ fuel }) => fuel)]).toEqual([
        "reproduced",
        failure.fuel,
        failure.fuel,
        failure.fuel,
      ]);
    }
  },
  PATIENCE_MS,
);

describe.skipIf(!canEmulate())("a capsule from arm64", () => {
  let folder: string;
  const at = (name: string): string => path.join(folder, name);

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "bulkhead-architectures-"));
    await writeFile(at("asking.wasm"), asking.binary);
    await writeFile(at("careless.wasm"), careless.binary);
    await symlink(path.join(runtimeFolder("arm64"), "bin"), at("bin"));
    // An emulator backs the guard regions of each memory with memory of the machine: so without them.
    const files = ["asking", "careless"].flatMap((name) => [at(`${name}.wasm`), at(`${name}.capsule`)]);
    await promisify(execFile)(emulatedNode(folder), ["--disable-wasm-trap-handler", SCRIPT, ...files]);
  }, PATIENCE_MS);
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  async function run(name: string): Promise<{ code: number; text: string }> {
    return runVerb(replayVerb, [at(`${name}.capsule`), "--wasm", at(`${name}.wasm`)]);
  }

  it("replays to the same trap at the same fuel where its module asks for canonical NaNs", async () => {
    const capsule = decodeCapsule(new Uint8Array(await readFile(at("asking.capsule"))));
    expect(capsule).toMatchObject({ architecture: "arm64", canonicalNans: true, cause: "trap", text: "unreachable" });
    expect(capsule.events.before).toBeGreaterThan(20);
    const { code, text } = await run("asking");
    expect(text).toContain(`try 3: trap at message ${LAST + 1}, ${capsule.fuel} fuel left`);
    expect(text).not.toContain("warning");
    expect(code).toBe(0);
  });

  it("says where its module does not ask for them that NaNs may differ, and where the two part", async () => {
    const capsule = decodeCapsule(new Uint8Array(await readFile(at("careless.capsule"))));
    expect(capsule).toMatchObject({ architecture: "arm64", canonicalNans: false });
    const { code, text } = await run("careless");
    if (process.arch === "arm64") return;
    expect(text).toMatch(
      /warning {2}recorded on arm64, run on x64: the module asks for no canonical NaNs \(`nans: canonical`/,
    );
    expect(text).toContain("diverged at");
    expect(code).toBe(1);
  });
});
