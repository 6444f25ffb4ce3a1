/** Bare WebAssembly: a call between two instances, and suspensions under JavaScript Promise Integration. */
import { watBinary } from "../../support/modules.ts";

interface PromiseIntegration {
  Suspending: new (target: () => unknown) => WebAssembly.ImportValue;
  promising(target: unknown): (count: number) => Promise<number>;
}
// JSPI is in Node 26 and not yet in TypeScript's library.
const integration = WebAssembly as unknown as PromiseIntegration;

function instantiate(wat: string, imports: WebAssembly.Imports = {}): Record<string, WebAssembly.ExportValue> {
  return new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from(watBinary(wat))), imports).exports;
}

/** A loop in one instance that calls a function with a handler's signature in another; nothing is copied. */
export function bareCalls(): (count: number) => void {
  const { handle } = instantiate(`(module (memory 1)
    (func (export "handle") (param $port i32) (param $length i32) (result i64)
      (i32.store (i32.const 8) (local.get $length))
      (i64.or (i64.shl (i64.const 1088) (i64.const 32)) (i64.extend_i32_u (local.get $length)))))`);
  const { run } = instantiate(
    `(module (import "callee" "handle" (func $handle (param i32 i32) (result i64)))
      (func (export "run") (param $n i32)
        (loop $again (drop (call $handle (i32.const 0) (i32.const 64)))
          (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))`,
    { callee: { handle: handle as WebAssembly.ImportValue } },
  );
  return run as (count: number) => void;
}

/** A function that is suspended and resumed so many times; nothing else happens. */
export function bareSuspensions(): (count: number) => Promise<number> {
  const { run } = instantiate(
    `(module (import "host" "wait" (func $wait (result i32)))
      (func (export "run") (param $n i32) (result i32)
        (loop $again (drop (call $wait))
          (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (i32.const 0)))`,
    { host: { wait: new integration.Suspending(() => Promise.resolve(0)) } },
  );
  return integration.promising(run);
}
