/** Mosquitto on a free loopback port, where it is installed; a test that needs it says so where it is not. */

import type { ChildProcess } from "node:child_process";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestBroker } from "./mqtt.ts";

/** Debian puts it where an ordinary user's PATH does not look. */
const PATHS = ["mosquitto", "/usr/sbin/mosquitto"];

/** The program, or undefined where it is not installed. */
export function findMosquitto(): string | undefined {
  return PATHS.find((path) => spawnSync(path, ["-h"]).error === undefined);
}

/** `lines` go into its configuration file; `folder` is where its files may lie. */
export async function startMosquitto(
  program: string,
  lines: (folder: string) => readonly string[] = () => ["allow_anonymous true"],
  scheme = "mqtt",
): Promise<TestBroker & { readonly folder: string; readonly port: number }> {
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
  const child = spawn(program, ["-c", join(folder, "mosquitto.conf")], { stdio: "ignore" });
  await listening(port, child);
  return {
    url: `${scheme}://127.0.0.1:${port}`,
    folder,
    port,
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
    if (child.exitCode !== null) throw new Error(`mosquitto ended with exit code ${child.exitCode}`);
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
  throw new Error("mosquitto did not begin to listen");
}
