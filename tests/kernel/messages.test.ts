/** Messages between modules of one partition and of two. */
import { afterEach, describe, expect, test } from "vitest";
import type { EndpointGrant, Grant } from "../../kernel/index.ts";
import { admit, ECHO, manifestFields, moduleSpec, watModule } from "../support/modules.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";

let running: TestKernel | undefined;
afterEach(async () => {
  await running?.stop();
  running = undefined;
});

const LOG: Grant = { slot: "log", interface: "log", rights: ["write"], parameters: {} };
const LOG_SLOT = { interface: "log", rights: ["write"], port: null };
const LOG_IMPORT = `(import "log" "write" (func $log (param i32 i32 i32) (result i32)))`;

function endpoint(to: string, changes: Partial<EndpointGrant> = {}): EndpointGrant {
  const [module = "", port = ""] = to.split(".");
  return {
    slot: "out",
    interface: "endpoint",
    to: [{ module, port }],
    rights: ["send", "call"],
    badge: 7,
    depth: 64,
    overflow: "refuse",
    ...changes,
  };
}

/** Calls `out` at the start with "hello" and logs the reply; logs the code in its first byte where it fails. */
const CALLER = watModule(
  `${LOG_IMPORT}(import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`,
  `(data (i32.const 8192) "hello")
   (func (export "bulkhead_handle") (param i32 i32) (result i64)
     (local $n i32)
     (local.set $n (call $call (i32.const 8192) (i32.const 5) (i32.const 9000) (i32.const 100) (i32.const 1000)))
     (if (i32.lt_s (local.get $n) (i32.const 0))
       (then (i32.store8 (i32.const 9000) (i32.sub (i32.const 64) (local.get $n))) (local.set $n (i32.const 1))))
     (drop (call $log (i32.const 2) (i32.const 9000) (local.get $n)))
     (i64.const 0))`,
);
const CALLER_MANIFEST = manifestFields("caller", {
  slots: { log: LOG_SLOT, out: { interface: "endpoint", rights: ["call"], port: null } },
});

/** Logs each payload that it gets on port 0. */
const LOGGER = watModule(
  LOG_IMPORT,
  `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
     (if (i32.eqz (local.get $port))
       (then (drop (call $log (i32.const 2) (i32.const 1088) (local.get $length)))))
     (i64.const 0))`,
);
const LOGGER_MANIFEST = manifestFields("logger", { slots: { log: LOG_SLOT } });

describe.each([["main"], ["other"]])("with the other module in partition %s", (partition) => {
  test("a call gets the reply", async () => {
    running = await startKernel({ partitions: ["main", "other"] });
    const { kernel } = running;
    const echo = moduleSpec("echo", [], { partition });
    kernel.load(echo, await admit(watModule("", ECHO), manifestFields("echo"), echo));
    const caller = moduleSpec("caller", [LOG, endpoint("echo.in")]);
    kernel.load(caller, await admit(CALLER, CALLER_MANIFEST, caller));
    kernel.begin();
    expect(await running.logs("caller", 1)).toEqual(["hello"]);
  });

  test("a callee that traps gives its caller dead-peer, and runs again", async () => {
    running = await startKernel({ partitions: ["main", "other"] });
    const { kernel } = running;
    const trapper = moduleSpec("echo", [], { partition });
    const wat = watModule(
      "",
      `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
        (if (i32.eqz (local.get $port)) (then unreachable)) (i64.const 0))`,
    );
    kernel.load(trapper, await admit(wat, manifestFields("echo"), trapper));
    const caller = moduleSpec("caller", [LOG, endpoint("echo.in")]);
    kernel.load(caller, await admit(CALLER, CALLER_MANIFEST, caller));
    kernel.begin();
    // 64 + 2: dead-peer.
    expect(await running.logs("caller", 1)).toEqual(["B"]);
    expect((await running.waitFor("fault")).cause).toBe("trap");
    expect((await running.waitFor("restarted")).module).toBe("echo");
  });

  test("sends arrive in order", async () => {
    running = await startKernel({ partitions: ["main", "other"] });
    const { kernel } = running;
    const logger = moduleSpec("logger", [LOG], { partition });
    kernel.load(logger, await admit(LOGGER, LOGGER_MANIFEST, logger));
    const sender = moduleSpec("sender", [endpoint("logger.in")]);
    const wat = watModule(
      `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`,
      `(func (export "bulkhead_handle") (param i32 i32) (result i64)
        (local $i i32)
        (local.set $i (i32.const 65))
        (loop $l
          (i32.store8 (i32.const 8192) (local.get $i))
          (drop (call $send (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $l (i32.lt_u (local.get $i) (i32.const 91))))
        (i64.const 0))`,
    );
    const manifest = manifestFields("sender", {
      slots: { out: { interface: "endpoint", rights: ["send"], port: null } },
    });
    kernel.load(sender, await admit(wat, manifest, sender));
    kernel.begin();
    expect((await running.logs("logger", 26)).join("")).toBe("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
  });
});

test("an endless loop is stopped by its budget while a neighbour goes on", async () => {
  running = await startKernel();
  const { kernel } = running;
  const spinner = moduleSpec("spinner");
  const wat = watModule(
    "",
    `(func (export "bulkhead_handle") (param i32 i32) (result i64) (loop $l (br $l)) (i64.const 0))`,
  );
  kernel.load(spinner, await admit(wat, manifestFields("spinner", { fuel: 20_000_000 }), spinner));
  const echo = moduleSpec("echo");
  kernel.load(echo, await admit(watModule("", ECHO), manifestFields("echo"), echo));
  const caller = moduleSpec("caller", [LOG, endpoint("echo.in")]);
  kernel.load(caller, await admit(CALLER, CALLER_MANIFEST, caller));
  kernel.begin();
  expect(await running.logs("caller", 1)).toEqual(["hello"]);
  const fault = await running.waitFor("fault");
  expect(fault).toMatchObject({ module: "spinner", cause: "budget" });
  expect((await running.waitFor("held", () => true, 10_000)).module).toBe("spinner");
});

test("a stuck partition is replaced and its modules run again", async () => {
  running = await startKernel({ partitions: ["main", "other"], stuckMs: 300 });
  const { kernel } = running;
  const logger = moduleSpec("logger", [LOG], { partition: "other" });
  const wat = watModule(
    LOG_IMPORT,
    `(data (i32.const 8192) "up")(func (export "bulkhead_handle") (param i32 i32) (result i64)
     (drop (call $log (i32.const 2) (i32.const 8192) (i32.const 2))) (i64.const 0))`,
  );
  kernel.load(logger, await admit(wat, LOGGER_MANIFEST, logger));
  kernel.begin();
  await running.logs("logger", 1);
  kernel.freezePartition("other");
  await running.waitFor("partition-lost");
  expect(await running.logs("logger", 2)).toEqual(["up", "up"]);
});
