/** The build: what it refuses, with file, line and column, and what it leaves alone. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { inspectModule, Refusal } from "../../kernel/index.ts";
import { buildAll, buildModule } from "../../tools/build/build.ts";
import type { BuiltModule } from "../../tools/build/build.ts";

const MODULE = `name: sample
version: 1.2.3
kind: driver
state: 16
ports:
  tick: {}
slots:
  tick: { interface: timer, port: tick }
  log: { interface: log }
  out: { interface: endpoint, rights: [send] }
`;
const SOURCE = `import { Bytes, Driver, Endpoint, Message, none, register, Reply, Result } from "bulkhead/sdk";
import { log, out, tick } from "./generated/slots";

class Sample extends Driver {
  private bytes: Bytes = Bytes.fromText("hello");
  start(restored: bool): void {
    tick.every(1000).must("the timer");
  }
  message(port: i32, message: Message): Reply {
    const sent = out.send(this.bytes);
    if (sent.failed) log.failure("not sent", sent);
    return none;
  }
}

register(new Sample());
`;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-build-"));
  write("module.yaml", MODULE);
  write("index.ts", SOURCE);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function write(name: string, text: string): void {
  writeFileSync(join(folder, name), text);
}

async function build(): Promise<BuiltModule> {
  const [built] = await buildModule(folder, { output: join(folder, "out") });
  if (built === undefined) throw new Error("nothing was built");
  return built;
}

async function refusal(): Promise<Refusal> {
  const error: unknown = await build().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Refusal)) throw new Error(`not refused: ${String(error)}`);
  return error;
}

describe("a module outside this repository", () => {
  it("imports what it uses, and nothing that is not a slot", async () => {
    const { wasm } = await build();
    const { imports, exports, foreignExports } = inspectModule(new Uint8Array(readFileSync(wasm)));
    expect(imports.map(({ slot, operation }) => `${slot}.${operation}`).sort()).toEqual([
      "log.write",
      "out.send",
      "tick.every",
    ]);
    expect(exports).toEqual([
      "memory",
      "_initialize",
      "bulkhead_inbox",
      "bulkhead_handle",
      "bulkhead_save",
      "bulkhead_state",
      "bulkhead_restore",
      "bulkhead_health",
    ]);
    expect(foreignExports).toEqual([]);
  });

  it("asks for canonical NaNs only where its module.yaml does", async () => {
    const asks = async (): Promise<boolean> =>
      inspectModule(new Uint8Array(readFileSync((await build()).wasm))).manifest.canonicalNans;
    expect(await asks()).toBe(false);
    write("module.yaml", MODULE.replace("state: 16", "state: 16\nnans: canonical"));
    expect(await asks()).toBe(true);
  });

  it("is compiled again only when a source has changed", async () => {
    expect((await build()).compiled).toBe(true);
    expect((await build()).compiled).toBe(false);
    write("index.ts", SOURCE.replace("1000", "2000"));
    expect((await build()).compiled).toBe(true);
    write("module.yaml", MODULE.replace("1.2.3", "1.2.4"));
    expect((await build()).compiled).toBe(true);
    rmSync(join(folder, "out/sample.wasm"));
    expect((await build()).compiled).toBe(true);
  });

  it("says file, line and column of a type error", async () => {
    write("index.ts", SOURCE.replace("tick.every(1000)", "tick.each(1000)"));
    const { code, message } = await refusal();
    expect(code).toBe("E_WASM");
    expect(message).toContain("Property 'each' does not exist");
    expect(message).toMatch(/index\.ts:7:10|index\.ts\(7,10\)/);
  });

  it("cannot use an operation that its slot has no right to", async () => {
    write("index.ts", SOURCE.replace("out.send(this.bytes)", "out.request(this.bytes, 100)"));
    expect((await refusal()).message).toContain("request");
  });
});

/** What a module's author may add around the driver. */
const HELPERS = `
function helper<Raw>(device: Endpoint<Raw>, bytes: Bytes): Result {
  DROPPED_IN_HELPER
  return Result.of(0);
}
function again(): Result {
  return tick.cancel();
}
class Sample`;

function withStatements(inStart: string, inHelper: string): string {
  return SOURCE.replace('tick.every(1000).must("the timer");', inStart)
    .replace("  message(", "  private more(): Result {\n    return tick.cancel();\n  }\n  message(")
    .replace("class Sample", HELPERS.replace("DROPPED_IN_HELPER", inHelper));
}

/** The expressions that the build names, in the order of the source. */
async function droppedExpressions(): Promise<string[]> {
  const { message } = await refusal();
  return [...message.matchAll(/index\.ts:\d+:\d+: the result of (.+) is dropped/g)].map(([, text]) => text ?? "");
}

describe("a result that is dropped", () => {
  it("is refused, of an operation, of a function and of a method alike", async () => {
    const statements = "tick.every(1000); again(); this.more(); helper(out, this.bytes).ignore();";
    write("index.ts", withStatements(statements, "device.send(bytes);"));
    expect(await droppedExpressions()).toEqual(["device.send(bytes)", "tick.every(1000)", "again()", "this.more()"]);
    expect((await refusal()).detail.hint).toContain("ignore()");
  });

  it.each([
    ["in brackets", "(tick.every(1000));", "tick.every(1000)"],
    ["before a comma", "let a = (tick.cancel(), 1); log.debug(a.toString());", "tick.cancel()"],
    ["in the head of a loop", "for (let i = 0; i < 2; tick.cancel()) i++;", "tick.cancel()"],
    ["of a branch", "restored ? tick.cancel() : Result.of(0).ignore();", "tick.cancel()"],
    ["of a slot under another name", "const other = tick; other.cancel();", "other.cancel()"],
    ["in a name that nobody reads", "const set = tick.every(1000);", "tick.every(1000)"],
    ["that was read before, in a name", "const set = tick.cancel(); set.ignore(); set;", "set"],
    ["of an object's method", "new Sample().more();", "new Sample().more()"],
    ["in a callback", "[1].forEach((each) => { tick.every(each); });", "tick.every(each)"],
  ])("is refused %s", async (_, statements, expression) => {
    write("index.ts", withStatements(statements, "device.send(bytes).ignore();").replace("private more", "more"));
    expect(await droppedExpressions()).toEqual([expression]);
  });

  it("is none where the source looks at it or says that it does not matter", async () => {
    const statements =
      'tick.every(1000).ignore(); again().must("x"); const set = this.more(); if (set.failed) return; log.debug("x");';
    write("index.ts", withStatements(statements, "if (device.send(bytes).ok) return device.send(bytes);"));
    expect((await build()).compiled).toBe(true);
  });

  it("is found in the module whose it is, where several are built at once", async () => {
    const other = mkdtempSync(join(tmpdir(), "bulkhead-build-"));
    cpSync(folder, other, { recursive: true });
    write("index.ts", withStatements("tick.every(1000);", ""));
    const [refused, good] = await Promise.allSettled([build(), buildModule(other, { output: join(other, "out") })]);
    expect([refused.status, good.status]).toEqual(["rejected", "fulfilled"]);
    rmSync(other, { recursive: true });
  });
});

describe("module.yaml", () => {
  it.each([
    ["a key that does not exist", "kind: driver", "kid: driver", "3:1", "E_MANIFEST"],
    ["a kind that does not exist", "kind: driver", "kind: plugin", "3:7", "E_MANIFEST"],
    ["a version that is none", "1.2.3", "1.2", "2:10", "E_MANIFEST"],
    ["a name with a separator", "name: sample", "name: ../sample", "1:7", "E_MANIFEST"],
    ["an interface that does not exist", "interface: timer", "interface: timr", "8:22", "E_MANIFEST"],
    ["an event port that does not exist", "port: tick", "port: tock", "8:35", "E_MANIFEST"],
    ["a right that does not exist", "[send]", "[sent]", "10:39", "E_MANIFEST"],
    ["a slot of the kernel's", "  log:", "  bulkhead-log:", "9:", "E_MANIFEST"],
    ["other NaNs than canonical ones", "state: 16", "nans: quiet", "4:7", "E_MANIFEST"],
    ["a number that is a text", "state: 16", "state: much", "4:8", "E_MANIFEST"],
    ["a state beyond the limit", "state: 16", "state: 1000000", "4:8", "E_MANIFEST"],
    ["a key that stands twice", "state: 16", "state: 16\nstate: 17", "5:1", "E_MANIFEST"],
    ["a list for a map", "ports:\n  tick: {}", "ports: [tick]", "5:8", "E_MANIFEST"],
  ])("%s is refused where it stands", async (_, from, to, place, code) => {
    write("module.yaml", MODULE.replace(from, to));
    const error = await refusal();
    expect(error.code).toBe(code);
    expect(error.message).toContain(`module.yaml:${place}`);
  });

  it("that is not there is said so", async () => {
    rmSync(join(folder, "module.yaml"));
    expect((await refusal()).message).toContain("module.yaml cannot be read");
  });
});

describe("all modules", () => {
  it("are built only as far as they are asked for", async () => {
    const built = await buildAll({ only: ["spinner", "threshold-v2"] });
    expect(built.map(({ wasm }) => basename(wasm)).sort()).toEqual([
      "spinner.wasm",
      "threshold-v2.wasm",
      "trapper.wasm",
    ]);
  });
});

describe("a module with several names", () => {
  it("is built under each of them", async () => {
    cpSync("modules/examples/saboteur", folder, { recursive: true });
    const built = await buildModule(folder, { output: join(folder, "out") });
    expect(built.map(({ name }) => name)).toEqual(["trapper", "spinner"]);
  });
});

describe("the second module of a kind", () => {
  it("is the same source under another name, and leaves the first alone", async () => {
    const output = join(folder, "out");
    await buildModule(folder, { output });
    const generated = readFileSync(join(folder, "generated/slots.ts"), "utf8");
    const [second] = await buildModule(folder, { output, as: "sample-2" });
    expect(second).toMatchObject({ name: "sample-2", wasm: join(output, "sample-2.wasm") });
    const nameOf = (name: string) =>
      inspectModule(new Uint8Array(readFileSync(join(output, `${name}.wasm`)))).manifest.name;
    expect(["sample", "sample-2"].map(nameOf)).toEqual(["sample", "sample-2"]);
    expect(readFileSync(join(folder, "generated/slots.ts"), "utf8")).toBe(generated);
  });

  it.each(["", "a--b", "../x", "A", "a\nb", "a".repeat(49)])("is not called %j", async (name) => {
    await expect(buildModule(folder, { as: name })).rejects.toThrow(Refusal);
  });

  it("is not made of a source that has several names", async () => {
    write("module.yaml", MODULE.replace("name: sample", "names: [one, two]"));
    await expect(buildModule(folder, { as: "three" })).rejects.toThrow("another name");
  });
});
