/** The Linux buses through node:ffi, with a C library in place of libc's ioctl that plays the devices and checks each field. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { DeviceFailure } from "../../gateway/device/failure.ts";
import { BusQueue } from "../../gateway/device/queue.ts";
import { LinuxI2cBus, LinuxSpiBus } from "../../gateway/device/linux/bus-thread.ts";
import { LinuxGpioChip } from "../../gateway/device/linux/gpio-chip.ts";
import { loadNative } from "../../gateway/device/linux/native.ts";
import { LinuxOneWireBus } from "../../gateway/device/linux/onewire-bus.ts";
import type { I2cMessage } from "../../gateway/device/i2c.ts";
import { hasCompiler, loadShim, temporaryFolder } from "./fixtures/native.ts";

const folder = temporaryFolder();
const shim = hasCompiler ? loadShim(folder.path) : undefined;
const closing: { close(): void }[] = [];

beforeEach(() => {
  shim?.reset();
});

afterEach(() => {
  for (const bus of closing.splice(0)) bus.close();
});

afterAll(() => {
  folder.remove();
});

function closed<T extends { close(): void }>(bus: T): T {
  closing.push(bus);
  return bus;
}

async function resultOf(transfer: Promise<unknown>): Promise<string> {
  const error: unknown = await transfer.then(
    () => "ok",
    (reason: unknown) => reason,
  );
  return error instanceof DeviceFailure ? error.result : String(error);
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 500) throw new Error("it never came about");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const write = (...bytes: number[]): I2cMessage => ({ kind: "write", bytes: Uint8Array.from(bytes) });
const read = (length: number): I2cMessage => ({ kind: "read", length });

describe("native calls", () => {
  it("prove themselves on this host's libc", () => {
    const native = loadNative();
    expect(native.open("/dev/null", 2)).toBeGreaterThan(2);
  });
});

describe.skipIf(shim === undefined)("I2C", () => {
  const make = () => closed(new LinuxI2cBus("/dev/i2c-1", shim?.library ?? null));

  it("carries a combined transfer in one ioctl, with the adapter's time-out set", async () => {
    const bus = make();
    await bus.transfer(0x50, [write(0x10, 1, 2, 3)]);
    expect([...(await bus.transfer(0x50, [write(0x11), read(2)]))]).toEqual([2, 3]);
    expect([...(await bus.transfer(0x50, [read(1)]))]).toEqual([0]);
    expect(shim?.trace()).toEqual([
      "open /dev/i2c-1",
      "timeout=50",
      "retries=0",
      "rdwr nmsgs=1",
      "msg addr=50 flags=0 len=4",
      "rdwr nmsgs=2",
      "msg addr=50 flags=0 len=1",
      "msg addr=50 flags=1 len=2",
      "rdwr nmsgs=1",
      "msg addr=50 flags=1 len=1",
    ]);
  });

  it("carries 8192 bytes, many times, without mixing anything up", async () => {
    const bus = make();
    for (let round = 0; round < 50; round++) {
      await bus.transfer(0x50, [write(0, ...Array.from({ length: 256 }, (_, index) => (index + round) & 0xff))]);
      const bytes = await bus.transfer(0x50, [write(0), read(8192)]);
      expect(bytes.every((byte, index) => byte === (((index & 0xff) + round) & 0xff))).toBe(true);
    }
  });

  it("says not-acknowledged where nobody is, and goes on", async () => {
    const bus = make();
    expect(await resultOf(bus.transfer(0x51, [write(1)]))).toBe("not-acknowledged");
    expect(await resultOf(bus.transfer(0x50, [write(1)]))).toBe("ok");
  });

  it("falls back on SMBus where the adapter can do no more", async () => {
    shim?.smbusOnly(true);
    const bus = make();
    await bus.transfer(0x50, [write(0x20, 7)]);
    await bus.transfer(0x50, [write(0x21, 8, 9, 10)]);
    expect([...(await bus.transfer(0x50, [write(0x20), read(4)]))]).toEqual([7, 8, 9, 10]);
    expect([...(await bus.transfer(0x50, [write(0x22), read(1)]))]).toEqual([9]);
    await bus.transfer(0x50, [write(0x23)]);
    expect([...(await bus.transfer(0x50, [read(1)]))]).toEqual([10]);
    expect(await resultOf(bus.transfer(0x50, [write(0x20), read(33)]))).toBe("unsupported");
    expect(await resultOf(bus.transfer(0x50, [write(0x20, 1), read(1)]))).toBe("unsupported");
    expect(await resultOf(bus.transfer(0x50, [read(2)]))).toBe("unsupported");
    expect(await resultOf(bus.transfer(0x51, [write(0x20)]))).toBe("not-acknowledged");
    expect(
      shim
        ?.trace()
        .filter((line) => line.startsWith("smbus"))
        .slice(0, 6),
    ).toEqual([
      "smbus addr=50 rw=0 command=20 size=2",
      "smbus addr=50 rw=0 command=21 size=8",
      "smbus addr=50 rw=1 command=20 size=8",
      "smbus addr=50 rw=1 command=22 size=2",
      "smbus addr=50 rw=0 command=23 size=1",
      "smbus addr=50 rw=1 command=00 size=1",
    ]);
  });

  it("recovers when the adapter is unplugged and plugged in again", async () => {
    const bus = make();
    await bus.transfer(0x50, [write(1, 42)]);
    shim?.unplug(true);
    expect(await resultOf(bus.transfer(0x50, [write(1)]))).toBe("not-found");
    expect(await resultOf(bus.transfer(0x50, [write(1)]))).toBe("not-found");
    const before = shim?.opened() ?? 0;
    shim?.unplug(false);
    expect([...(await bus.transfer(0x50, [write(1), read(1)]))]).toEqual([42]);
    expect(shim?.opened()).toBe(before + 1);
  });

  it("does not hold up this thread while a transfer hangs, and isolates the bus until it comes back", async () => {
    const bus = make();
    const queue = new BusQueue("i2c-1", 50);
    const signal = new AbortController().signal;
    await bus.transfer(0x50, [write(1)]);
    shim?.hang(300);
    const before = performance.now();
    expect(await resultOf(queue.run(1, signal, () => bus.transfer(0x50, [write(1)])))).toBe("timeout");
    expect(performance.now() - before).toBeLessThan(250);
    expect(await resultOf(queue.run(2, signal, () => bus.transfer(0x50, [write(1)])))).toBe("io");
    shim?.hang(0);
    await until(() => queue.hungMs === 0);
    expect(await resultOf(queue.run(2, signal, () => bus.transfer(0x50, [write(1)])))).toBe("ok");
  });
});

describe.skipIf(shim === undefined)("SPI", () => {
  it("transfers with the binding's mode and clock, one descriptor for each chip and mode", async () => {
    const bus = closed(new LinuxSpiBus("/dev/spidev0.", shim?.library ?? null));
    const first = { chip: 0, mode: 3, frequency: 1_350_000 };
    expect([...(await bus.transfer(first, Uint8Array.of(0, 1, 0xf0)))]).toEqual([0xff, 0xfe, 0x0f]);
    await bus.transfer(first, Uint8Array.of(1));
    await bus.transfer({ chip: 1, mode: 0, frequency: 500_000 }, new Uint8Array(4096));
    expect(shim?.trace()).toEqual([
      "open /dev/spidev0.0",
      "spi mode=3 len=3 speed=1350000 bits=8 cs_change=0 delay=0 pad=0",
      "spi mode=3 len=1 speed=1350000 bits=8 cs_change=0 delay=0 pad=0",
      "open /dev/spidev0.1",
      "spi mode=0 len=4096 speed=500000 bits=8 cs_change=0 delay=0 pad=0",
    ]);
  });
});

describe.skipIf(shim === undefined)("GPIO", () => {
  const make = () => closed(new LinuxGpioChip("/dev/gpiochip0", shim?.library ?? null));
  const edges: [number, bigint][] = [];
  const onEdge = (level: number, nanoseconds: bigint) => edges.push([level, nanoseconds]);

  it("requests lines as they were bound, reads and drives them", async () => {
    const chip = make();
    const out = await chip.request({
      line: 17,
      direction: "out",
      edges: "none",
      consumer: "bulkhead relay.coil",
      onEdge,
    });
    await out.set(1);
    expect(await out.get()).toBe(1);
    await out.set(0);
    expect(await out.get()).toBe(0);
    expect(shim?.trace()).toEqual([
      "open /dev/gpiochip0",
      "line offset=17 lines=1 flags=8 attrs=0 buffer=256 consumer=bulkhead relay.coil",
      "set bits=1 mask=1",
      "get bits=0 mask=1",
      "set bits=0 mask=1",
      "get bits=0 mask=1",
    ]);
    const outside = { line: 40, direction: "in", edges: "none", consumer: "x".repeat(99), onEdge } as const;
    expect(await resultOf(chip.request(outside))).toBe("invalid");
  });

  it("wakes for each edge, with the kernel's time, while commands go on", async () => {
    edges.length = 0;
    const chip = make();
    const both = await chip.request({ line: 5, direction: "in", edges: "both", consumer: "b", onEdge });
    await chip.request({ line: 6, direction: "in", edges: "rising", consumer: "r", onEdge });
    await chip.request({ line: 7, direction: "in", edges: "falling", consumer: "f", onEdge });
    expect(
      shim
        ?.trace()
        .filter((line) => line.startsWith("line"))
        .map((line) => /flags=(\d+)/.exec(line)?.[1]),
    ).toEqual(["52", "20", "36"]);
    const late = 2n ** 60n;
    for (let index = 0n; index < 100n; index++) {
      shim?.edge(5, Number(index % 2n), late + index);
      if (index % 10n === 0n) expect([0, 1]).toContain(await both.get());
    }
    await until(() => edges.length === 100);
    expect(edges).toEqual(Array.from({ length: 100 }, (_, index) => [index % 2, late + BigInt(index)]));
  });

  it("hears no more of a line that was released", async () => {
    edges.length = 0;
    const chip = make();
    const line = await chip.request({ line: 5, direction: "in", edges: "both", consumer: "b", onEdge });
    shim?.edge(5, 1, 1n);
    await until(() => edges.length === 1);
    line.release();
    expect(await resultOf(line.get())).toBe("not-found");
    expect(edges).toHaveLength(1);
  });

  it("requests a line anew when its chip was unplugged and is back", async () => {
    const chip = make();
    const line = await chip.request({ line: 9, direction: "in", edges: "both", consumer: "b", onEdge });
    shim?.unplug(true);
    shim?.hangUp(9);
    await until(() => shim?.trace().length === 2);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await resultOf(line.get())).toBe("not-found");
    shim?.unplug(false);
    expect(await resultOf(line.get())).toBe("ok");
  });

  it("watches for edges again by itself when the chip is back", async () => {
    edges.length = 0;
    const chip = make();
    await chip.request({ line: 10, direction: "in", edges: "both", consumer: "b", onEdge });
    shim?.unplug(true);
    shim?.hangUp(10);
    await new Promise((resolve) => setTimeout(resolve, 100));
    shim?.unplug(false);
    await until(() => (shim?.trace().filter((text) => text.startsWith("line offset=10")).length ?? 0) === 2);
    await new Promise((resolve) => setTimeout(resolve, 50));
    shim?.edge(10, 1, 7n);
    await until(() => edges.length === 1);
    expect(edges).toEqual([[1, 7n]]);
  });
});

describe("1-Wire", () => {
  const device = "28-000005e2fdc3";
  const bus = new LinuxOneWireBus(folder.path);
  const put = (text: string) => {
    mkdirSync(join(folder.path, device), { recursive: true });
    writeFileSync(join(folder.path, device, "w1_slave"), text);
  };
  const good = "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n";

  it("reads the scratchpad from w1_therm's text", async () => {
    put(good);
    const bytes = Buffer.from(await bus.readScratchpad(device));
    expect(bytes.toString("hex")).toBe("72014b467fff0e1057");
    expect(bytes.readInt16LE(0) / 16).toBe(23.125);
  });

  it("fails on a wrong checksum, on a device that is gone, and on text that it does not know", async () => {
    put(good.replace("YES", "NO"));
    expect(await resultOf(bus.readScratchpad(device))).toBe("io");
    for (const text of ["", "\n", "72 01", "zz 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n", "72 ".repeat(500)]) {
      put(text);
      expect(await resultOf(bus.readScratchpad(device))).toBe("io");
    }
    expect(await resultOf(bus.readScratchpad("28-000000000000"))).toBe("not-found");
  });
});
