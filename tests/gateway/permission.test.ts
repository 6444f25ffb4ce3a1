/** The core runs under Node's permission model: what it may not do fails, whoever asks. */
import { spawnSync } from "node:child_process";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CORE_FLAGS } from "../../tools/launch/core-flags.js";

const server = createServer();
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterAll(() => {
  server.close();
});

/** Runs a script under the core's flags; gives what it prints. */
function asCore(script: string): string {
  const flags = [...CORE_FLAGS, "--disable-warning=ExperimentalWarning", "--input-type=module", "-e", script];
  const { stdout, stderr } = spawnSync(process.execPath, flags, { encoding: "utf8", timeout: 20_000 });
  return `${stdout}${stderr}`;
}

test("it cannot open a connection", () => {
  // SAFETY: a listening TCP server has an address of this form.
  const { port } = server.address() as AddressInfo;
  const script = `import net from "node:net";
    try { net.connect(${port}, "127.0.0.1").on("connect", () => console.log("connected")).on("error", (e) => console.log(e.code)); }
    catch (error) { console.log(error.code); }`;
  expect(asCore(script)).toMatch(/ERR_ACCESS_DENIED/);
});

test("it cannot listen", () => {
  const script = `import net from "node:net";
    try { net.createServer().listen(0, "127.0.0.1", () => { console.log("listening"); process.exit(); }).on("error", (e) => console.log(e.code)); }
    catch (error) { console.log(error.code); }`;
  expect(asCore(script)).toMatch(/ERR_ACCESS_DENIED/);
});

test("it cannot call foreign functions", () => {
  const script = `try { const ffi = await import("node:ffi"); new ffi.DynamicLibrary("libc.so.6"); console.log("loaded"); }
    catch (error) { console.log(error.code); }`;
  expect(asCore(script)).toMatch(/ERR_ACCESS_DENIED/);
});

test("it cannot load native addons", () => {
  const script = `try { process.dlopen({ exports: {} }, "/lib/x86_64-linux-gnu/libc.so.6"); console.log("loaded"); }
    catch (error) { console.log(error.code); }`;
  expect(asCore(script)).toMatch(/ERR_(ACCESS_DENIED|DLOPEN_DISABLED)/);
});
