/** The device process as the core starts it: files and simulated buses over descriptor 3, under Node's permission model. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HostProcess } from "../../gateway/wire/child.ts";
import { hostEntry } from "../../gateway/wire/entry.ts";
import { devicePermissions } from "../../gateway/wire/permissions.ts";
import type { HostBinding } from "../../gateway/wire/protocol.ts";
import { Refusal, RESULT } from "../../kernel/index.ts";
import type { CborInput } from "../../kernel/index.ts";

const folder = mkdtempSync(join(tmpdir(), "bulkhead-device-"));
const path = (name: string) => join(folder, name);
const statuses: string[] = [];
const logs: string[] = [];

function file(id: number, filePath: string, rights = ["read", "write"]): HostBinding {
  return { id, interface: "file", owner: `test.${id}`, rights, parameters: { path: filePath } };
}

function i2c(id: number, bus: number, address: number): HostBinding {
  return { id, interface: "i2c-device", owner: `test.${id}`, rights: ["read", "write"], parameters: { bus, address } };
}

const bindings = [
  file(1, "/proc/meminfo"),
  file(2, path("plain")),
  file(3, path("link")),
  file(4, path("absent")),
  file(5, path("fifo")),
  file(6, path("folder")),
  file(7, "/proc/stat", ["read"]),
  file(8, path("way/inner")),
  file(9, path("way/new")),
  file(15, "/proc/net/dev"),
  file(14, `/proc/self/root${path("secret")}`),
  i2c(10, 1, 0x76),
  i2c(11, 1, 0x77),
  i2c(12, 9, 0x76),
  i2c(13, 1, 0x90),
];

function makeHost(settings: CborInput, bound: readonly HostBinding[]): HostProcess {
  return new HostProcess({
    name: "device",
    ...hostEntry("device"),
    settings,
    permissions: devicePermissions(bound),
    heapMiB: 64,
    onEvent: () => undefined,
    onStatus: (state, text) => statuses.push(`${state}: ${text}`),
    onLog: (_level, text) => logs.push(text),
  });
}

let host: HostProcess;

beforeAll(async () => {
  writeFileSync(path("plain"), "old content");
  writeFileSync(path("secret"), "not granted");
  symlinkSync(path("secret"), path("link"));
  symlinkSync(path("folder"), path("way"));
  execFileSync("mkfifo", [path("fifo")]);
  mkdirSync(path("folder"));
  writeFileSync(path("folder/inner"), "behind a link");
  const simulate = [{ chip: "bme280", address: 0x76, temperature: 20 }];
  host = makeHost({ devices: { i2c: { "1": { backend: "simulator", simulate } } } }, bindings);
  await host.start(bindings);
});

afterAll(async () => {
  await host.stop();
  rmSync(folder, { recursive: true });
});

async function read(binding: number, offset: number, capacity: number) {
  const { result, bytes } = await host.request({
    binding,
    operation: "read",
    numbers: [offset],
    bytes: [],
    capacity,
    timeoutMs: 5000,
  });
  return { result, text: new TextDecoder().decode(bytes) };
}

function write(binding: number, text: string) {
  const bytes = [new TextEncoder().encode(text)];
  return host
    .request({ binding, operation: "write", numbers: [], bytes, capacity: 0, timeoutMs: 5000 })
    .then(({ result }) => result);
}

describe("file", () => {
  it("reads a file of /proc as one consistent snapshot, in pieces", async () => {
    const first = await read(1, 0, 100);
    expect(first.text).toMatch(/^MemTotal:/);
    let text = first.text;
    for (;;) {
      const { result, text: piece } = await read(1, text.length, 100);
      expect(result).toBe(piece.length);
      if (result === 0) break;
      text += piece;
    }
    expect(text.endsWith("\n")).toBe(true);
    expect(text.split("\n").length).toBeGreaterThan(20);
  });

  it("reads a regular file from any offset", async () => {
    expect(await read(2, 0, 64)).toEqual({ result: 11, text: "old content" });
    expect(await read(2, 4, 3)).toEqual({ result: 3, text: "con" });
    expect(await read(2, 11, 3)).toEqual({ result: 0, text: "" });
    expect((await read(2, -1, 3)).result).toBe(RESULT.invalid);
  });

  it("replaces the content whole, leaving nothing beside it", async () => {
    expect(await write(2, "new")).toBe(3);
    expect(readFileSync(path("plain"), "utf8")).toBe("new");
    const results = await Promise.all(Array.from({ length: 20 }, (_, index) => write(2, `version ${index}`)));
    expect(results.every((result) => result > 0)).toBe(true);
    expect(readFileSync(path("plain"), "utf8")).toBe("version 19");
    expect(readdirSync(folder).sort()).toEqual(["fifo", "folder", "link", "plain", "secret", "way"]);
    await write(2, "old content");
  });

  it("follows no symbolic link, and opens no folder and no FIFO", async () => {
    for (const binding of [3, 5, 6]) {
      expect((await read(binding, 0, 10)).result, String(binding)).toBe(RESULT.denied);
      expect(await write(binding, "x"), String(binding)).toBe(RESULT.denied);
    }
    expect(readFileSync(path("secret"), "utf8")).toBe("not granted");
  });

  it("goes through no folder that is a symbolic link, nor out of /proc by one of the kernel's", async () => {
    for (const binding of [8, 9, 14]) {
      expect((await read(binding, 0, 10)).result, String(binding)).toBeLessThan(0);
      expect(await write(binding, "x"), String(binding)).toBe(RESULT.denied);
    }
    expect((await read(8, 0, 10)).result).toBe(RESULT.denied);
    expect((await read(14, 0, 10)).result).toBe(RESULT.denied);
    expect(readdirSync(path("folder"))).toEqual(["inner"]);
    expect(readFileSync(path("folder/inner"), "utf8")).toBe("behind a link");
    expect(logs.some((line) => line.includes("leads through a symbolic link") && line.includes("folder"))).toBe(true);
  });

  it("lets what the kernel links within /proc be read", async () => {
    expect((await read(15, 0, 64)).text).toContain("Inter-");
  });

  it("says that an absent file is not there, and creates it on writing", async () => {
    expect((await read(4, 0, 10)).result).toBe(RESULT["not-found"]);
    expect(await write(4, "made")).toBe(4);
    expect((await read(4, 0, 10)).text).toBe("made");
    rmSync(path("absent"));
  });

  it("does not write where only reading was granted", async () => {
    expect(await write(7, "x")).toBe(RESULT.denied);
  });

  it("is held to the granted paths by the permission model too", async () => {
    host.bind([file(20, path("secret"))]);
    expect((await read(20, 0, 10)).result).toBe(RESULT.denied);
    host.unbind([20]);
  });

  it("refuses a path that climbs", async () => {
    host.bind([file(21, "/proc/../etc/passwd")]);
    expect((await read(21, 0, 10)).result).toBe(RESULT["not-found"]);
    expect(logs.some((line) => line.includes("test.21") && line.includes("not a plain absolute path"))).toBe(true);
  });
});

describe("i2c-device", () => {
  function transfer(binding: number, operation: string, bytes: number[], capacity: number) {
    return host.request({
      binding,
      operation,
      numbers: [],
      bytes: operation === "read" ? [] : [Uint8Array.from(bytes)],
      capacity,
      timeoutMs: 5000,
    });
  }

  it("says at start which backend each bus has", () => {
    expect(statuses).toContain("bus: i2c-1: simulator (bme280 at 0x76)");
  });

  it("reaches the chip at the bound address, and no other", async () => {
    expect(await transfer(10, "write-read", [0xd0], 1)).toEqual({ result: 1, bytes: Uint8Array.of(0x60) });
    expect((await transfer(10, "write", [0xf4, 0x25], 0)).result).toBe(0);
    expect((await transfer(10, "read", [], 2)).result).toBe(2);
    expect((await transfer(11, "write-read", [0xd0], 1)).result).toBe(RESULT["not-acknowledged"]);
  });

  it("answers not-acknowledged on a simulated bus with no chips, and refuses an address that is none", async () => {
    expect((await transfer(12, "read", [], 1)).result).toBe(RESULT["not-acknowledged"]);
    expect((await transfer(13, "read", [], 1)).result).toBe(RESULT["not-found"]);
    expect(logs.some((line) => line.includes("test.13") && line.includes("not an I2C address"))).toBe(true);
  });

  it("refuses transfers beyond what the bus takes, and empty ones", async () => {
    expect((await transfer(10, "write-read", [0xd0], 8193)).result).toBe(RESULT["too-large"]);
    expect((await transfer(10, "write-read", [0xd0], 0)).result).toBe(RESULT.invalid);
    expect((await transfer(10, "write", [], 0)).result).toBe(RESULT.invalid);
  });
});

describe("settings", () => {
  it.each([
    ["an unknown chip", { i2c: { "1": { backend: "simulator", simulate: [{ chip: "bme281", address: 0x76 }] } } }],
    ["an unknown backend", { i2c: { "1": { backend: "magic" } } }],
    [
      "an unknown fault",
      { i2c: { "1": { simulate: [{ chip: "bme280", address: 0x76, faults: [{ kind: "fire" }] }] } } },
    ],
    ["a wrong value", { i2c: { "1": { simulate: [{ chip: "bme280", address: 0x76, temperature: "warm" }] } } }],
  ])("with %s are refused in one line", async (_, devices) => {
    const refused = makeHost({ devices }, []);
    const error: unknown = await refused.start([]).catch((reason: unknown) => reason);
    await refused.stop();
    expect(error).toBeInstanceOf(Refusal);
    expect(logs.at(-1)).toContain("E_CONFIG");
  });
});
