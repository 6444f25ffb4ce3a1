/** Configurations on disk: layers in the order of their names, and files that cannot be read. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { ConfigurationError, loadConfiguration } from "../../gateway/config/index.ts";
import { VALID } from "./support.ts";

const root = mkdtempSync(join(tmpdir(), "bulkhead-config-"));
let folder = root;
let count = 0;

afterAll(() => {
  rmSync(root, { recursive: true });
});

beforeEach(() => {
  count += 1;
  folder = join(root, String(count));
  mkdirSync(join(folder, "gateway.d"), { recursive: true });
  write("gateway.yaml", VALID);
});

function write(name: string, content: string | Uint8Array): void {
  writeFileSync(join(folder, name), content);
}

const load = (name = "gateway.yaml"): ReturnType<typeof loadConfiguration> => loadConfiguration(join(folder, name));

async function refusal(name?: string): Promise<string> {
  const error: unknown = await load(name).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof ConfigurationError) return error.describe().replaceAll(folder, "");
  throw new Error("not refused with the coded error", { cause: error });
}

describe("a configuration on disk", () => {
  it("is read with its layers in the order of their names, itself last", async () => {
    write("gateway.d/20-second.yaml", "modules: { uplink: { priority: 1 } }");
    write("gateway.d/10-first.yaml", "modules: { uplink: { priority: 0 } }");
    write("gateway.d/readme.md", "{{{");
    write("gateway.d/.swap.yaml", "{{{");
    const { files, system } = await load();
    expect(files.map((file) => file.slice(folder.length))).toEqual([
      "/gateway.d/10-first.yaml",
      "/gateway.d/20-second.yaml",
      "/gateway.yaml",
    ]);
    expect(system.modules.find(({ name }) => name === "uplink")?.priority).toBe(0);
  });

  it("resolves paths of layers against the folder of gateway.yaml", async () => {
    write("gateway.d/10.yaml", "modules: { uplink: { envelope: x/uplink.envelope } }");
    const { envelopes, dataFolder } = await load();
    expect(envelopes.get("uplink")).toBe(join(folder, "x/uplink.envelope"));
    expect(dataFolder).toBe(join(folder, "data"));
  });

  it("is stopped by any layer that is not valid, with its own place", async () => {
    write("gateway.d/10.yaml", "modules:\n  uplink:\n    priority: [");
    expect(await refusal()).toMatch(/^\/gateway\.d\/10\.yaml:3:\d+: E_CONFIG: not valid YAML/);
    write("gateway.d/10.yaml", "rules:\n  - deny: uplnk -> *\n");
    expect(await refusal()).toContain(
      "/gateway.d/10.yaml:2:11: E_UNKNOWN: unknown module 'uplnk'; did you mean 'uplink'?",
    );
  });

  it("tells the faults of all files at once", async () => {
    write("gateway.d/10.yaml", "a: [");
    write("gateway.d/20.yaml", "b: ]");
    const lines = (await refusal()).split("\n");
    expect(lines.map((line) => line.split(":")[0])).toEqual(["/gateway.d/10.yaml", "/gateway.d/20.yaml"]);
  });

  it.each([
    ["absent", "absent.yaml", "/absent.yaml:1:1: E_CONFIG: the file cannot be read: there is no such file"],
    ["a folder", "gateway.d", "/gateway.d:1:1: E_CONFIG: the file cannot be read: it is a folder"],
    [
      "below a file",
      "gateway.yaml/x",
      "/gateway.yaml/x:1:1: E_CONFIG: the file cannot be read: a part of its path is not a folder",
    ],
  ])("is refused where it is %s", async (_, name, expected) => {
    expect(await refusal(name)).toContain(expected);
  });

  it("is refused where it is not UTF-8, or too large", async () => {
    write("gateway.yaml", Uint8Array.of(0x67, 0xff, 0xfe));
    expect(await refusal()).toContain("the file cannot be read: it is not UTF-8");
    write("gateway.yaml", `# ${"x".repeat(1024 * 1024)}`);
    expect(await refusal()).toContain("the file cannot be read: it is too large");
  });

  it("is read with a byte order mark and with carriage returns", async () => {
    write("gateway.yaml", `\ufeff${VALID.replaceAll("\n", "\r\n")}`);
    expect((await load()).gateway.id).toBe("gw-7");
  });

  it("is refused where a layer may not be read", async () => {
    write("gateway.d/10.yaml", "{}");
    chmodSync(join(folder, "gateway.d/10.yaml"), 0o000);
    // Root may read everything: then there is nothing to refuse.
    if (process.getuid?.() !== 0) expect(await refusal()).toContain("it may not be read by this user");
    else expect((await load()).files).toHaveLength(2);
  });
});
