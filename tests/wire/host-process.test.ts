/** The core and a real child process: requests, events, deaths, silence, and a child that turned hostile. */
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { PassThrough } from "node:stream";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Inflow, WINDOW_BYTES } from "../../gateway/wire/inflow.ts";
import { HostProcess } from "../../gateway/wire/child.ts";
import type { HostProcessOptions } from "../../gateway/wire/child.ts";
import type { HostBinding } from "../../gateway/wire/protocol.ts";
import { decodeCbor, Refusal, RESULT } from "../../kernel/index.ts";
import { FRAME_CBOR } from "../../gateway/wire/frames.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const entry = fileURLToPath(new URL("fixtures/host.ts", import.meta.url));
const started: HostProcess[] = [];

afterEach(async () => {
  await Promise.all(started.splice(0).map((host) => host.stop()));
});

interface Seen {
  readonly logs: string[];
  readonly statuses: string[];
  readonly events: unknown[];
  readonly available: boolean[];
}

function make(behaviour = "usual", options: Partial<HostProcessOptions> = {}): { host: HostProcess; seen: Seen } {
  const seen: Seen = { logs: [], statuses: [], events: [], available: [] };
  const host = new HostProcess({
    name: "test",
    entry,
    root,
    settings: { behaviour },
    permissions: { readable: [], writable: [], network: false, ffi: false, addons: false, workers: false },
    heapMiB: 64,
    onEvent: (binding, payload) => seen.events.push([binding, decodeCbor(payload, FRAME_CBOR)]),
    onStatus: (state, text) => seen.statuses.push(`${state}: ${text}`),
    onLog: (_level, text) => seen.logs.push(text),
    onAvailable: (isAvailable) => seen.available.push(isAvailable),
    ...options,
  });
  started.push(host);
  return { host, seen };
}

function file(id: number, path: string, rights: readonly string[] = ["read"]): HostBinding {
  return { id, interface: "file", owner: `test.${id}`, rights, parameters: { path } };
}

function read(host: HostProcess, binding: number, timeoutMs = 10_000) {
  return host.request({ binding, operation: "read", numbers: [5], bytes: [], capacity: 4096, timeoutMs });
}

async function readText(host: HostProcess, binding: number): Promise<string> {
  return new TextDecoder().decode((await read(host, binding)).bytes);
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 1000) throw new Error("it never came about");
    await sleep(10);
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

describe("a host process", () => {
  it("answers requests of its bindings, those bound later included, and forgets unbound ones", async () => {
    const { host, seen } = make();
    await host.start([file(1, "/pid")]);
    expect(await readText(host, 1)).toBe(String(host.pid));
    expect(seen.statuses).toEqual(["started: as usual"]);
    expect((await read(host, 2)).result).toBe(RESULT["not-found"]);
    host.bind([file(2, "/pid")]);
    expect(await readText(host, 2)).toBe(String(host.pid));
    host.unbind([2]);
    expect((await read(host, 2)).result).toBe(RESULT["not-found"]);
  });

  it.each([
    ["reads none of its long answers, no more of them than wait for it", 400_000, () => 40],
    ["asks more in a second than anybody looks at, so many a second", 1, (seconds: number) => 200 * (seconds + 1)],
  ])("that %s is answered", async (_, length, most) => {
    let asked = 0;
    const onAsk = () => {
      asked++;
      return Promise.resolve(new Uint8Array(length));
    };
    const { host } = make("usual", { onAsk });
    await host.start([file(1, "/curious")]);
    const began = performance.now();
    expect((await read(host, 1, 60_000)).result).toBe(0);
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThanOrEqual(most(Math.ceil((performance.now() - began) / 1000)));
  });

  it("refuses by itself what the binding has no right to, and what is not an operation of the interface", async () => {
    const { host } = make();
    await host.start([file(1, "/x", ["read"]), file(2, "/x", ["write"])]);
    const ask = (binding: number, operation: string, numbers: number[], bytes: Uint8Array[], capacity = 0) =>
      host.request({ binding, operation, numbers, bytes, capacity, timeoutMs: 5000 }).then(({ result }) => result);
    expect(await ask(2, "write", [], [new Uint8Array(3)])).toBe(3);
    expect(await ask(1, "write", [], [new Uint8Array(3)])).toBe(RESULT.denied);
    expect(await ask(1, "constructor", [], [])).toBe(RESULT.unsupported);
    expect(await ask(1, "read", [], [], 8)).toBe(RESULT.invalid);
    expect(await ask(2, "write", [], [], 0)).toBe(RESULT.invalid);
    expect(await ask(2, "write", [], [new Uint8Array(1)], 9)).toBe(RESULT.invalid);
  });

  it("delivers events as the CBOR that they are", async () => {
    const { host, seen } = make();
    await host.start([file(4, "/event")]);
    await read(host, 4);
    expect(seen.events).toEqual([[4, ["hello", 5]]]);
  });

  it("writes some lines a second of what a binding does wrong, however often, and the first of each", async () => {
    const { host, seen } = make();
    await host.start([file(1, "/fail"), file(2, "/fail")]);
    for (let index = 0; index < 200; index++) expect((await read(host, 1)).result).toBe(RESULT.io);
    expect((await read(host, 2)).result).toBe(RESULT.io);
    await until(() => seen.logs.some((line) => line.startsWith("test.2: ")));
    expect(seen.logs.length).toBeLessThan(100);
    expect(seen.logs.some((line) => /; \d+ such lines were left out before$/.test(line))).toBe(true);
  });

  it("survives a handler that throws, a binding that is refused, and a reply longer than its room", async () => {
    const { host, seen } = make();
    await host.start([file(1, "/fail"), file(2, "/refused"), file(3, "/too-long")]);
    expect((await read(host, 1)).result).toBe(RESULT.io);
    expect((await read(host, 2)).result).toBe(RESULT["not-found"]);
    expect(await read(host, 3)).toEqual({ result: RESULT["too-large"], bytes: new Uint8Array() });
    expect(seen.logs.some((line) => line.includes("test.2: TypeError: refused for the test"))).toBe(true);
    expect(host.restarts).toBe(0);
  });

  it("gets nothing of the core's environment and none of the permissions that it was not given", async () => {
    process.env["BULKHEAD_TEST_SECRET"] = "hunter2";
    const { host } = make();
    await host.start([file(1, "/environment"), file(2, "/permissions")]);
    expect(await readText(host, 1)).toBe("{}");
    expect(await readText(host, 2)).toBe("");
    delete process.env["BULKHEAD_TEST_SECRET"];
  });
});

describe("requests that end early", () => {
  it("time out in the core, and are cancelled in the host", async () => {
    const { host, seen } = make();
    await host.start([file(1, "/slow")]);
    expect((await read(host, 1, 50)).result).toBe(RESULT.timeout);
    await until(() => seen.logs.includes("the slow request was cancelled"));
  });

  it("are cancelled by their signal, before and during", async () => {
    const { host } = make();
    await host.start([file(1, "/slow")]);
    const fields = { binding: 1, operation: "read", numbers: [0], bytes: [], capacity: 8, timeoutMs: 60_000 };
    const controller = new AbortController();
    const waiting = host.request(fields, controller.signal);
    controller.abort();
    expect((await waiting).result).toBe(RESULT.cancelled);
    expect((await host.request(fields, controller.signal)).result).toBe(RESULT.cancelled);
  });

  it("are refused where they do not fit in a frame", async () => {
    const { host } = make();
    await host.start([file(1, "/x", ["write"])]);
    const bytes = [new Uint8Array(2 ** 20)];
    const fields = { binding: 1, operation: "write", numbers: [], bytes, capacity: 0, timeoutMs: 1000 };
    expect((await host.request(fields)).result).toBe(RESULT["too-large"]);
  });
});

describe("a host process that dies", () => {
  it("answers every waiting request at once with dead-peer, and comes back with its bindings", async () => {
    const { host, seen } = make();
    await host.start([file(1, "/slow"), file(2, "/pid")]);
    const first = host.pid ?? 0;
    const waiting = Array.from({ length: 20 }, () => read(host, 1, 60_000));
    const killed = performance.now();
    process.kill(first, "SIGKILL");
    for (const { result } of await Promise.all(waiting)) expect(result).toBe(RESULT["dead-peer"]);
    expect(performance.now() - killed).toBeLessThan(1000);
    await until(() => host.isReady);
    expect(await readText(host, 2)).not.toBe(String(first));
    expect(host.restarts).toBe(1);
    expect(seen.available).toEqual([true, false, true]);
  });

  it("answers at once while it is down", async () => {
    const { host } = make();
    await host.start([file(1, "/die"), file(2, "/pid")]);
    expect((await read(host, 1)).result).toBe(RESULT["dead-peer"]);
    expect((await read(host, 2)).result).toBe(RESULT["dead-peer"]);
    await until(() => host.isReady);
  });

  it("is waited for longer each time, so that a process that always dies costs little", async () => {
    const { host } = make();
    await host.start([file(1, "/die")]);
    for (let life = 0; life < 3; life++) {
      await until(() => host.isReady);
      await read(host, 1);
    }
    const down = performance.now();
    await until(() => host.isReady);
    expect(performance.now() - down).toBeGreaterThan(100);
    expect(host.restarts).toBe(3);
  });

  it("is killed and replaced when it falls silent", async () => {
    const { host, seen } = make();
    await host.start([file(1, "/freeze")]);
    const first = host.pid ?? 0;
    expect((await read(host, 1, 60_000)).result).toBe(RESULT["dead-peer"]);
    await until(() => host.isReady);
    expect(isAlive(first)).toBe(false);
    expect(seen.logs.some((line) => line.includes("silent for 5 s"))).toBe(true);
  });
});

describe("a host process that turned hostile", () => {
  it.each(["/garbage", "/huge", "/bad-event", "/wide"])("is killed and replaced when it sends %s", async (path) => {
    const { host, seen } = make();
    await host.start([file(1, path), file(2, "/pid")]);
    const first = host.pid ?? 0;
    expect((await read(host, 1)).result).toBe(RESULT["dead-peer"]);
    await until(() => host.isReady);
    expect(isAlive(first)).toBe(false);
    expect(Number(await readText(host, 2))).toBe(host.pid);
    expect(seen.logs.some((line) => line.includes("broke the protocol"))).toBe(true);
  });
});

describe("a host process that floods the core", () => {
  it("is heard in bounds, and leaves the core time for others", async () => {
    const { host, seen } = make();
    await host.start([file(1, "/chatty"), file(2, "/pid")]);
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 5);
    void read(host, 1, 60_000);
    await until(() => seen.statuses.includes("busy: change 19999"));
    clearInterval(timer);
    expect(seen.logs.length).toBeLessThan(50 * 12);
    expect(seen.logs.some((line) => /\d+ log lines of the test process were left out/.test(line))).toBe(true);
    expect(seen.statuses.length).toBeLessThan(20 * 12);
    expect(seen.events.map((event) => (event as [number, number])[1])).toEqual([...seen.events.keys()]);
    expect(longest).toBeLessThan(1000);
    expect(Number(await readText(host, 2))).toBe(host.pid);
    expect(host.restarts).toBe(0);
  });

  it("by large frames waits window after window, while the core's other work goes on", async () => {
    const { host, seen } = make();
    const { host: other } = make();
    await Promise.all([host.start([file(1, "/large"), file(2, "/pid")]), other.start([file(1, "/pid")])]);
    const begun = performance.now();
    const flood = read(host, 1, 60_000);
    await until(() => seen.events.length > 20);
    expect(Number(await readText(other, 1))).toBe(other.pid);
    expect((await flood).result).toBe(0);
    await until(() => seen.events.length === 100);
    // Six million bytes fill nine windows at least, of which each but the last takes its 100 ms.
    expect(performance.now() - begun).toBeGreaterThan(500);
    expect(seen.events.map((event) => (event as [number, [number]])[1][0])).toEqual([...seen.events.keys()]);
    expect(host.restarts).toBe(0);
  });

  it("by what nobody could be given is not even read", async () => {
    const { host, seen } = make();
    await host.start([file(1, "/too-large"), file(2, "/nobody"), file(3, "/pid")]);
    expect((await read(host, 1)).result).toBe(0);
    expect((await read(host, 2)).result).toBe(0);
    expect(Number(await readText(host, 3))).toBe(host.pid);
    expect(seen.events).toEqual([]);
    expect(host.restarts).toBe(0);
  });
});

describe("what a process may make the core take in", () => {
  function flow(chunkBytes: number, frames: number) {
    const stream = new PassThrough();
    let now = 0;
    let taken = 0;
    const inflow = new Inflow(() => now);
    const handle = (): number => {
      now += 0.1;
      return frames;
    };
    while (!stream.isPaused() && taken < 100_000) {
      inflow.take(stream, new Uint8Array(chunkBytes), handle);
      taken++;
    }
    return { stream, taken };
  }

  it.each([
    ["frames, however small", 10, 50, 41],
    ["bytes, however few the frames", 65_536, 0, 9],
    ["bytes of frames that are never whole", 1024, 0, 513],
  ])("is bounded in %s", (_, chunkBytes, frames, most) => {
    vi.useFakeTimers();
    try {
      const { stream, taken } = flow(chunkBytes, frames);
      expect(taken).toBe(most);
      vi.advanceTimersByTime(300);
      expect(stream.isPaused()).toBe(false);
    } finally {
      vi.useRealTimers();
    }
  });

  it("waits at least as long as it kept the core busy", () => {
    vi.useFakeTimers();
    try {
      const stream = new PassThrough();
      let now = 0;
      new Inflow(() => now).take(stream, new Uint8Array(WINDOW_BYTES + 1), () => {
        now += 5000;
        return 1;
      });
      vi.advanceTimersByTime(4999);
      expect(stream.isPaused()).toBe(true);
      vi.advanceTimersByTime(1);
      expect(stream.isPaused()).toBe(false);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("starting and stopping", () => {
  it("refuses the start in one sentence when the process refuses its settings", async () => {
    const { host, seen } = make("throws");
    const error: unknown = await host.start([]).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(Refusal);
    expect((error as Refusal).code).toBe("E_ABORTED");
    expect(seen.logs.join()).toContain("these settings are not for me");
  });

  it("stops at once on request, and kills a process that does not", async () => {
    for (const behaviour of ["usual", "ignores-stop"]) {
      const { host } = make(behaviour);
      await host.start([]);
      const pid = host.pid ?? 0;
      const before = performance.now();
      await host.stop();
      expect(isAlive(pid)).toBe(false);
      if (behaviour === "usual") expect(performance.now() - before).toBeLessThan(1500);
    }
  });

  it("leaves no process behind when the core is killed", async () => {
    const { spawn } = await import("node:child_process");
    const core = spawn(process.execPath, [fileURLToPath(new URL("fixtures/core.ts", import.meta.url))], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    core.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    await until(() => output.includes("\n"));
    const child = Number(output);
    expect(isAlive(child)).toBe(true);
    core.kill("SIGKILL");
    await until(() => !isAlive(child));
  });
});
