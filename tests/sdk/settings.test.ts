/** Settings of a module from the author's side: `settings.cddl`, what the build makes of it, and what the driver sees. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { decodeSettingsContract } from "../../gateway/config/settings-contract.ts";
import type { CborInput } from "../../kernel/index.ts";
import { inspectModule, Refusal } from "../../kernel/index.ts";
import { buildModule } from "../../tools/build/build.ts";
import { ModuleHost } from "../../tools/testkit/module-host.ts";
import { inspectVerb } from "../../tools/verbs/inspect.ts";
import { runVerb } from "../support/verb.ts";

const MODULE = `name: sample
version: 1.0.0
kind: driver
memory: 2
settings: settings.cddl
slots:
  log: { interface: log }
`;
const SETTINGS = `settings = {
  name: text .size (1..8),
  ? period: 10..1000 .default 50,   ; milliseconds
  ? turn-off: bool .default true,
  ? mode: ("fast" / "very-slow") .default "very-slow",
  ? gain: 0.5..2.0,
  ? serial: uint .size 4,
  ? points: [*3 point],
  ? tags: [1*2 text .size (1..4)],
  ? first: point,
}
point = {
  at: int,
  ? unit: text .default "1",
}
`;
const SOURCE = `import { Bytes, Driver, Message, none, register, Reply } from "bulkhead/sdk";
import { settings, SettingsMode } from "./generated/settings";
import { log } from "./generated/slots";

function text(bytes: Bytes): string {
  return String.UTF8.decodeUnsafe(bytes.address, bytes.length);
}

class Sample extends Driver {
  start(restored: bool): void {
    const mode = settings.mode == SettingsMode.fast ? "fast" : "slow";
    log.information(text(settings.name) + " " + settings.period.toString() + " " + settings.turnOff.toString() + " " + mode);
    if (settings.hasGain) log.information("gain " + settings.gain.toString());
    if (settings.hasSerial) log.information("serial " + settings.serial.toString());
    for (let i = 0; i < settings.points.length; i++) {
      log.information("point " + settings.points[i].at.toString() + " " + text(settings.points[i].unit));
    }
    for (let i = 0; i < settings.tags.length; i++) log.information("tag " + text(settings.tags[i]));
    if (settings.first.at != 0) log.information("first " + settings.first.at.toString());
  }

  message(port: i32, message: Message): Reply {
    return none;
  }
}

register(new Sample());
`;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-settings-"));
  writeFileSync(join(folder, "module.yaml"), MODULE);
  writeFileSync(join(folder, "settings.cddl"), SETTINGS);
  writeFileSync(join(folder, "index.ts"), SOURCE);
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function build(): Promise<string> {
  const [built] = await buildModule(folder, { output: join(folder, "out") });
  if (built === undefined) throw new Error("nothing was built");
  return built.wasm;
}

function linesOf(wasm: string, settings?: CborInput): string[] {
  const host = new ModuleHost(wasm);
  host.start(false, settings);
  return host.logs.map(({ text }) => text);
}

describe("a driver's settings", () => {
  it("are typed, complete when it starts, and copied out of the message", async () => {
    const wasm = await build();
    expect(linesOf(wasm, { name: "a" })).toEqual(["a 50 true slow"]);
    const all = {
      name: "somebody",
      period: 10,
      "turn-off": false,
      mode: "fast",
      gain: 1.5,
      serial: 4_294_967_295,
      points: [{ at: -1 }, { at: 2 ** 40, unit: "m" }],
      tags: ["x", "abcd"],
      first: { at: 3 },
    };
    const lines = ["somebody 10 false fast", "gain 1.5", "serial 4294967295", "point -1 1", "point 1099511627776 m"];
    expect(linesOf(wasm, all)).toEqual([...lines, "tag x", "tag abcd", "first 3"]);
    // An instance that a swap brings back is started again: its lists do not grow.
    const host = new ModuleHost(wasm);
    host.start(false, all);
    const { length } = host.logs;
    host.start(true, all);
    expect(host.logs).toHaveLength(2 * length);
  });

  it.each<[string, CborInput | undefined]>([
    ["nothing, where one is needed", undefined],
    ["an array", [1]],
    ["a key that is unknown", { name: "a", other: 1 }],
    ["a number out of its range", { name: "a", period: 9 }],
    ["a fraction for an integer", { name: "a", period: 10.5 }],
    ["a text that is too long", { name: "123456789" }],
    ["not a number", { name: "a", gain: Number.NaN }],
    ["a number out of a range of fractions", { name: "a", gain: 2.25 }],
    ["another word than those of the choice", { name: "a", mode: "slow" }],
    ["a list that is too long", { name: "a", points: [{ at: 1 }, { at: 1 }, { at: 1 }, { at: 1 }] }],
    ["an empty list where one is needed", { name: "a", tags: [] }],
    ["an inner map without its key", { name: "a", points: [{}] }],
  ])(
    "that are %s stop it with a word about them",
    async (_, settings) => {
      const wasm = await build();
      expect(() => linesOf(wasm, settings)).toThrow("settings");
    },
    60_000,
  );

  it("stand in the manifest, for whoever reads the configuration", async () => {
    const { settings } = inspectModule(new Uint8Array(readFileSync(await build()))).manifest;
    const { fields } = decodeSettingsContract(settings ?? new Uint8Array());
    expect(fields.slice(0, 4)).toEqual([
      { name: "name", isOptional: false, default: null, type: { kind: "text", least: 1, most: 8 } },
      { name: "period", isOptional: true, default: 50, type: { kind: "integer", least: 10, most: 1000 } },
      { name: "turn-off", isOptional: true, default: true, type: { kind: "boolean" } },
      { name: "mode", isOptional: true, default: "very-slow", type: { kind: "choice", values: ["fast", "very-slow"] } },
    ]);
    expect(fields[6]?.type).toMatchObject({ kind: "list", least: 0, most: 3, of: { kind: "map" } });
  });

  it("are shown by `bulkhead inspect`, with their bounds and defaults", async () => {
    const { code, text } = await runVerb(inspectVerb, [await build()]);
    expect(code).toBe(0);
    expect(/^ {2}settings\n((?: {4}.*\n)*)/m.exec(text)?.[1]?.split("\n")).toEqual([
      "    name: text of 1 to 8 bytes",
      "    period: optional integer from 10 to 1000, default 50",
      "    turn-off: optional boolean, default true",
      "    mode: optional fast | very-slow, default very-slow",
      "    gain: optional number from 0.5 to 2",
      "    serial: optional integer from 0 to 4294967295",
      "    points: optional list of 0 to 3: map",
      "      at: integer from -9007199254740991 to 9007199254740991",
      "      unit: optional text of 0 to 4096 bytes, default 1",
      "    tags: optional list of 1 to 2: text of 1 to 4 bytes",
      "    first: optional map",
      "      at: integer from -9007199254740991 to 9007199254740991",
      "      unit: optional text of 0 to 4096 bytes, default 1",
      "",
    ]);
  });
});

describe("a file of settings", () => {
  it.each([
    ["a rule that is no map", "settings = uint", "a rule that is not a map"],
    ["a type that is none of them", "settings = {\n  a: bytes,\n}", "settings.a"],
    ["a choice of numbers", "settings = {\n  a: 1 / 2,\n}", "a choice of other than texts"],
    ["a choice that is no word", 'settings = {\n  a: "One" / "two",\n}', 'the choice "One"'],
    ["a default of a field that must be there", "settings = {\n  a: uint .default 1,\n}", "not optional"],
    ["a default beyond its range", "settings = {\n  ? a: 1..5 .default 9,\n}", "which its type refuses"],
    ["a rule that contains itself", "settings = {\n  ? a: settings,\n}", "more than 8 levels"],
    ["a list of two things", "settings = {\n  a: [uint, text],\n}", "a list of several things"],
    ["no CDDL", "settings = {", "settings.cddl"],
  ])("with %s is refused by the build, by name", async (_, text, message) => {
    writeFileSync(join(folder, "settings.cddl"), `${text}\n`);
    const error: unknown = await build().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(Refusal);
    const { code, message: told, detail } = error as Refusal;
    expect({ code, text: `${told} ${detail.found ?? ""}` }).toEqual({
      code: "E_MANIFEST",
      text: expect.stringContaining(message) as string,
    });
  });

  it("that is not there is refused", async () => {
    rmSync(join(folder, "settings.cddl"));
    await expect(build()).rejects.toThrow("settings.cddl cannot be read");
  });
});
