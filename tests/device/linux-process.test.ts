/** The device process on Linux buses, with the shim preloaded: native calls under the permission model, and a hung one. */
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { HostProcess } from "../../gateway/wire/child.ts";
import { hostEntry } from "../../gateway/wire/entry.ts";
import { devicePermissions } from "../../gateway/wire/permissions.ts";
import type { HostBinding } from "../../gateway/wire/protocol.ts";
import { RESULT } from "../../kernel/index.ts";
import { hasCompiler, loadShim, temporaryFolder } from "./fixtures/native.ts";

const folder = temporaryFolder();
const shim = hasCompiler ? loadShim(folder.path) : undefined;
const HANGING_REGISTER = 0xee;
const logs: string[] = [];
let host: HostProcess;

const bindings: HostBinding[] = [
  { id: 1, interface: "i2c-device", owner: "test.a", rights: ["read", "write"], parameters: { bus: 1, address: 0x50 } },
  { id: 2, interface: "spi-device", owner: "test.b", rights: ["read", "write"], parameters: { bus: 0, chip: 0 } },
  {
    id: 3,
    interface: "gpio-line",
    owner: "test.c",
    rights: ["read", "write"],
    parameters: { chip: 0, line: 3, direction: "out", edges: "none" },
  },
];

afterEach(() => host.stop());
afterAll(() => {
  folder.remove();
});

async function start(): Promise<void> {
  const linux = { backend: "linux" };
  host = new HostProcess({
    name: "device",
    ...hostEntry("device"),
    settings: { devices: { i2c: { "1": linux }, spi: { "0": linux }, gpio: { "0": linux } } },
    permissions: devicePermissions(bindings),
    heapMiB: 64,
    environment: { LD_PRELOAD: shim?.library ?? "" },
    onEvent: () => undefined,
    onStatus: (_state, text) => logs.push(text),
    onLog: (_level, text) => logs.push(text),
  });
  await host.start(bindings);
}

function ask(binding: number, operation: string, bytes: number[][], capacity: number, numbers: number[] = []) {
  const lists = bytes.map((list) => Uint8Array.from(list));
  return host.request({ binding, operation, numbers, bytes: lists, capacity, timeoutMs: 30_000 });
}

async function until(condition: () => boolean, ms: number): Promise<void> {
  const limit = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > limit) throw new Error(`it never came about: ${logs.join("; ")}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe.skipIf(shim === undefined)("the device process on Linux", () => {
  it("reaches each kind of bus through native calls of its threads", async () => {
    await start();
    expect(logs).toContain("i2c-1: linux /dev/i2c-1");
    expect((await ask(1, "write", [[0x10, 7, 8]], 0)).result).toBe(0);
    expect([...(await ask(1, "write-read", [[0x10]], 2)).bytes]).toEqual([7, 8]);
    expect([...(await ask(2, "transfer", [[1, 2]], 2)).bytes]).toEqual([0xfe, 0xfd]);
    expect((await ask(3, "set", [], 0, [1])).result).toBe(0);
    expect((await ask(3, "get", [], 0)).result).toBe(1);
  });

  it("answers others while one bus hangs, ends when it hangs for good, and comes back", async () => {
    await start();
    const first = host.pid ?? 0;
    expect((await ask(1, "write", [[HANGING_REGISTER]], 0)).result).toBe(RESULT.timeout);
    expect((await ask(1, "read", [], 1)).result).toBe(RESULT.io);
    expect([...(await ask(2, "transfer", [[1]], 1)).bytes]).toEqual([0xfe]);
    await until(() => host.restarts === 1 && host.isReady, 25_000);
    expect(isAlive(first)).toBe(false);
    expect(logs.some((line) => line.includes("i2c-1: a transfer has not come back"))).toBe(true);
    expect((await ask(1, "write", [[0x10]], 0)).result).toBe(0);
  });

  it("stops in time though a transfer hangs", async () => {
    await start();
    const first = host.pid ?? 0;
    void ask(1, "write", [[HANGING_REGISTER]], 0);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const before = performance.now();
    await host.stop();
    expect(performance.now() - before).toBeLessThan(2500);
    expect(isAlive(first)).toBe(false);
  });
});
