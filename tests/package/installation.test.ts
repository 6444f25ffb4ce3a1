/** The package's life on a machine: install, setup, a running gateway, upgrade, remove, purge; in an overlay that vanishes. */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { developmentKeys, signForDevelopment } from "../../tools/build/development.ts";
import { has, openWorkshop, ROOT } from "./support.ts";

const SCRIPT = path.join(import.meta.dirname, "fixtures/machine.sh");
const OVERLAY =
  "mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w /mnt/r && mount -t overlay o -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r && chroot /mnt/r dpkg --version";

/** Root may usually do this, and a container of a CI often not: then vitest shows these tests as skipped. */
const isAllowed =
  process.arch === "x64" &&
  has("dpkg-deb") &&
  has("systemctl") &&
  spawnSync("unshare", ["-m", "sh", "-c", OVERLAY]).status === 0;

const NAMES = ["system-monitor", "threshold", "uplink"];

/** The example's modules without its sensor: core, device and link process are all needed. */
const MODULES = `modules:
  system-monitor:
    envelope: /debs/system-monitor.envelope
    grants:
      tick: { timer: {} }
      clock: { clock: {} }
      log: { log: {} }
      loadavg: { file: { path: /proc/loadavg, rights: [read] } }
      meminfo: { file: { path: /proc/meminfo, rights: [read] } }
      stat: { file: { path: /proc/stat, rights: [read] } }
      readings: { endpoint: { to: [threshold.readings, uplink.readings] } }
  threshold:
    envelope: /debs/threshold.envelope
    checkpoint: { messages: 16 }
    grants:
      log: { log: {} }
      alarms: { endpoint: { to: uplink.alarms } }
  uplink:
    envelope: /debs/uplink.envelope
    settings: { prefix: site/7 }
    grants:
      log: { log: {} }
      north: { mqtt: { publish: [site/7/#] } }
`;

const workshop = openWorkshop();

describe.skipIf(!isAllowed)("on a machine", () => {
  const seen = new Map<string, string>();
  let output = "";

  beforeAll(async () => {
    const first = await workshop.make("amd64", undefined, "first");
    const second = await workshop.make("amd64", "0.1.0+1", "second");
    const desk = path.join(workshop.folder, "desk");
    mkdirSync(desk);
    const { release } = await developmentKeys(path.join(workshop.folder, "dev"));
    copyFileSync(path.join(workshop.folder, "dev/root.envelope"), path.join(desk, "root.envelope"));
    const target = { vendor: "bulkhead.example", class: "raspberry-pi" };
    for (const name of NAMES) {
      const binary = new Uint8Array(readFileSync(path.join(ROOT, `build/modules/${name}.wasm`)));
      writeFileSync(path.join(desk, `${name}.envelope`), signForDevelopment(binary, "1.0.0", release, target));
    }
    writeFileSync(path.join(desk, "10-modules.yaml"), MODULES);
    const outcome = spawnSync("unshare", ["-m", "bash", SCRIPT, first.file, second.file, desk], {
      encoding: "utf8",
      timeout: 590_000,
    });
    output = outcome.stdout + outcome.stderr;
    for (const line of outcome.stdout.trim().split("\n")) {
      const at = line.indexOf("=");
      seen.set(line.slice(0, at), line.slice(at + 1));
    }
  }, 900_000);

  const value = (name: string) => {
    expect(seen.has(name), output).toBe(true);
    return seen.get(name);
  };

  test("it installs, makes its user in the groups of the buses, and is enabled and started", () => {
    expect(value("install")).toBe("0");
    expect(value("groups")).toBe("bulkhead dialout gpio i2c spi");
    expect(value("state")).toBe("bulkhead:bulkhead 700");
    expect(value("enabled")).toBe("bulkhead.service");
    expect(value("install-told")).toMatch(
      /systemctl --system daemon-reload deb-systemd-invoke start bulkhead\.service$/,
    );
  });

  test("its command and its manual are there, and its configuration is valid as it comes", () => {
    expect(value("version")).toMatch(/^bulkhead \d/);
    expect(value("man")).toBe("/usr/share/man/man1/bulkhead.1.gz");
    expect(value("check")).toBe("/etc/bulkhead/gateway.yaml is valid");
  });

  test("setup takes the place of the configuration as it came, and leaves the key to the service's user", () => {
    expect(value("setup")).toBe("0");
    expect(value("key")).toBe("bulkhead:bulkhead 600");
    // The broker that it was told of is away.
    expect(value("doctor")).toBe("1");
  });

  test("the gateway runs as its user, with its device and link processes, and stops when it is told to", () => {
    expect(value("started")).toBe("3 of 3 modules");
    expect(value("processes")).toBe("3");
    expect(value("stopped")).toBe("0");
  });

  test("an upgrade leaves modules running, configuration and key as they are, and asks for one restart", () => {
    expect(value("upgrade")).toBe("0");
    expect(value("upgraded")).toBe("0.1.0+1");
    expect(value("upgrade-told")).toMatch(/^[^]*daemon-reload deb-systemd-invoke try-restart bulkhead\.service$/);
    expect(value("upgrade-told")).not.toMatch(/ stop /);
    expect(value("running-through-it")).toBe("0");
    expect(value("same-configuration")).toBe("yes");
    expect(value("restarted")).toBe("3 of 3 modules");
    expect(value("same-key")).toBe("yes");
    expect(value("audit")).toBe("0");
  });

  test("removed, it stops, and leaves configuration and state", () => {
    expect(value("remove")).toBe("0");
    expect(value("remove-told")).toMatch(/^deb-systemd-invoke stop bulkhead\.service/);
    expect(value("after-remove")).toBe("etc/bulkhead/gateway.yaml var/lib/bulkhead/gateway.key");
  });

  test("purged, it leaves the operator's own files and its user's number", () => {
    expect(value("purge")).toBe("0");
    expect(value("after-purge")).toBe("");
    expect(value("left")).toBe("10-modules.yaml");
    expect(value("user")).toBe("bulkhead");
  });

  test("nothing else was said", () => {
    expect(seen.has("missing"), output).toBe(false);
  });
});
