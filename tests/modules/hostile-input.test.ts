/** Every shipped module under answers and messages that no datasheet and no contract knows: it fails, logs, goes on; it never traps. */
import { globSync, readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeCbor, inspectModule, interfaceDefinition, RESULT } from "../../kernel/index.ts";
import type { CborInput } from "../../kernel/index.ts";
import { ModuleHost } from "../../tools/testkit/module-host.ts";
import type { FakeResult, FakeSlot, OperationCall } from "../../tools/testkit/module-host.ts";
import { built } from "./support.ts";

const names = (group: string): string[] =>
  globSync(`modules/${group}/*/module.yaml`)
    .map((file) => basename(dirname(file)))
    .sort();
const drivers = names("drivers");
const modules = [...drivers, ...names("services")];
const manifestOf = (name: string) => inspectModule(new Uint8Array(readFileSync(built(name)))).manifest;

/** What an operator must say; the rest has defaults. */
const SETTINGS: Readonly<Record<string, CborInput>> = {
  uplink: { prefix: "site/7" },
  "home-assistant": { prefix: "site/7", id: "site-7" },
  "modbus-rtu": {
    registers: [
      { name: "a", table: "holding", address: 0, type: "f32", write: "multiple" },
      { name: "b", table: "coil", address: 3, write: "single" },
      { name: "c", table: "input", address: 65_535, type: "i16", scale: 1e-300 },
    ],
  },
};
/** What answers by itself in the test kit: everything else is a device. */
const OWN_ANSWERS = new Set(["timer", "clock", "log", "endpoint", "mqtt"]);

/** An answer of a device: a code, a number, or as many bytes as it likes up to the room that there is. */
type Answer = (call: OperationCall) => FakeResult;
const codes = Object.values(RESULT).filter((code) => code < 0);
const filling =
  (make: (room: number) => Uint8Array): Answer =>
  ({ capacity }) =>
    make(capacity);
const repeated = (bytes: Uint8Array, length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => bytes[index % bytes.length] ?? 0);
const answers: fc.Arbitrary<Answer> = fc.oneof(
  fc.constantFrom(...codes).map((code) => () => code),
  fc.nat(70_000).map((number) => () => number),
  fc.uint8Array({ maxLength: 512 }).map((bytes) => filling((room) => bytes.slice(0, room))),
  fc.nat(255).map((byte) => filling((room) => new Uint8Array(room).fill(byte))),
  // A BME280 by its number, with any calibration.
  fc
    .uint8Array({ minLength: 32, maxLength: 32 })
    .map((bytes) => filling((room) => (room === 1 ? Uint8Array.of(0x60) : bytes.slice(0, room)))),
  // Wrong in what it says, right in how much.
  fc.uint8Array({ minLength: 1, maxLength: 64 }).map((bytes) => filling((room) => repeated(bytes, room))),
);

/** Each operation of each device slot takes the next answer. */
function fakesOf(name: string, next: () => Answer): Record<string, FakeSlot> {
  const fakes: Record<string, FakeSlot> = {};
  for (const [slot, { interface: kind }] of manifestOf(name).slots) {
    if (OWN_ANSWERS.has(kind)) continue;
    const operations = Object.keys(interfaceDefinition(kind).operations);
    fakes[slot] = Object.fromEntries(operations.map((operation) => [operation, (call) => next()(call)]));
  }
  return fakes;
}

const scalars = fc.oneof(
  fc.integer({ min: -70_000, max: 70_000 }),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.string({ maxLength: 60 }),
  fc.uint8Array({ maxLength: 300 }),
);
/** Keys that the contracts have, with values that they may not have. */
const KEYS =
  "sensor sequence quantity value unit time on module period high clear name count least mean state limit".split(" ");
const maps = fc.dictionary(fc.constantFrom(...KEYS), scalars, { maxKeys: 8 });
const payloads: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 400 }),
  fc.oneof(scalars, maps, fc.array(scalars, { maxLength: 4 })).map((value) => encodeCbor(value as CborInput)),
);

const steps = fc.array(
  fc.record({ port: fc.nat(7), payload: payloads, kind: fc.constantFrom("send", "call", "event"), lost: fc.nat(2) }),
  { maxLength: 12 },
);

function run(name: string, supply: readonly Answer[], messages: readonly Step[]): ModuleHost {
  let asked = 0;
  const host = new ModuleHost(
    built(name),
    fakesOf(name, () => supply[asked++ % supply.length] ?? (() => RESULT.io)),
  );
  host.start(false, SETTINGS[name]);
  const ports = host.manifest.ports.map((port) => port.name);
  for (const { port, payload, kind, lost } of messages) {
    host.deliverBytes(ports[port % ports.length] ?? "", payload, { kind, lost });
    // Events as the kernel gives them, in between: they are what makes a driver ask its device.
    for (const event of ["tick", "settle", "timer"]) {
      if (ports.includes(event)) host.deliver(event, 1, { kind: "event" });
    }
  }
  return host;
}

interface Step {
  readonly port: number;
  readonly payload: Uint8Array;
  readonly kind: "send" | "call" | "event";
  readonly lost: number;
}

describe("a module goes on, whatever comes", () => {
  it.each(modules)("%s", (name) => {
    fc.assert(
      fc.property(fc.array(answers, { minLength: 1, maxLength: 20 }), steps, (supply, messages) => {
        const host = run(name, supply, messages);
        if (!drivers.includes(name)) return;
        const readings = host.takeMessages("readings");
        expect(readings.map(({ sequence }) => sequence)).toEqual(readings.map((_, index) => index));
        expect(host.health()).toBeGreaterThanOrEqual(0);
        if (host.manifest.state > 0) expect(host.save().length).toBeLessThanOrEqual(host.manifest.state);
      }),
      { numRuns: 150 },
    );
  });
});

describe("a state that is not one of its own is refused without a trap", () => {
  it.each(modules.filter((name) => manifestOf(name).state > 0))("by %s", (name) => {
    const host = new ModuleHost(built(name));
    fc.assert(
      fc.property(payloads, fc.nat(3), (state, schema) => {
        if (host.restore(state.subarray(0, host.manifest.state), schema)) {
          expect(host.save().length).toBeLessThanOrEqual(host.manifest.state);
        }
      }),
      { numRuns: 300 },
    );
  });
});
