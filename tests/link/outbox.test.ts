/** The queue of waiting messages: its bounds, its order, and what is left of it after a crash or on a damaged file. */
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Outbox } from "../../gateway/link/outbox.ts";

const DAY = 86_400_000;
let folder: string;
let path: string;
let broken: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-outbox-"));
  path = join(folder, "outbox.sqlite");
  broken = [];
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

function open(bytes = 2 ** 20, ageMs = DAY): Outbox {
  return new Outbox({ path, bytes, ageMs }, (keptAs) => broken.push(keptAs));
}

function message(index: number, size = 100) {
  return { topic: `t/${index}`, payload: new Uint8Array(size).fill(index), flags: 1 };
}

const topics = (outbox: Outbox) => outbox.after(0, 10_000).map(({ topic }) => topic);

describe("Outbox", () => {
  it("gives messages back as they were, in order, after a restart too", () => {
    const first = open();
    first.append([{ topic: "Größe/☃", payload: Uint8Array.of(0, 255), flags: 3 }, message(2)], 1000);
    first.close();
    const second = open();
    expect(second.count).toBe(2);
    expect(second.bytes).toBe(first.bytes);
    const [one, two] = second.after(0, 10);
    expect(one).toMatchObject({ topic: "Größe/☃", flags: 3 });
    expect([...(one?.payload ?? [])]).toEqual([0, 255]);
    expect(two?.topic).toBe("t/2");
    second.close();
  });

  it("never gives an id twice, so that an old acknowledgement cannot remove a new message", () => {
    const outbox = open();
    const [first = 0] = outbox.append([message(1)], 0);
    outbox.remove([first]);
    const [second = 0] = outbox.append([message(2)], 0);
    expect(second).toBeGreaterThan(first);
    outbox.remove([first, first]);
    expect(outbox.count).toBe(1);
    outbox.close();
  });

  it("drops the oldest when it has no room, and counts them", () => {
    const outbox = open(10 * (100 + 3 + 64));
    outbox.append(
      Array.from({ length: 10 }, (_, index) => message(index)),
      0,
    );
    expect(outbox.dropped).toBe(0);
    outbox.append([message(3)], 0);
    expect(outbox.dropped).toBe(1);
    expect(topics(outbox)[0]).toBe("t/1");
    expect(outbox.bytes).toBeLessThanOrEqual(1670);
    outbox.append([message(5, 5000)], 0);
    expect(outbox.count).toBe(0);
    expect(outbox.bytes).toBe(0);
    outbox.close();
  });

  it("drops what is too old, and nothing when the clock went back", () => {
    const outbox = open(2 ** 20, 1000);
    outbox.append([message(1)], 10_000);
    outbox.append([message(2)], 10_900);
    outbox.trim(5000);
    expect(outbox.count).toBe(2);
    outbox.trim(11_500);
    expect(topics(outbox)).toEqual(["t/2"]);
    expect(outbox.dropped).toBe(1);
    outbox.close();
  });

  it("keeps its count of bytes true whatever is done to it", () => {
    const outbox = open(5000);
    for (let round = 0; round < 200; round++) {
      const ids = outbox.append([message(round % 10, (round * 37) % 700), message(1, 10)], round);
      if (round % 3 === 0) outbox.remove(ids);
    }
    const [bytes, count] = [outbox.bytes, outbox.count];
    outbox.close();
    const again = open(5000);
    expect([again.bytes, again.count]).toEqual([bytes, count]);
    again.close();
  });

  it("begins anew where the file is damaged, and keeps the damaged one aside", () => {
    const outbox = open();
    outbox.append(
      Array.from({ length: 200 }, (_, index) => message(index, 1000)),
      0,
    );
    outbox.close();
    truncateSync(path, 100_000);
    const afterCut = open();
    expect(afterCut.count).toBe(0);
    afterCut.close();
    writeFileSync(path, "this is no database at all, but long enough to be taken for one".repeat(20));
    const afterGarbage = open();
    afterGarbage.append([message(1)], 0);
    expect(afterGarbage.count).toBe(1);
    afterGarbage.close();
    expect(broken).toHaveLength(2);
    expect(readdirSync(folder).filter((name) => name.includes(".broken-")).length).toBeGreaterThan(0);
  });
});
