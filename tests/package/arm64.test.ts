/** The arm64 package really runs: its Node and its code under qemu, to a reading of a simulated sensor at the broker. */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { Aedes } from "aedes";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TestContext } from "vitest";
import { developmentKeys, signForDevelopment } from "../../tools/build/development.ts";
import { canEmulate, emulatedNode } from "../../tools/package/emulation.ts";
import { has, openWorkshop, ROOT } from "./support.ts";

const workshop = openWorkshop();
/** Emulated code is ten times slower, and the machine may be busy. */
const PATIENCE_MS = 400_000;

const GATEWAY = (port: number) => `gateway: { id: gw-arm, vendor: bulkhead.example, class: raspberry-pi }
data: data
trust: { root: dev/root.envelope }
broker: { url: 'mqtt://127.0.0.1:${port}' }
devices: { i2c: { 1: { backend: simulator, simulate: [{ chip: bme280, address: 0x76 }] } } }
modules:
  bme280:
    envelope: bme280.envelope
    grants:
      tick: { timer: {} }
      clock: { clock: {} }
      log: { log: {} }
      sensor: { i2c-device: { bus: 1, address: 0x76 } }
      readings: { endpoint: { to: uplink.readings } }
  uplink:
    envelope: uplink.envelope
    settings: { prefix: site/7 }
    grants:
      log: { log: {} }
      north: { mqtt: { publish: [site/7/#] } }
`;

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

  describe("a gateway of three processes", () => {
    const stopping: (() => Promise<unknown>)[] = [];
    afterAll(async () => {
      for (const stop of stopping) await stop();
    });

    test(
      "brings a simulated sensor's reading to the broker",
      async (context: TestContext) => {
        const folder = path.join(workshop.folder, "gateway");
        mkdirSync(folder);
        const { release } = await developmentKeys(path.join(folder, "dev"));
        for (const name of ["bme280", "uplink"]) {
          const binary = new Uint8Array(readFileSync(path.join(ROOT, `build/modules/${name}.wasm`)));
          const envelope = signForDevelopment(binary, "1.0.0", release, {
            vendor: "bulkhead.example",
            class: "raspberry-pi",
          });
          writeFileSync(path.join(folder, `${name}.envelope`), envelope);
        }
        const aedes = await Aedes.createBroker();
        const server = createServer((socket) => void aedes.handle(socket));
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        stopping.push(() => new Promise<void>((resolve) => aedes.close(() => server.close(() => resolve()))));
        const reading = new Promise<string>((resolve) => {
          aedes.on("publish", ({ topic }) => {
            if (topic.startsWith("site/7/readings/")) resolve(topic);
          });
        });
        writeFileSync(path.join(folder, "gateway.yaml"), GATEWAY((server.address() as AddressInfo).port));
        const launcher = path.join(library, "tools/launch/bulkhead.js");
        const gateway = spawn(node, [launcher, "run", path.join(folder, "gateway.yaml"), "--json", "--patience", "10"]);
        let output = "";
        for (const stream of [gateway.stdout, gateway.stderr]) stream.on("data", (text) => (output += String(text)));
        const ended = new Promise<number | null>((resolve) => gateway.on("close", resolve));
        const topic = await Promise.race([reading, ended]);
        // Where other work takes nearly all of the machine, threads under emulation look dead to their watchers.
        if (/no sign of life|silent for/.test(output))
          context.skip("this machine is too busy to emulate a gateway in time");
        expect(String(topic), output).toMatch(/^site\/7\/readings\/bme280/);
        gateway.kill("SIGTERM");
        expect(await ended, output).toBe(0);
      },
      PATIENCE_MS,
    );
  });
});
