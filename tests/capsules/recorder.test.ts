/** What the recorder notes of one instance, driven by hand: messages to the byte, and memory that the machine refused. */
import { describe, expect, it } from "vitest";
import { readEvents } from "../../gateway/wire/capsule-events.ts";
import type { ModuleOrder, RecordedFailure } from "../../kernel/index.ts";
import {
  compileModule,
  describeFault,
  guestLength,
  guestPointer,
  HEADER,
  inspectModule,
  LIMITS,
  meter,
  METER_MODULE,
  meterOptions,
  ModuleInstance,
} from "../../kernel/index.ts";
import { recordedFailure } from "../../kernel/partition/fault.ts";
import type { Incarnation } from "../../kernel/partition/cell.ts";
import { sha256Hex } from "../../gateway/wire/digest.ts";
import { replay } from "../../tools/replay/replay.ts";
import { manifestFields, moduleBinary, watModule } from "../support/modules.ts";
import { capsuleOf, failureOf, found, numbers, victim } from "./support.ts";

const FUEL = 100_000;

interface Driven {
  readonly binary: Uint8Array;
  readonly instance: ModuleInstance;
  readonly send: (payload: Uint8Array, handles?: readonly number[]) => number;
  readonly failure: (error: unknown) => RecordedFailure;
}

/** An instance that is recorded; `grow` is asked where it wants memory. */
async function drive(wat: string, grow?: (memory: ModuleInstance["memory"], pages: number) => number): Promise<Driven> {
  const binary = moduleBinary(wat, manifestFields("victim", { memory: 64, inbox: 8192, fuel: FUEL }));
  const inspection = inspectModule(binary);
  const { manifest, imports, exports, sha256 } = inspection;
  const metered = meter(binary, meterOptions(inspection, true));
  const order: ModuleOrder = {
    ...{ id: 1, generation: 3, name: "victim", imports, exports, sha256, ports: manifest.ports, slots: [] },
    ...{ inbox: manifest.inbox, state: manifest.state, schema: manifest.schema, fuel: manifest.fuel },
    ...{ priority: 0, fuelPerPeriod: 0, periodMs: 0, activationMs: 0, checkpointMessages: 0, checkpointMs: 0 },
    ...{ compiled: await compileModule(metered), metered: sha256Hex(metered), record: true, canonicalNans: false },
    settings: new Uint8Array(0),
  };
  const stop = (): never => {
    throw new Error("not here");
  };
  const instance: ModuleInstance = new ModuleInstance(order, {
    [METER_MODULE]: {
      ...{ exhausted: stop, overflow: stop },
      full: () => void instance.recording?.restart(instance),
      grow: (pages: number) => grow?.(instance.memory, pages) ?? instance.memory.grow(pages),
    },
  });
  instance.initialize();
  return {
    binary,
    instance,
    send: (payload, handles = []) => {
      const header = {
        kind: 1,
        length: payload.length,
        senderModule: 9,
        senderGeneration: 2,
        badge: 7,
        correlation: 5,
      };
      instance.deliver(header, payload, handles, undefined, 11);
      return instance.enter(FUEL, LIMITS.stackBytes, 0, payload.length);
    },
    failure: (error) => {
      // SAFETY: these two are all that it looks at.
      const failed = recordedFailure({ order, instance } as Incarnation, describeFault(error, instance), FUEL);
      if (failed === undefined) throw new Error("not recorded");
      return failed;
    },
  };
}

function caught(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

describe("a message in the recording", () => {
  /** Writes over its inbox, so that what is recorded must be from before. */
  const wat = watModule(
    "",
    `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (memory.fill (i32.const 1024) (i32.const 255) (i32.const 8192))
       (i64.const -1234))`,
    2,
  );
  const lengths = [...Array.from({ length: 36 }, (_, length) => length), 63, 64, 65, 255, 4097, 8128];

  it.each([[[]], [[4]], [[1, 2, 3, 4, 5, 6, 7, 8]]])("is what stood in the inbox, with handles %j", async (handles) => {
    const { instance, send } = await drive(wat);
    const expected: string[] = [];
    for (const length of lengths) {
      const payload = Uint8Array.from({ length }, (_, at) => at * 7 + length);
      instance.deliver(
        { kind: 1, length, senderModule: 9, senderGeneration: 2, badge: 7, correlation: 5 },
        payload,
        handles,
        undefined,
        11,
      );
      expected.push(instance.memory.read(guestPointer(1024), guestLength(HEADER.size + length))?.toHex() ?? "");
      expect(send(payload, handles)).toBe(-1234);
    }
    const { words, isWhole, messages } = instance.recording?.events() ?? { words: new Int32Array(0) };
    expect([isWhole, messages]).toEqual([true, lengths.length]);
    const arrivals = readEvents(words, []).flatMap((event) =>
      event.kind === "message" || event.kind === "gated" ? [event] : [],
    );
    expect(arrivals.map(({ inbox }) => inbox.toHex())).toEqual(expected);
    expect(arrivals.map(({ payload }) => payload.length)).toEqual(lengths);
    expect(new Set(arrivals.map(({ messageKind, ended }) => [messageKind, ended?.result].join()))).toEqual(
      new Set(["1,-1234"]),
    );
  });
});

describe("memory", () => {
  /** Wants a page with each message, and traps at its eighth: by then what it was refused shows in its memory. */
  const grower = watModule(
    "",
    `(global $count (mut i32) (i32.const 0)) (global $refused (mut i32) (i32.const 0))
     (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (global.set $count (i32.add (global.get $count) (i32.const 1)))
       (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then
         (global.set $refused (i32.add (global.get $refused) (i32.const 1)))))
       (if (i32.eq (global.get $count) (i32.const 8)) (then
         (i32.store (i32.mul (memory.size) (i32.const 65536)) (global.get $refused))))
       (i64.extend_i32_s (i32.mul (global.get $refused) (i32.const -2000))))`,
  );

  it("that the machine refused below the quota is refused again in the replay", async () => {
    let asked = 0;
    const { binary, instance, send, failure } = await drive(grower, (memory, pages) =>
      [3, 4, 6].includes(++asked) ? -1 : memory.grow(pages),
    );
    const results = Array.from({ length: 7 }, () => send(Uint8Array.of(1)));
    expect(results).toEqual([0, 0, -2000, -4000, -4000, -6000, -6000]);
    const failed = failure(caught(() => send(Uint8Array.of(1))));
    expect(failed).toMatchObject({ cause: "trap", text: "memory access out of bounds", memoryBytes: 6 * 65_536 });
    const replayed = await replay(capsuleOf(failed), found(binary));
    expect(replayed).toMatchObject({ outcome: "reproduced", divergence: undefined });
    expect(replayed.endings.map(({ fuel, memoryBytes }) => [fuel, memoryBytes])).toEqual(
      Array.from({ length: 3 }, () => [failed.fuel, 6 * 65_536]),
    );
    const { state } = await replay(capsuleOf(failed), found(binary), { until: 5 });
    expect(state).toMatchObject({ memoryBytes: 3 * 65_536, globals: ["4", "2"] });
    const kinds = readEvents(instance.recording?.events().words ?? new Int32Array(0), []).map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === "refused")).toHaveLength(3);
  });

  it("of a table is refused by its maximum alone, and needs no recording", async () => {
    const table = watModule(
      "",
      `(table $t 1 3 funcref) (global $got (mut i32) (i32.const 0))
       (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
         (global.set $got (table.grow $t (ref.null func) (i32.const 1)))
         (if (i32.lt_s (global.get $got) (i32.const 0)) (then (unreachable)))
         (i64.const 0))`,
    );
    const module = victim(table);
    const failure = await failureOf(module, numbers(5));
    // The start notice is one of them: the table has three entries after the second.
    expect(failure.events).toMatchObject({ messages: 3, isWhole: true });
    const replayed = await replay(capsuleOf(failure), found(module.binary));
    expect(replayed).toMatchObject({ outcome: "reproduced", divergence: undefined });
  });
});
