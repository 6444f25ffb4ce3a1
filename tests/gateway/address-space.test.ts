/** What the launcher decides from the address space that a process gets, and a thousand modules in 39 bits of it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { measureAddressSpace } from "../../tools/launch/address-space.js";

const SCRIPT = fileURLToPath(new URL("thousand-modules.ts", import.meta.url));
/** 39 bits of address space, in kB. */
const LIMIT_KB = 536_870_912;

const reading = (maps: string, limit: string) => (path: string) =>
  path.endsWith("maps") ? maps : `Max address space         ${limit}            ${limit}            bytes\n`;
const maps = (end: string): string => `00400000-00500000 r-xp 0 0:0 0 node\n7ffc0000-${end} rw-p 0 0:0 0    [stack]\n`;

describe("the launcher", () => {
  test("leaves the guards where there are 47 bits and no limit", () => {
    const found = measureAddressSpace(reading(maps("7ffd3e5f2000"), "unlimited"));
    expect(found).toMatchObject({ bits: 47, limitBytes: Infinity, isSmall: false, flags: [] });
  });

  test("has bounds checked in code in 39 bits, as many Pis have them", () => {
    const found = measureAddressSpace(reading(maps("7fd3e5f200"), "unlimited"));
    expect(found).toMatchObject({ bits: 39, isSmall: true, flags: ["--disable-wasm-trap-handler"] });
  });

  test("has bounds checked in code under a limit of the shell or of systemd", () => {
    const found = measureAddressSpace(reading(maps("7ffd3e5f2000"), `${LIMIT_KB * 1024}`));
    expect(found).toMatchObject({ bits: 47, bytes: 2 ** 39, isSmall: true });
    expect(found.text).toBe(
      "47 bits of address space, limited to 512 GiB: Wasm memories are checked in code, so that a thousand fit",
    );
  });

  test("takes what it cannot read for roomy", () => {
    const unreadable = (): string => {
      throw new Error("no /proc");
    };
    expect(measureAddressSpace(unreadable)).toMatchObject({ bits: 47, isSmall: false });
  });
});

/** Loads a thousand modules under the limit, and says how many run. */
async function run(flags: readonly string[]): Promise<string> {
  const command = `ulimit -v ${LIMIT_KB}; exec "$0" "$@"`;
  const node = [process.execPath, "--disable-warning=ExperimentalWarning", ...flags, SCRIPT];
  const child = spawn("bash", ["-c", command, ...node], { stdio: ["ignore", "pipe", "ignore"] });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
  await once(child, "close");
  return said.trim();
}

describe("under 39 bits of address space", () => {
  test("a thousand modules run with what the launcher decides", async () => {
    const { flags } = measureAddressSpace(reading(maps("7ffd3e5f2000"), `${LIMIT_KB * 1024}`));
    expect(await run(flags)).toBe("1000 of 1000 run");
  }, 180_000);

  test("they do not without", async () => {
    expect(await run([])).not.toBe("1000 of 1000 run");
  }, 180_000);
});
