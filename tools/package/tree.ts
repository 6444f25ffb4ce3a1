/** Lays out the files of the Debian package in a folder, with fixed modes and times, so that two builds are the same. */
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  globSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { PACKAGE_ROOT } from "../root.ts";
import { COMMANDS } from "../verbs/table.ts";
import { bashCompletion } from "./completion.ts";
import { productionFolders, readLock } from "./dependencies.ts";
import { debianChangelog, debianCopyright, licenceOf, MAINTAINER } from "./documents.ts";
import { manualPage } from "./manual.ts";
import type { Architecture } from "./runtime.ts";
import { ARCHITECTURES, runtimeFolder } from "./runtime.ts";

export interface TreeOptions {
  readonly architecture: Architecture;
  readonly version: string;
  /** Seconds since 1970 that every file carries. */
  readonly seconds: number;
  /** The folder of the compiled product. */
  readonly compiled: string;
}

const FILES = path.join(import.meta.dirname, "files");
const LIBRARY = "usr/lib/bulkhead";
const DOCUMENTS = "usr/share/doc/bulkhead";
/** Where each file of `files/` goes; the maintainer scripts go to DEBIAN/. */
const PLACES: Readonly<Record<string, string>> = Object.freeze({
  "bulkhead.sh": "usr/bin/bulkhead",
  "bulkhead.service": "usr/lib/systemd/system/bulkhead.service",
  "backoff.conf": "usr/lib/systemd/system/bulkhead.service.d/backoff.conf",
  "bulkhead.rules": "usr/lib/udev/rules.d/60-bulkhead.rules",
  "gateway.yaml": "etc/bulkhead/gateway.yaml",
  "lintian-overrides": "usr/share/lintian/overrides/bulkhead",
});
const SCRIPTS = ["postinst", "prerm", "postrm"];
const EXECUTABLES = ["usr/bin/bulkhead", `${LIBRARY}/bin/node`, ...SCRIPTS.map((name) => `DEBIAN/${name}`)];
/** Of the packages: sources, types and maps are for authors; licences go into the copyright file. */
const NOT_NEEDED =
  /\.(ts|mts|cts|map|md|markdown|gyp|cpp|h|tsbuildinfo)$|^(\.[^/]+|LICEN[CS]E|AUTHORS|CHANGELOG|Makefile)(\.txt)?$/i;
const FOLDERS_NOT_NEEDED = /^(tests?|examples?|benchmarks?|docs?|fixture|spec|node_modules|\.[^/]+)$|^dist\/mqtt/;
/** The shared libraries that the runtime is linked with, and what the maintainer scripts call. */
const DEPENDS = "libc6 (>= 2.28), libstdc++6 (>= 9), libgcc-s1, libatomic1, passwd, init-system-helpers (>= 1.54)";

/** Fills an empty folder with what `dpkg-deb --build` takes. */
export async function layOut(folder: string, options: TreeOptions): Promise<void> {
  placeProgram(folder, options);
  for (const name of productionFolders()) placeDependency(folder, name, options.architecture);
  for (const [name, place] of Object.entries(PLACES)) copy(path.join(FILES, name), folder, place);
  copy(path.join(PACKAGE_ROOT, "docs/gateway-schema.json"), folder, "usr/share/bulkhead/gateway-schema.json");
  // What `bulkhead setup` may replace without being asked: the configuration as it came.
  copy(path.join(FILES, "gateway.yaml"), folder, "usr/share/bulkhead/gateway.yaml");
  await placeDocuments(folder, options);
  placeControl(folder, options);
  settle(folder, options.seconds);
}

function put(folder: string, name: string, content: string | Uint8Array): void {
  mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
  writeFileSync(path.join(folder, name), content);
}

function copy(from: string, folder: string, name: string): void {
  mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
  copyFileSync(from, path.join(folder, name));
}

function placeProgram(folder: string, { architecture, compiled }: TreeOptions): void {
  const library = path.join(folder, LIBRARY);
  cpSync(compiled, path.join(library, "dist"), { recursive: true, filter: (file) => !file.endsWith(".d.ts") });
  const own = ["package.json", "tools/launch/*.js", "build/modules/*.wasm"];
  for (const file of globSync(own, { cwd: PACKAGE_ROOT })) copy(path.join(PACKAGE_ROOT, file), library, file);
  copy(path.join(runtimeFolder(architecture), "bin/node"), library, "bin/node");
}

function placeDependency(folder: string, name: string, architecture: Architecture): void {
  const source = realpathSync(path.join(PACKAGE_ROOT, name));
  const prebuilt = `prebuilds/linux-${ARCHITECTURES[architecture]}/`;
  cpSync(source, path.join(folder, LIBRARY, name), {
    recursive: true,
    filter: (from) => {
      const file = path.relative(source, from);
      if (file === "") return true;
      if (statSync(from).isDirectory()) return !FOLDERS_NOT_NEEDED.test(file);
      if (file.endsWith(".node")) return file.startsWith(prebuilt) && file.endsWith(".glibc.node");
      return !NOT_NEEDED.test(file) && !NOT_NEEDED.test(path.basename(file));
    },
  });
}

async function placeDocuments(folder: string, { architecture, version, seconds }: TreeOptions): Promise<void> {
  const commands = await Promise.all([...COMMANDS.values()].map((load) => load()));
  const date = new Date(seconds * 1000).toISOString().slice(0, 10);
  put(folder, "usr/share/man/man1/bulkhead.1.gz", compress(manualPage(commands, version, date)));
  put(folder, "usr/share/bash-completion/completions/bulkhead", bashCompletion(commands));
  const changes = readFileSync(path.join(PACKAGE_ROOT, "CHANGELOG.md"), "utf8");
  put(folder, `${DOCUMENTS}/changelog.gz`, compress(debianChangelog(changes, version, seconds)));
  const lock = readLock();
  const node = { ...licenceOf(runtimeFolder(architecture), ".", { license: "MIT" }), files: `${LIBRARY}/bin/node` };
  const others = productionFolders().map((name) => licenceOf(PACKAGE_ROOT, name, lock.get(name) ?? {}));
  put(folder, `${DOCUMENTS}/copyright`, debianCopyright([{ ...node, name: "Node.js" }, ...others]));
  const pages = ["docs/*.{md,cddl,acl}", "docs/grafana.json", "SECURITY.md", "SPECIFICATION.md"];
  for (const page of globSync(pages, { cwd: PACKAGE_ROOT })) {
    copy(path.join(PACKAGE_ROOT, page), folder, `${DOCUMENTS}/${path.basename(page)}`);
  }
  for (const page of globSync("modules/**/README.md", { cwd: PACKAGE_ROOT })) {
    const text = readFileSync(path.join(PACKAGE_ROOT, page), "utf8");
    // The pages of docs/ lie a folder higher here.
    put(folder, `${DOCUMENTS}/${page}`, text.replaceAll("](../docs/", "](../"));
  }
}

/** As `gzip -9n`: no name and no time in it. */
function compress(text: string): Uint8Array {
  return gzipSync(text, { level: 9 });
}

function placeControl(folder: string, { architecture, version }: TreeOptions): void {
  const files = filesOf(folder);
  // As dpkg-gencontrol counts: each file in whole KiB, and 1 for each folder.
  const kibibytes = files.map((name) => Math.ceil(statSync(path.join(folder, name)).size / 1024) || 1);
  const control = {
    Package: "bulkhead",
    Version: version,
    Architecture: architecture,
    Maintainer: MAINTAINER,
    "Installed-Size": String(kibibytes.reduce((sum, size) => sum + size, 0)),
    Depends: DEPENDS,
    Recommends: "ca-certificates",
    Section: "net",
    Priority: "optional",
    Description: `microkernel for IoT gateways whose processes are WebAssembly modules
 Drivers and services are loaded as WebAssembly modules that can use only what
 was granted to them. Modules, signed with Ed25519, are replaced over MQTT
 while the gateway keeps running.
 .
 The package brings the Node.js that it runs on.`,
  };
  const lines = Object.entries(control).map(([name, value]) => `${name}: ${value}\n`);
  put(folder, "DEBIAN/control", lines.join(""));
  put(folder, "DEBIAN/conffiles", "/etc/bulkhead/gateway.yaml\n");
  const sums = files
    .filter((name) => !name.startsWith("etc/"))
    .map(
      (name) =>
        `${createHash("md5")
          .update(readFileSync(path.join(folder, name)))
          .digest("hex")}  ${name}\n`,
    );
  put(folder, "DEBIAN/md5sums", sums.join(""));
  for (const name of SCRIPTS) copy(path.join(FILES, name), folder, `DEBIAN/${name}`);
}

/** Every file, in the order of the names. */
function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .sort();
}

/** Modes do not depend on who builds, nor times on when. */
function settle(folder: string, seconds: number): void {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const name = path.join(entry.parentPath, entry.name);
    const isRunnable = entry.isDirectory() || EXECUTABLES.includes(path.relative(folder, name));
    chmodSync(name, isRunnable ? 0o755 : 0o644);
  }
  chmodSync(folder, 0o755);
  for (const entry of entries) lutimesSync(path.join(entry.parentPath, entry.name), seconds, seconds);
  lutimesSync(folder, seconds, seconds);
}
