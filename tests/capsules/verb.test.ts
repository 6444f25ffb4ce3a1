/** `bulkhead replay` as an operator uses it: files, keys, options, and what it refuses. */
import { randomFillSync } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodeFileSystem } from "../../gateway/trust/file-system.ts";
import { encodeCapsule } from "../../gateway/wire/capsule.ts";
import { CapsuleStore } from "../../gateway/trust/capsules.ts";
import type { RecordedFailure } from "../../kernel/index.ts";
import { LIMITS, Refusal } from "../../kernel/index.ts";
import { buildModule } from "../../tools/build/build.ts";
import { keygen } from "../../tools/keys/keygen.ts";
import { replayVerb } from "../../tools/replay/verb.ts";
import { moduleSpec } from "../support/modules.ts";
import { failureOf, numbers } from "./support.ts";
import { runVerb } from "../support/verb.ts";

const MODULE = `name: victim
version: 1.0.0
kind: service
memory: 2
ports:
  in: {}
slots:
  log: { interface: log }
`;
const SOURCE = `import { Driver, Message, none, register, Reply } from "bulkhead/sdk";

let count = 0;

function check(value: i32): void {
  assert(value < 5, "the fifth is one too many");
}

class Victim extends Driver {
  message(port: i32, message: Message): Reply {
    count++;
    check(count);
    return none;
  }
}

register(new Victim());
`;

let folder = "";
let wasm = "";
let failure: RecordedFailure;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bulkhead-capsules-"));
  const sources = join(folder, "victim");
  await mkdir(sources);
  await writeFile(join(sources, "module.yaml"), MODULE);
  await writeFile(join(sources, "index.ts"), SOURCE);
  const [built] = await buildModule(sources, { output: join(folder, "out") });
  wasm = built?.wasm ?? "";
  const binary = new Uint8Array(await readFile(wasm));
  const grants = [{ slot: "log", interface: "log", rights: ["write"], parameters: {} }] as const;
  failure = await failureOf({ binary, spec: { ...moduleSpec("victim", [...grants]), record: true } }, numbers(20));
}, 240_000);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

function store(name: string, recipient?: Uint8Array): CapsuleStore {
  let now = 1000;
  return new CapsuleStore(nodeFileSystem, join(folder, name), recipient, () => ++now);
}

async function run(...args: string[]): Promise<{ code: number; text: string }> {
  return runVerb(replayVerb, args);
}

describe("bulkhead replay", () => {
  it("shows the words of an assert, the stack with file and line, and the last messages", async () => {
    const { path, form } = store("a").keep(failure);
    expect(form).toBe("whole");
    const { code, text } = await run(path, "--wasm", wasm, "--last", "2");
    expect(code).toBe(0);
    expect(text).toContain("index.ts:6:3: the fifth is one too many");
    expect(text).toMatch(/at (check|function \d+) \(.*index\.ts:6:\d+\)/);
    expect(text).toMatch(/\n {4}6 port 0 send: 5\n/);
    expect(text.match(/^try \d: trap at message 6, \d+ fuel left$/gm)).toHaveLength(3);
    expect(new Set(text.match(/\d+ fuel left$/gm)).size).toBe(1);
  });

  it("prints one JSON object, stops before a message, and inspects", async () => {
    const { path } = store("b").keep(failure);
    const parsed = JSON.parse((await run(path, "--wasm", wasm, "--json")).text) as Record<string, unknown>;
    expect(parsed).toMatchObject({
      module: "victim",
      cause: "trap",
      outcome: "reproduced",
      divergence: null,
      warning: null,
    });
    const stopped = await run(path, "--wasm", wasm, "--until", "3");
    expect(stopped).toMatchObject({ code: 0 });
    expect(stopped.text).toContain("stopped before message 3");
    const inspected = await run(path, "--inspect");
    expect(inspected.text).not.toContain("try 1");
  });

  it("warns of a capsule from another processor unless its module asked for canonical NaNs", async () => {
    const architecture = process.arch === "arm64" ? "x64" : "arm64";
    const path = join(folder, "foreign.capsule");
    const warning = async (from: string, canonicalNans: boolean): Promise<unknown> => {
      const capsule = { ...failure, time: 1, architecture: from, isRedacted: false, canonicalNans };
      await writeFile(path, encodeCapsule(capsule, undefined));
      return (JSON.parse((await run(path, "--inspect", "--json")).text) as Record<string, unknown>)["warning"];
    };
    expect(await warning(architecture, false)).toMatch(
      new RegExp(`^recorded on ${architecture}, run on ${process.arch}: `),
    );
    expect(await warning(architecture, true)).toBeNull();
    expect(await warning(process.arch, false)).toBeNull();
  });

  it("refuses what is not there, or no capsule, with a code", async () => {
    const { path } = store("c").keep(failure);
    await expect(run(join(folder, "nothing"))).rejects.toThrow("cannot read");
    await expect(run(wasm)).rejects.toThrow(Refusal);
    await expect(run(path)).rejects.toThrow("the binary of victim is not here");
    await expect(run(path, "--wasm", wasm, "--until", "0")).rejects.toThrow("from 1 on");
    await expect(run(path, "--wasm", wasm, "--until", "99")).rejects.toThrow("no message 99");
    await expect(run(path, "--wasm", path)).rejects.toThrow(Refusal);
    expect((await run()).code).toBe(2);
  });

  it("opens a sealed one with the key that keygen made, and no other file", async () => {
    const key = join(folder, "capsules.key");
    const { code, out } = await runVerb(keygen, ["--role", "capsules", "--out", key, "--json"]);
    expect(code).toBe(0);
    const { publicKey } = JSON.parse(out) as { publicKey: string };
    const { path, form } = store("d", Uint8Array.fromHex(publicKey)).keep(failure);
    expect(form).toBe("sealed");
    await expect(run(path, "--wasm", wasm)).rejects.toThrow("this capsule is sealed");
    await expect(run(path, "--wasm", wasm, "--key", `${key}.pub`)).rejects.toThrow(Refusal);
    expect((await run(path, "--wasm", wasm, "--key", key)).text).toContain("reproduced");
  });
});

describe("a gateway's capsules", () => {
  it("are eight of each module at most, the oldest give way", async () => {
    const kept = store("e");
    const paths = Array.from({ length: 11 }, () => kept.keep(failure).path);
    const names = await readdir(join(folder, "e", "victim"));
    expect(names.sort()).toEqual(paths.slice(3).map((path) => path.split("/").at(-1)));
  });

  it("of a module that fails with large memories push out its own, and nobody else's", async () => {
    const kept = store("g");
    const { path } = kept.keep(failure);
    const memory = new Uint8Array(LIMITS.snapshotBytes);
    for (let at = 0; at < memory.length; at += 65_536) randomFillSync(memory, at, 65_536);
    const base = { inbox: 0, memory, globals: new Int32Array(0) };
    const large = { ...failure, name: "large", events: { ...failure.events, base } };
    for (let count = 0; count < 10; count++) kept.keep(large);
    expect(await readdir(join(folder, "g", "victim"))).toEqual([path.split("/").at(-1)]);
    const bytes = (await readdir(join(folder, "g", "large"))).length * LIMITS.snapshotBytes;
    expect(bytes).toBeGreaterThan(4 * LIMITS.snapshotBytes);
  });

  it("are not written where the disk is nearly full", () => {
    const full = { ...nodeFileSystem, freeBytes: () => 1000 };
    const kept = new CapsuleStore(full, join(folder, "f"), undefined, Date.now);
    expect(() => kept.keep(failure)).toThrow("no room for a capsule");
  });
});
