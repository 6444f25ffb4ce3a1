/** Admission of a signed binary of 100 KB (verify, inspect, meter, compile, instantiate), beside its bare compilation. */
import { initialTrust, sha256, verifyModule } from "../../../gateway/envelopes/index.ts";
import { admitModule } from "../../../kernel/index.ts";
import { signModule } from "../../../tools/keys/sign.ts";
import { moduleBinary, watModule } from "../../support/modules.ts";
import { DAY, key, moduleDocument, NOW, rootBytes } from "../../trust/fixture.ts";
import { describeModule, Product } from "../product.ts";
import type { BenchRow } from "../statistics.ts";
import { cpuNanoseconds, durationRow, inTurns } from "../statistics.ts";

const BYTES = 100_000;
const FUNCTION_BYTES = 123;

/** Functions with loops, memory accesses and calls, as many as make the size. */
function largeModule(): string {
  const count = Math.round(BYTES / FUNCTION_BYTES);
  const functions = Array.from({ length: count }, (_, index) => {
    const callee =
      index === 0
        ? ""
        : `(local.set $sum (i32.add (local.get $sum) (call $f${index - 1} (local.get $b) (local.get $a))))`;
    return `(func $f${index} (param $a i32) (param $b i32) (result i32) (local $i i32) (local $sum i32)
      (local.set $i (i32.and (local.get $a) (i32.const 15)))
      (block $out (loop $l (br_if $out (i32.eqz (local.get $i)))
        (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const ${31 + index})) (i32.load (i32.const ${index * 4}))))
        (if (i32.gt_u (local.get $sum) (i32.const ${1_000_000 + index})) (then
          (i32.store (i32.const ${8192 + index * 4}) (local.get $sum))
          (local.set $sum (i32.shr_u (local.get $sum) (i32.const 3))))
          (else (local.set $sum (i32.xor (local.get $sum) (i32.rotl (local.get $b) (i32.const ${index % 32}))))))
        (local.set $i (i32.sub (local.get $i) (i32.const 1)))
        (br $l)))
      (if (i32.gt_u (local.get $a) (i32.const ${5000 + index})) (then ${callee}
        (local.set $sum (i32.sub (i32.div_u (local.get $sum) (i32.const ${3 + index})) (i32.load8_u (i32.const ${index}))))))
      (local.get $sum))`;
  });
  return watModule(
    "",
    `${functions.join("\n")}
     (func (export "bulkhead_handle") (param i32 i32) (result i64)
       (i64.extend_i32_u (call $f${count - 1} (local.get 0) (local.get 1))))`,
  );
}

interface Signed {
  readonly name: string;
  readonly binary: Uint8Array;
  readonly envelope: Uint8Array;
}

/** One release for each sample: a kernel takes a name once. */
function signedModules(count: number): Signed[] {
  const wat = largeModule();
  return Array.from({ length: count }, (_, index) => {
    const name = `large-${index}`;
    const binary = moduleBinary(wat, describeModule(name, { wat }).manifest);
    const document = moduleDocument(
      { name, wasmDigest: sha256(binary), wasmSize: binary.length },
      { capabilities: [] },
    );
    return { name, binary, envelope: signModule(document, [key("release")], binary) };
  });
}

export async function measureAdmission(quick: boolean): Promise<BenchRow[]> {
  const rounds = quick ? 8 : 40;
  const warm = 2;
  const modules = signedModules(rounds + warm);
  const trust = initialTrust(rootBytes);
  const product = await Product.start();
  let next = 0;
  const admit = async (): Promise<void> => {
    const { name, envelope } = modules[next++] ?? { name: "", envelope: new Uint8Array(0) };
    const { wasm } = verifyModule(envelope, trust, { now: NOW + DAY });
    if (wasm === undefined) throw new Error("the envelope holds no wasm");
    const { spec } = describeModule(name, { wat: "" });
    const loaded = product.next((event) => event.type === "loaded" && event.module === name);
    product.kernel.load(spec, await admitModule(wasm, spec));
    await loaded;
  };
  let compiled = 0;
  const contestants = [
    { name: "admission", sample: () => cpuNanoseconds(1e6, admit) },
    {
      name: "WebAssembly.compile",
      sample: () => cpuNanoseconds(1e6, () => WebAssembly.compile(Uint8Array.from(modules[compiled++]?.binary ?? []))),
    },
  ];
  const samples = await inTurns(contestants, rounds, warm);
  await product.stop();
  const note = `${modules[0]?.binary.length ?? 0} bytes`;
  const frame = { name: "admit.100KB", unit: "ms", clock: "cpu", note } as const;
  return [durationRow(frame, ["", "WebAssembly.compile alone"], samples)];
}
