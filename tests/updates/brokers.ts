/** Mosquitto and NATS on free loopback ports, where they are installed; a test that needs one says so where it is not. */

import type { ChildProcess } from "node:child_process";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestBroker } from "./mqtt.ts";

/** The program, or undefined where it is not installed. Debian puts servers where a user's PATH does not look. */
export function findBroker(name: "mosquitto" | "nats-server"): string | undefined {
  return [name, `/usr/sbin/${name}`].find((path) => spawnSync(path, ["-h"]).error === undefined);
}

export interface StartedBroker extends TestBroker {
  readonly folder: string;
}

/** `lines` go into its configuration file; `folder` is where its files may lie. */
export async function startMosquitto(
  program: string,
  lines: (folder: string) => readonly string[] = () => ["allow_anonymous true"],
  scheme = "mqtt",
): Promise<StartedBroker> {
  const folder = mkdtempSync(join(tmpdir(), "bulkhead-mosquitto-"));
  const port = await freePort();
  const configuration = [
    `listener ${port} 127.0.0.1`,
    "persistence false",
    "max_queued_messages 0",
    "set_tcp_nodelay true",
    ...lines(folder),
  ];
  writeFileSync(join(folder, "mosquitto.conf"), `${configuration.join("\n")}\n`);
  return start(program, ["-c", join(folder, "mosquitto.conf")], folder, port, scheme);
}

const ACL = new URL("../../docs/mosquitto.acl", import.meta.url).pathname;

/** With TLS, client certificates for these names, made by OpenSSL into its folder, and the access list that we ship. */
export function startGuardedMosquitto(program: string, names: readonly string[]): Promise<StartedBroker> {
  const lines = (folder: string): string[] => {
    makeCertificates(folder, ["server", ...names]);
    return [
      `cafile ${join(folder, "ca.crt")}`,
      `certfile ${join(folder, "server.crt")}`,
      `keyfile ${join(folder, "server.key")}`,
      "require_certificate true",
      "use_identity_as_username true",
      `acl_file ${ACL}`,
      "user root",
    ];
  };
  return startMosquitto(program, lines, "mqtts");
}

/** A certificate authority and certificates of it, made by OpenSSL in the broker's folder. */
function makeCertificates(folder: string, names: readonly string[]): void {
  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=test authority");
  for (const name of names) {
    const subject = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1"];
    openssl("req", ...key, "-keyout", `${name}.key`, "-out", `${name}.csr`, ...subject);
    const authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(
      "x509",
      "-req",
      "-in",
      `${name}.csr`,
      ...authority,
      "-out",
      `${name}.crt`,
      "-days",
      "2",
      "-copy_extensions",
      "copy",
    );
  }
}

/** NATS with its MQTT gateway, which keeps retained messages in JetStream. */
export async function startNats(program: string): Promise<StartedBroker> {
  const folder = mkdtempSync(join(tmpdir(), "bulkhead-nats-"));
  const port = await freePort();
  const configuration = `
    server_name: bulkhead-test
    listen: 127.0.0.1:-1
    jetstream { store_dir: "${folder}" }
    mqtt { listen: "127.0.0.1:${port}" }
  `;
  writeFileSync(join(folder, "nats.conf"), configuration);
  return start(program, ["-c", join(folder, "nats.conf")], folder, port, "mqtt");
}

async function start(
  program: string,
  args: readonly string[],
  folder: string,
  port: number,
  scheme: string,
): Promise<StartedBroker> {
  const child = spawn(program, args, { stdio: "ignore" });
  await listening(port, child);
  return {
    url: `${scheme}://127.0.0.1:${port}`,
    folder,
    close: async () => {
      const ended = new Promise((resolve) => child.on("close", resolve));
      child.kill();
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listening(port: number, child: ChildProcess): Promise<void> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; ) {
    if (child.exitCode !== null) throw new Error(`the broker ended with exit code ${child.exitCode}`);
    const isUp = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.on("connect", () => {
        socket.destroy();
        resolve(true);
      });
      socket.on("error", () => {
        resolve(false);
      });
    });
    if (isUp) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("the broker did not begin to listen");
}
