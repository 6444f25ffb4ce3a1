/** docs/write-a-driver.md: each of its commands, in its order, in an empty folder. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

const page = readFileSync("docs/write-a-driver.md", "utf8");
const commands = [...page.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block]) => (block ?? "").trim().split("\n"));
const command = resolve("tools/cli.ts");
const folder = mkdtempSync(join(tmpdir(), "bulkhead-page-"));

afterAll(() => {
  rmSync(folder, { recursive: true });
});

function run(line: string) {
  const [program, ...args] = line.split(" ");
  expect(program).toBe("bulkhead");
  const node = ["--disable-warning=ExperimentalWarning", command, ...args];
  return spawnSync(process.execPath, node, { cwd: folder, encoding: "utf8" });
}

describe("docs/write-a-driver.md", () => {
  it("has the commands of the whole way", () => {
    expect(commands.map((line) => line.split(" ")[1])).toEqual(["new", "test", "build", "inspect", "build"]);
  });

  it.each(commands)(
    "%s",
    (line) => {
      const { status, stdout, stderr } = run(line);
      expect(`${stdout}${stderr}`).not.toContain("Error");
      expect(status).toBe(0);
    },
    60_000,
  );

  it("leaves the files that the page names", () => {
    const table = [...page.matchAll(/^\| `([\w./-]+)` \| .*$/gm)].map(([, name]) => name ?? "");
    const named = table.filter((name) => /[./]/.test(name)).map((name) => join("air-sensor", name));
    expect(named.length).toBeGreaterThan(4);
    for (const name of [...named, "air-sensor/README.md", "build/modules/air-sensor.envelope", "keys/root.envelope"]) {
      expect({ name, exists: existsSync(join(folder, name)) }).toEqual({ name, exists: true });
    }
  });

  it("quotes the driver and the test as they are made", () => {
    const squeeze = (text: string) => text.replace(/\s+/g, "");
    const source = squeeze(readFileSync(join(folder, "air-sensor/index.ts"), "utf8"));
    for (const statement of [
      'tick.every(this.source.period).must("the timer");',
      "device.readRegisters(0x00, this.data)",
    ]) {
      expect(page).toContain(statement);
      expect(source).toContain(squeeze(statement));
    }
    const test = squeeze(readFileSync(join(folder, "air-sensor/air-sensor.test.ts"), "utf8"));
    expect(test).toContain(squeeze('device: { "write-read": () => Uint8Array.of(0x01, 0x02) }'));
  });
});
