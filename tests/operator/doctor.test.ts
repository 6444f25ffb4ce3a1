/** `bulkhead doctor` in broken situations: each is found, with what to do, and decides the exit code. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { Aedes } from "aedes";
import { describe, expect, test } from "vitest";
import { loadConfiguration } from "../../gateway/config/index.ts";
import { scanI2c } from "../../gateway/device/index.ts";
import { encodeTrustState, initialTrust } from "../../gateway/envelopes/index.ts";
import { nodeFileSystem, Store } from "../../gateway/trust/index.ts";
import { checkBroker } from "../../tools/doctor/broker.ts";
import { checkDevices, clockIsSynchronized } from "../../tools/doctor/devices.ts";
import type { Finding } from "../../tools/doctor/finding.ts";
import { exitCode, failure, findingsText, ok, warning } from "../../tools/doctor/finding.ts";
import {
  checkAddressSpace,
  checkClock,
  checkDisk,
  checkExpiry,
  checkVersions,
  diskState,
} from "../../tools/doctor/host.ts";
import { signRoot } from "../../tools/keys/index.ts";
import { measureAddressSpace } from "../../tools/launch/address-space.js";
import { hasCompiler, loadShim, temporaryFolder } from "../device/fixtures/native.ts";
import { DAY, rootDocument, rootKeys } from "../trust/fixture.ts";
import { bulkhead, filesIn, openDesk } from "./support.ts";

const desk = openDesk();

/** A gateway's folder as setup leaves it; `lines` follow. */
function gateway(lines = ""): { readonly place: string; readonly config: string } {
  const text = `gateway: { id: gw-1, vendor: v.example, class: pi }\ndata: data\ntrust: { root: ${desk.root} }\n${lines}`;
  const place = desk.place({ "gateway.yaml": text });
  mkdirSync(path.join(place, "data"), { mode: 0o700 });
  return { place, config: path.join(place, "gateway.yaml") };
}

function doctor(config: string) {
  const { status, stdout, stderr } = bulkhead("doctor", config, "--json", "--no-scan");
  const { findings } = JSON.parse(stdout) as { findings: Finding[] };
  return {
    status,
    stderr,
    of: (subject: string) => findings.filter((finding) => finding.subject === subject),
    findings,
  };
}

const severities = (findings: readonly Finding[]) => findings.map(({ severity }) => severity);

test("a gateway with development keys works, and is told so: exit code 3", () => {
  const { status, stderr, findings, of } = doctor(gateway().config);
  expect({ status, stderr }).toEqual({ status: 3, stderr: "" });
  expect(findings.filter(({ severity }) => severity !== "ok").map(({ text }) => text)).toEqual([
    expect.stringMatching(/root version 1 .*development keys/),
  ]);
  expect(of("configuration")).toMatchObject([{ severity: "ok" }]);
  for (const { severity, remedy } of findings) expect(remedy === undefined).toBe(severity === "ok");
});

test("a root that was published and taken counts, and no more the file's that ends", () => {
  const now = Math.floor(Date.now() / 1000);
  const root = (version: number, days: number) =>
    signRoot(rootDocument({ version, issued: now - 360 * DAY, expires: now + days * DAY }), rootKeys);
  const { place, config } = gateway();
  const file = path.join(place, "root.envelope");
  writeFileSync(file, root(1, 5));
  writeFileSync(config, readFileSync(config, "utf8").replace(desk.root, file));
  expect(doctor(config).of("trust")).toMatchObject([
    { severity: "ok", text: expect.stringContaining("root version 1") as string },
    { severity: "warning", remedy: expect.stringContaining("`bulkhead root publish`") as string },
  ]);
  const before = filesIn(path.join(place, "data"));
  expect(before).toEqual([]);
  const trust = encodeTrustState(initialTrust(root(2, 365)));
  new Store(nodeFileSystem, path.join(place, "data/trust")).save({ trust });
  expect(doctor(config).of("trust")).toMatchObject([
    { severity: "ok", text: expect.stringContaining("root version 2") as string },
  ]);
});

test("what a broker says is shown, never obeyed by a terminal or by an eye", () => {
  const text = findingsText([failure("broker", "no: \u001b[2J\u009b\u202eevil", "ask\nit")], false);
  expect(text).toBe("ERROR    broker  no: \\u001b[2J\\u009b\\u202eevil\n                 ask\\u000ait\n");
});

describe("what is broken has an exit code of 1 and a remedy", () => {
  test("no configuration", () => {
    const outcome = doctor(path.join(desk.place(), "gateway.yaml"));
    expect(outcome.status).toBe(1);
    expect(outcome.of("configuration")[0]).toMatchObject({
      severity: "error",
      remedy: expect.stringMatching(/bulkhead setup/) as string,
    });
  });

  test("a configuration with two mistakes: both, each with its place", () => {
    const { config } = gateway("modules:\n  a: { partition: nowhere }\n  b: { priority: 9 }\n");
    const outcome = doctor(config);
    expect(outcome.status).toBe(1);
    expect(outcome.of("configuration").map(({ text }) => text)).toEqual([
      expect.stringMatching(/gateway\.yaml:6:\d+:/),
    ]);
    writeFileSync(config, readFileSync(config, "utf8").replace("  b: { priority: 9 }\n", ""));
    expect(
      doctor(config)
        .of("configuration")
        .map(({ text }) => text),
    ).toEqual([expect.stringMatching(/gateway\.yaml:5:\d+:/)]);
  });

  test("a configuration that others may write", () => {
    const { config } = gateway();
    chmodSync(config, 0o666);
    expect(
      doctor(config)
        .of("configuration")
        .map(({ severity }) => severity),
    ).toEqual(["ok", "error"]);
  });

  test("a root envelope that is not there, and one that is damaged", () => {
    const missing = gateway();
    writeFileSync(missing.config, readFileSync(missing.config, "utf8").replace(desk.root, "/nowhere/root.envelope"));
    expect(doctor(missing.config)).toMatchObject({ status: 1 });
    const damaged = gateway();
    const root = path.join(damaged.place, "bad.envelope");
    writeFileSync(root, readFileSync(desk.root).subarray(5));
    writeFileSync(damaged.config, readFileSync(damaged.config, "utf8").replace(desk.root, root));
    expect(doctor(damaged.config).of("trust")[0]).toMatchObject({
      severity: "error",
      text: expect.stringMatching(/E_/) as string,
    });
  });

  test("a private key that others may read, and a password file that is not there", () => {
    const { place, config } = gateway(
      "broker: { url: 'mqtt://127.0.0.1:1', username: gw, password-file: broker.password }\n",
    );
    writeFileSync(path.join(place, "data/gateway.key"), "", { mode: 0o644 });
    const outcome = doctor(config);
    expect(outcome.status).toBe(1);
    expect(outcome.of("gateway-key")[0]).toMatchObject({
      severity: "error",
      remedy: expect.stringMatching(/chmod 600/) as string,
    });
    expect(outcome.of("broker.password-file")[0]).toMatchObject({ severity: "error" });
  });
});

test("wrong usage has exit code 2", () => {
  expect(bulkhead("doctor", "a.yaml", "b.yaml").status).toBe(2);
  expect(bulkhead("doctor", "--nonsense").status).toBe(2);
});

test("the exit code is that of the worst", () => {
  expect(exitCode([ok("a", "")])).toBe(0);
  expect(exitCode([ok("a", ""), warning("b", "", "x")])).toBe(3);
  expect(exitCode([failure("c", "", "x"), warning("b", "", "x")])).toBe(1);
});

describe("the clock", () => {
  const ROOT_DATE = 1_760_000_000;
  test.each<[string, number, boolean | undefined, string]>([
    ["before the root's date, as after a power cut without a battery", 86_400, undefined, "error"],
    ["later, but never synchronized", ROOT_DATE + 60, false, "warning"],
    ["later, where nobody says whether it is synchronized", ROOT_DATE + 60, undefined, "ok"],
    ["synchronized", ROOT_DATE + 60, true, "ok"],
  ])("%s", (_what, now, isSynchronized, severity) => {
    expect(severities(checkClock(now, ROOT_DATE, isSynchronized))).toEqual([severity]);
  });

  test("is synchronized where systemd-timesyncd says so", () => {
    const run = desk.place();
    expect(clockIsSynchronized(run)).toBeUndefined();
    mkdirSync(path.join(run, "systemd/timesync"), { recursive: true });
    expect(clockIsSynchronized(run)).toBe(false);
    writeFileSync(path.join(run, "systemd/timesync/synchronized"), "");
    expect(clockIsSynchronized(run)).toBe(true);
  });

  test("a root that has expired, or does so within a month", () => {
    expect(severities(checkExpiry(1000, 2000))).toEqual(["error"]);
    expect(severities(checkExpiry(86_400 * 10, 0))).toEqual(["warning"]);
    expect(checkExpiry(86_400 * 300, 0)).toEqual([]);
  });
});

test("address space: 39 bits will do, a limit is told", () => {
  const maps = "7ffe000000-7fff000000 rw-p 00000000 00:00 0 [stack]\n";
  const limits = (soft: string) => `Max address space         ${soft}            unlimited            bytes\n`;
  const measured = (soft: string) =>
    measureAddressSpace((file: string) => (file.endsWith("maps") ? maps : limits(soft)));
  expect(checkAddressSpace(measured("unlimited"))[0]).toMatchObject({
    severity: "ok",
    text: expect.stringMatching(/39 bits/) as string,
  });
  expect(checkAddressSpace(measured(String(2 ** 32)))[0]).toMatchObject({
    severity: "warning",
    text: expect.stringMatching(/limited to 4 GiB/) as string,
  });
});

test("versions: an older Node and a 32-bit system are refused", () => {
  expect(severities(checkVersions("1.0.0", "26.10.0", "arm64"))).toEqual(["ok"]);
  expect(severities(checkVersions("1.0.0", "20.1.0", "arm64"))).toEqual(["error"]);
  expect(severities(checkVersions("1.0.0", "26.10.0", "arm"))).toEqual(["error"]);
});

describe("the disk", () => {
  const MIB = 2 ** 20;
  test.each<[string, number, number, string]>([
    ["with room", 5000, 1000, "ok"],
    ["with little", 100, 1000, "warning"],
    ["full", 5, 1000, "error"],
    ["without room for one more file", 5000, 0, "error"],
  ])("%s", (_what, mebibytes, freeFiles, severity) => {
    const state = { freeBytes: mebibytes * MIB, bytes: 30_000 * MIB, freeFiles, files: 100_000 };
    expect(severities(checkDisk("/var/lib/bulkhead", state))).toEqual([severity]);
  });

  const canMount = process.getuid?.() === 0 && spawnSync("unshare", ["-m", "true"]).status === 0;
  test.skipIf(!canMount)("that is really full: a file system of 1 MiB", () => {
    const { place, config } = gateway();
    const data = path.join(place, "data");
    const script = `mount -t tmpfs -o size=1m,mode=700 none '${data}' && '${process.execPath}' --disable-warning=ExperimentalWarning "$0" doctor '${config}' --json --no-scan`;
    const cli = path.resolve(import.meta.dirname, "../../tools/cli.ts");
    const { status, stdout } = spawnSync("unshare", ["-m", "sh", "-c", script, cli], { encoding: "utf8" });
    expect(status).toBe(1);
    expect(stdout).toMatch(/"subject":"disk","severity":"error"/);
  });

  test("of a folder that is not there yet is the one above it", () => {
    expect(diskState("/tmp/not/there/yet").bytes).toBe(diskState("/tmp").bytes);
  });
});

describe("the broker", () => {
  const broker = async (lines: string) => await checkBroker(await loadConfiguration(gateway(lines).config));

  test("none is fine; one where nobody listens is told with what becomes of the readings", async () => {
    expect(severities(await broker(""))).toEqual(["ok"]);
    const [finding] = await broker("broker: { url: 'mqtt://127.0.0.1:1' }\n");
    expect(finding).toMatchObject({
      severity: "error",
      remedy: expect.stringMatching(/nobody listens.*kept on disk/) as string,
    });
  });

  test("one that takes the password, and one that does not", async () => {
    const aedes = await Aedes.createBroker();
    aedes.authenticate = (_client, _name, password, done) => {
      done(null, password?.toString() === "right");
    };
    const server = createServer((socket) => void aedes.handle(socket));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const lines = `broker: { url: 'mqtt://127.0.0.1:${port}', username: gw, password-file: p }\n`;
    try {
      const { place, config } = gateway(lines);
      writeFileSync(path.join(place, "p"), "right\n");
      expect(await checkBroker(await loadConfiguration(config))).toMatchObject([{ severity: "ok" }]);
      writeFileSync(path.join(place, "p"), "wrong\n");
      expect(await checkBroker(await loadConfiguration(config))).toMatchObject([
        { severity: "error", remedy: expect.stringMatching(/password/) as string },
      ]);
    } finally {
      await new Promise<void>((resolve) => aedes.close(() => server.close(() => resolve())));
    }
  });
});

describe("buses", () => {
  const GRANTS = `devices: { i2c: { 1: { backend: linux } } }
modules:
  bme280: { grants: { sensor: { i2c-device: { bus: 1, address: 0x76 } } } }
  line: { grants: { port: { uart: { device: /dev/ttyUSB0, baud: 9600 } } } }
`;
  const around = (nodes: readonly string[], answering: readonly number[]) => {
    const place = desk.place(Object.fromEntries(nodes.map((name) => [name, ""])));
    return { dev: place, sys: place, scan: () => answering };
  };

  test("nothing here and nothing needed is well", () => {
    expect(severities(checkDevices(undefined, around([], [])))).toEqual(["ok"]);
  });

  test("a bus that must be there is an error, one that a simulator stands in for a warning, with how to switch it on", async () => {
    const findings = checkDevices(await loadConfiguration(gateway(GRANTS).config), around([], []));
    expect(findings).toMatchObject([
      { subject: "bme280.sensor", severity: "error", remedy: expect.stringMatching(/do_i2c/) as string },
      { subject: "line.port", severity: "warning", text: expect.stringMatching(/a simulator stands in/) as string },
    ]);
  });

  test("who answers is shown; who was granted and does not answer is an error", async () => {
    const configuration = await loadConfiguration(gateway(GRANTS).config);
    const good = checkDevices(configuration, around(["i2c-1", "ttyUSB0"], [0x48, 0x76]));
    expect(good).toMatchObject([
      { subject: "i2c-1", text: expect.stringMatching(/0x48, 0x76 answer/) as string },
      { subject: "ttyUSB0" },
    ]);
    const bad = checkDevices(configuration, around(["i2c-1", "ttyUSB0"], [0x77]));
    expect(bad.filter(({ severity }) => severity === "error")).toMatchObject([
      { subject: "bme280.sensor", text: expect.stringMatching(/0x76/) as string },
    ]);
  });

  test("a bus that hangs says so, and 1-Wire devices are listed", () => {
    const place = desk.place({ "i2c-1": "" });
    mkdirSync(path.join(place, "bus/w1/devices/28-0000"), { recursive: true });
    const scan = () => {
      throw new Error("/dev/i2c-1: transfer with 0x8: ETIMEDOUT");
    };
    expect(checkDevices(undefined, { dev: place, sys: place, scan })).toMatchObject([
      { subject: "i2c-1", severity: "error", remedy: expect.stringMatching(/pull-ups/) as string },
      { subject: "onewire", severity: "ok", text: "28-0000" },
    ]);
  });

  test.skipIf(!hasCompiler)("a scan asks each address for a byte through the kernel's interface", () => {
    const folder = temporaryFolder();
    try {
      const { library } = loadShim(folder.path);
      expect(scanI2c("/dev/i2c-1", library)).toContain(0x50);
      expect(scanI2c("/dev/i2c-1", library)).not.toContain(0x76);
    } finally {
      folder.remove();
    }
  });
});
