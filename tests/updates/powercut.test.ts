/** Power cuts during updates: kills of a real process, every operation of a disk that forgets, and proof that the test can fail. */

import { describe, expect, it } from "vitest";
import { cutEveryOperation } from "../../tools/powercut/disk-cuts.ts";
import { FaultDisk, seededRandom } from "../../tools/powercut/fault-disk.ts";
import { killAtRandom } from "../../tools/powercut/kill-cuts.ts";

const SEED = 20_261_121;
const quiet = () => undefined;

describe("a power cut", () => {
  it("at any disk operation leaves a complete old or new set, and the update finishes by itself", {
    timeout: 120_000,
  }, async () => {
    const counts = await cutEveryOperation(SEED, 1, quiet);
    expect(counts.failures).toEqual([]);
    expect(counts.cuts).toBeGreaterThan(40);
    expect(counts).toMatchObject({ bootable: counts.cuts, completeSets: counts.cuts, finished: counts.cuts });
  });

  it("at a random instant of a real process does so too, 50 times", { timeout: 240_000 }, async () => {
    const counts = await killAtRandom(50, SEED, quiet);
    expect(counts.failures).toEqual([]);
    expect(counts).toMatchObject({ cuts: 50, bootable: 50, completeSets: 50, finished: 50 });
  });
});

describe("the disk that forgets", () => {
  const bytes = new Uint8Array(2_000).fill(7);

  it("may lose what was written and not synced, and keeps what was", () => {
    let lost = 0;
    for (let seed = 0; seed < 50; seed++) {
      const disk = new FaultDisk(seededRandom(seed));
      disk.write("/a/safe", bytes);
      disk.syncFile("/a/safe");
      disk.syncFolder("/a");
      disk.write("/a/unsafe", bytes);
      disk.restart();
      expect(disk.read("/a/safe")).toEqual(bytes);
      if (disk.read("/a/unsafe")?.every((byte) => byte === 7) !== true) lost++;
    }
    expect(lost).toBeGreaterThan(10);
  });

  it("may tear a write, sector by sector", () => {
    const torn = Array.from({ length: 50 }, (_, seed) => {
      const disk = new FaultDisk(seededRandom(seed));
      disk.write("/a/file", bytes);
      disk.syncFile("/a/file");
      disk.syncFolder("/a");
      disk.write("/a/file", new Uint8Array(2_000).fill(9));
      disk.restart();
      return new Set(disk.read("/a/file")).size;
    });
    expect(torn.filter((kinds) => kinds > 1).length).toBeGreaterThan(10);
  });

  it("may carry out a later rename and lose an earlier one", () => {
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 50; seed++) {
      const disk = new FaultDisk(seededRandom(seed));
      for (const name of ["/a/1", "/a/2"]) disk.write(name, bytes);
      disk.syncFolder("/a");
      disk.rename("/a/1", "/a/first");
      disk.rename("/a/2", "/a/second");
      disk.restart();
      outcomes.add(disk.files.join(" "));
    }
    expect(outcomes).toContain("/a/1 /a/second");
    expect(outcomes).toContain("/a/2 /a/first");
  });

  it("does nothing any more once the power is off", () => {
    const disk = new FaultDisk(seededRandom(1));
    disk.cutAt(1);
    expect(() => {
      disk.write("/a/file", bytes);
    }).toThrow("the disk refused");
    expect(() => disk.read("/a/file")).toThrow("the disk refused");
  });

  it("makes an update fail that does not sync: the cuts would find a store that is careless", {
    timeout: 120_000,
  }, async () => {
    const syncs: (keyof FaultDisk)[] = ["syncFile", "syncFolder"];
    const saved = syncs.map((name) => Object.getOwnPropertyDescriptor(FaultDisk.prototype, name));
    for (const name of syncs)
      Object.defineProperty(FaultDisk.prototype, name, { value: () => undefined, configurable: true });
    try {
      const counts = await cutEveryOperation(SEED, 1, quiet);
      expect(counts.failures.length).toBeGreaterThan(0);
    } finally {
      syncs.forEach((name, index) => Object.defineProperty(FaultDisk.prototype, name, saved[index] ?? {}));
    }
  });
});
