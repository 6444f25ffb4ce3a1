/** The arm64 package really runs: its Node and its code under qemu, the whole demo included. */
import { execFile, execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import type { DemoResult } from "../../tools/demo/story.ts";
import { canEmulate, emulatedNode } from "../../tools/package/emulation.ts";
import { has, openWorkshop } from "./support.ts";

const workshop = openWorkshop();
/** Emulated code is ten times slower, and the machine may be busy. */
const PATIENCE_MS = 900_000;

describe.skipIf(!canEmulate() || !has("dpkg-deb"))("the arm64 package", () => {
  let library: string;
  let node: string;

  beforeAll(async () => {
    const { file } = await workshop.make("arm64");
    library = path.join(workshop.unpack(file), "usr/lib/bulkhead");
    node = emulatedNode(library);
  }, PATIENCE_MS);

  test("holds code for that processor, and serialport's for it", () => {
    const EM_AARCH64 = 183;
    const prebuilt =
      "node_modules/@serialport/bindings-cpp/prebuilds/linux-arm64/@serialport+bindings-cpp.armv8.glibc.node";
    for (const file of ["bin/node", prebuilt]) {
      expect(readFileSync(path.join(library, file)).readUInt16LE(18), file).toBe(EM_AARCH64);
    }
  });

  test(
    "its command runs, on its own Node",
    () => {
      const help = execFileSync(node, [path.join(library, "tools/launch/bulkhead.js"), "--help"], { encoding: "utf8" });
      expect(help).toMatch(/^ {2}doctor {2,}\S/m);
      expect(execFileSync(node, ["-p", "process.arch"], { encoding: "utf8" })).toBe("arm64\n");
    },
    PATIENCE_MS,
  );

  test(
    "its demo observes all that it promises: readings, a signed update, attacks refused, failures healed, nothing lost",
    async () => {
      const launcher = path.join(library, "tools/launch/bulkhead.js");
      const options = { encoding: "utf8", maxBuffer: 1 << 24 } as const;
      const { stdout } = await promisify(execFile)(node, [launcher, "demo", "--json", "--patience", "30"], options);
      const { readings, swap, refused, recovered } = JSON.parse(stdout) as DemoResult;
      expect(readings).toMatchObject({ lost: 0, duplicated: 0, reordered: 0 });
      expect(readings.received).toBeGreaterThan(0);
      expect(swap).toMatchObject({ committed: true, lost: 0 });
      expect(refused.map(({ code }) => code)).toEqual(["E_DIGEST", "E_KEY", "E_ROLLBACK", "E_CAP", "E_CAP"]);
      expect(recovered.map(({ module, cause }) => [module, cause])).toEqual([
        ["trapper", "trap"],
        ["spinner", "budget"],
      ]);
    },
    PATIENCE_MS,
  );
});
