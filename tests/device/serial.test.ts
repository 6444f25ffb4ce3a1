/** Serial lines over real pseudo-terminals: bytes both ways, unplugging, and Modbus RTU with a slave that is not ours. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { rmSync, symlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ServerSerial } from "modbus-serial";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { crc16 } from "../../gateway/device/simulator/modbus-slave.ts";
import { HostProcess } from "../../gateway/wire/child.ts";
import { hostEntry } from "../../gateway/wire/entry.ts";
import { FRAME_CBOR } from "../../gateway/wire/frames.ts";
import { devicePermissions } from "../../gateway/wire/permissions.ts";
import type { HostBinding } from "../../gateway/wire/protocol.ts";
import type { CborInput } from "../../kernel/index.ts";
import { decodeCbor, RESULT } from "../../kernel/index.ts";
import { openCable, openPseudoTerminal } from "./fixtures/native.ts";

type ServerOptions = ConstructorParameters<typeof ServerSerial>[1];

const cleaning: (() => unknown)[] = [];
const logs: string[] = [];
let received: Buffer = Buffer.alloc(0);
let gaps = 0;

afterEach(async () => {
  for (const clean of cleaning.splice(0).reverse()) await clean();
  received = Buffer.alloc(0);
});

afterAll(() => {
  expect(logs.filter((line) => line.includes("broke the protocol"))).toEqual([]);
});

async function startDevice(path: string, baud = 115_200, devices: CborInput = {}): Promise<HostProcess> {
  const binding: HostBinding = {
    id: 1,
    interface: "uart",
    owner: "test.line",
    rights: ["read", "write"],
    parameters: { device: path, baud, format: "8N1" },
  };
  const host = new HostProcess({
    name: "device",
    ...hostEntry("device"),
    settings: { devices },
    permissions: devicePermissions([binding]),
    heapMiB: 64,
    onEvent: (_binding, payload) => {
      const bytes = decodeCbor(payload, FRAME_CBOR);
      if (bytes instanceof Uint8Array) received = Buffer.concat([received, bytes]);
      else gaps++;
    },
    onStatus: (_state, text) => logs.push(text),
    onLog: (_level, text) => logs.push(text),
  });
  cleaning.push(() => host.stop());
  await host.start([binding]);
  return host;
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 1000) throw new Error(`it never came about: ${logs.join("; ")}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function write(host: HostProcess, bytes: Uint8Array): Promise<number> {
  return host
    .request({ binding: 1, operation: "write", numbers: [], bytes: [bytes], capacity: 0, timeoutMs: 8000 })
    .then(({ result }) => result);
}

/** The line is opened after the process is ready: until then there is none. */
async function writeOnceOpen(host: HostProcess, bytes: Uint8Array): Promise<void> {
  let result = RESULT["not-found"];
  for (let tries = 0; result === RESULT["not-found"] && tries < 300; tries++) {
    result = await write(host, bytes);
    if (result < 0) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(result).toBe(bytes.length);
}

describe("a serial line", () => {
  it("carries every byte value both ways", async () => {
    let sent: Buffer = Buffer.alloc(0);
    const terminal = openPseudoTerminal((bytes) => {
      sent = Buffer.concat([sent, bytes]);
    });
    cleaning.push(() => terminal.close());
    const host = await startDevice(terminal.path);
    const all = Uint8Array.from({ length: 256 }, (_, index) => index);
    await writeOnceOpen(host, all);
    await until(() => sent.length === 256);
    expect([...sent]).toEqual([...all]);
    terminal.write(all);
    await until(() => received.length === 256);
    expect([...received]).toEqual([...all]);
  });

  it("delivers a burst whole and in order", async () => {
    const terminal = openPseudoTerminal(() => undefined);
    cleaning.push(() => terminal.close());
    const host = await startDevice(terminal.path);
    await writeOnceOpen(host, Uint8Array.of(0));
    const chunk = Buffer.alloc(1000);
    for (let index = 0; index < 50; index++) {
      chunk.fill(index);
      terminal.write(chunk);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await until(() => received.length === 50_000);
    expect(received.every((byte, at) => byte === Math.floor(at / 1000))).toBe(true);
  });

  it("is looked for until it is there, and again when it was unplugged, with the gap marked", async () => {
    const link = `/dev/shm/bulkhead-line-${process.pid}`;
    cleaning.push(() => rmSync(link, { force: true }));
    const host = await startDevice(link, 9600, { uart: { [link]: { backend: "linux" } } });
    expect(await write(host, Uint8Array.of(1))).toBe(RESULT["not-found"]);
    await until(() => logs.some((line) => line.includes(`${link} is not there`)));
    for (const word of ["first", "second"]) {
      const terminal = await plugIn(link);
      await writeOnceOpen(host, Buffer.from(word));
      await until(() => received.toString().endsWith(word.toUpperCase()));
      terminal.kill("SIGKILL");
      await until(() => logs.filter((line) => line.includes(`test.line: ${link}`)).length > 1);
      rmSync(link);
      await untilGone(host);
    }
    expect(gaps).toBe(1);
  });
});

async function plugIn(link: string): Promise<ChildProcess> {
  const terminal = spawn(process.execPath, [fileURLToPath(new URL("fixtures/terminal.ts", import.meta.url))], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  cleaning.push(() => terminal.kill("SIGKILL"));
  const [path] = (await once(terminal.stdout, "data")) as [Buffer];
  symlinkSync(path.toString().trim(), link);
  return terminal;
}

async function untilGone(host: HostProcess): Promise<void> {
  for (let tries = 0; (await write(host, new Uint8Array())) !== RESULT["not-found"]; tries++) {
    if (tries > 200) throw new Error("the line never closed");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe("Modbus RTU", () => {
  it("reads registers of an independent slave at the other end of a cable", async () => {
    const cable = openCable();
    cleaning.push(() => {
      cable.close();
    });
    const vector = {
      getHoldingRegister: (address: number) => address * 10,
      setRegister: () => undefined,
    };
    // SAFETY: the package's types leave out the options of the serial port, which its documentation has.
    const options = { path: cable.right, baudRate: 19_200, unitID: 5 } as unknown as ServerOptions;
    const server = new ServerSerial(vector, options);
    cleaning.push(
      () =>
        new Promise((resolve) => {
          server.close(resolve);
        }),
    );
    await new Promise((resolve) => server.once("initialized", resolve));
    const host = await startDevice(cable.left, 19_200);
    const body = Uint8Array.of(5, 3, 0, 100, 0, 2);
    const crc = crc16(body);
    await writeOnceOpen(host, Uint8Array.of(...body, crc & 0xff, crc >> 8));
    await until(() => received.length >= 9);
    expect(crc16(received)).toBe(0);
    expect([received.readUInt16BE(3), received.readUInt16BE(5)]).toEqual([1000, 1010]);
  });
});
