/** The driver bme280, against Bosch's worked example, the datasheet's floating-point formulas and the simulated chip. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Bme280 } from "../../gateway/device/simulator/bme280.ts";
import { RESULT } from "../../kernel/index.ts";
import { ModuleHost } from "../../tools/testkit/module-host.ts";
import { i2cFake } from "./chips.ts";
import { measure } from "./support.ts";
import type { FakeSlot } from "../../tools/testkit/module-host.ts";

const WASM = "build/modules/bme280.wasm";

interface Trimming {
  readonly T: readonly number[];
  readonly P: readonly number[];
  readonly H: readonly number[];
}

/** BST-BMP280-DS001, section 3.12, and humidity values as they are found on real sensors. */
const EXAMPLE: Trimming = {
  T: [27504, 26435, -1000],
  P: [36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000],
  H: [75, 362, 0, 313, 50, 30],
};

/** The registers of a chip with this trimming and these converter values. */
function registers({ T, P, H }: Trimming, raw: { t: number; p: number; h: number }): Uint8Array {
  const image = new Uint8Array(256);
  const view = new DataView(image.buffer);
  [...T, ...P].forEach((value, index) => {
    view.setInt16(0x88 + 2 * index, value, true);
  });
  const [h1 = 0, h2 = 0, h3 = 0, h4 = 0, h5 = 0, h6 = 0] = H;
  image[0xa1] = h1;
  view.setInt16(0xe1, h2, true);
  image.set([h3, h4 >> 4, (h4 & 15) | ((h5 & 15) << 4), h5 >> 4, h6], 0xe3);
  image[0xd0] = 0x60;
  image.set([raw.p >> 12, raw.p >> 4, raw.p << 4, raw.t >> 12, raw.t >> 4, raw.t << 4, raw.h >> 8, raw.h], 0xf7);
  return image;
}

/** Answers reads from an image of registers and collects writes. */
function imageFake(image: Uint8Array, writes: number[][] = []): FakeSlot {
  return {
    write: ({ bytes }) => (writes.push([...(bytes[0] ?? [])]), 0),
    "write-read": ({ bytes, capacity }) => {
      const start = bytes[0]?.[0] ?? 0;
      return image.slice(start, start + capacity);
    },
  };
}

/** Section 8.1 of BST-BME280-DS002: the compensation in double precision. */
function compensateDouble({ T, P, H }: Trimming, raw: { t: number; p: number; h: number }) {
  const [t1 = 0, t2 = 0, t3 = 0] = T;
  const [p1 = 0, p2 = 0, p3 = 0, p4 = 0, p5 = 0, p6 = 0, p7 = 0, p8 = 0, p9 = 0] = P;
  const [h1 = 0, h2 = 0, h3 = 0, h4 = 0, h5 = 0, h6 = 0] = H;
  const fine = (raw.t / 16384 - t1 / 1024) * t2 + (raw.t / 131072 - t1 / 8192) ** 2 * t3;
  let var1 = fine / 2 - 64000;
  let var2 = (var1 * var1 * p6) / 32768 + var1 * p5 * 2;
  var2 = var2 / 4 + p4 * 65536;
  var1 = ((p3 * var1 * var1) / 524288 + p2 * var1) / 524288;
  var1 = (1 + var1 / 32768) * p1;
  let pressure = ((1048576 - raw.p - var2 / 4096) * 6250) / var1;
  pressure += ((p9 * pressure * pressure) / 2147483648 + (pressure * p8) / 32768 + p7) / 16;
  let humidity = fine - 76800;
  humidity =
    (raw.h - (h4 * 64 + (h5 / 16384) * humidity)) *
    ((h2 / 65536) * (1 + (h6 / 67108864) * humidity * (1 + (h3 / 67108864) * humidity)));
  humidity *= 1 - (h1 * humidity) / 524288;
  return { temperature: fine / 5120, pressure, humidity: Math.max(0, Math.min(100, humidity)) };
}

function started(fake: FakeSlot): ModuleHost {
  const host = new ModuleHost(WASM, { sensor: fake });
  host.start();
  return host;
}

describe("the driver bme280", () => {
  it("computes the worked example of Bosch's datasheet", () => {
    const host = started(imageFake(registers(EXAMPLE, { t: 519888, p: 415148, h: 30000 })));
    const { temperature, pressure } = measure(host);
    expect(temperature).toBe(25.08);
    expect(pressure).toBeCloseTo(100653.27, 1);
  });

  it("agrees with the datasheet's floating-point formulas over the sensor's range", () => {
    const within = fc.record({
      t: fc.integer({ min: 380_000, max: 620_000 }),
      p: fc.integer({ min: 260_000, max: 560_000 }),
      h: fc.integer({ min: 22_000, max: 40_000 }),
    });
    fc.assert(
      fc.property(within, (raw) => {
        const got = measure(started(imageFake(registers(EXAMPLE, raw))));
        const expected = compensateDouble(EXAMPLE, raw);
        expect(Math.abs((got["temperature"] ?? NaN) - expected.temperature)).toBeLessThan(0.02);
        expect(Math.abs((got["pressure"] ?? NaN) - expected.pressure)).toBeLessThan(2);
        expect(Math.abs((got["humidity"] ?? NaN) - expected.humidity)).toBeLessThan(0.1);
      }),
      { numRuns: 50 },
    );
  });

  it("asks for one forced measurement of all three quantities", () => {
    const writes: number[][] = [];
    measure(started(imageFake(registers(EXAMPLE, { t: 519888, p: 415148, h: 30000 }), writes)));
    expect(writes).toEqual([
      [0xf2, 0x01],
      [0xf4, 0x25],
    ]);
  });

  it("reads what the simulated chip is made to feel", () => {
    let now = 0;
    const chip = new Bme280({ chip: "bme280", temperature: 31.5, pressure: 987.65, humidity: 44 }, () => (now += 20));
    const { temperature, pressure, humidity } = measure(started(i2cFake(chip)));
    expect(temperature).toBeCloseTo(31.5, 1);
    expect(pressure).toBeCloseTo(98765, -2);
    expect(humidity).toBeCloseTo(44, 0);
  });

  it("tells of an absent sensor once, and goes on when it is back", () => {
    const image = registers(EXAMPLE, { t: 519888, p: 415148, h: 30000 });
    const present = imageFake(image);
    let isThere = false;
    const nack = RESULT["not-acknowledged"];
    const host = started({
      write: (call) => (isThere ? (present["write"]?.(call) ?? 0) : nack),
      "write-read": (call) => (isThere ? (present["write-read"]?.(call) ?? 0) : nack),
    });
    for (let tick = 0; tick < 10; tick++) expect(measure(host)).toEqual({});
    expect(host.logs).toEqual([{ level: 0, text: `no measurement: result ${nack}` }]);
    isThere = true;
    expect(measure(host)["temperature"]).toBe(25.08);
  });

  it("takes another chip at its address for no sensor", () => {
    const image = registers(EXAMPLE, { t: 519888, p: 415148, h: 30000 });
    image[0xd0] = 0x58;
    const host = started(imageFake(image));
    expect(measure(host)).toEqual({});
    expect(host.logs[0]?.text).toBe(`no measurement: result ${RESULT["not-found"]}`);
  });

  it("takes a short read for a failure", () => {
    const host = started({ write: () => 0, "write-read": ({ capacity }) => new Uint8Array(Math.max(0, capacity - 1)) });
    expect(measure(host)).toEqual({});
    expect(host.logs[0]?.text).toBe(`no measurement: result ${RESULT.io}`);
  });

  it("goes on numbering where the instance before it stopped", () => {
    const fake = imageFake(registers(EXAMPLE, { t: 519888, p: 415148, h: 30000 }));
    const first = started(fake);
    measure(first);
    const second = new ModuleHost(WASM, { sensor: fake });
    expect(second.restore(first.save())).toBe(true);
    second.start(true);
    second.deliver("tick", 1, { kind: "event" });
    expect((second.takeSent("readings")[0] as ReadonlyMap<string, unknown>).get("sequence")).toBe(3);
  });

  it("uses no memory that it does not give back", () => {
    const host = started(imageFake(registers(EXAMPLE, { t: 519888, p: 415148, h: 30000 })));
    const before = host.memoryBytes;
    for (let tick = 0; tick < 20_000; tick++) host.deliver("tick", 1, { kind: "event" });
    expect(host.memoryBytes).toBe(before);
  });

  it("stays within its budget of 12 kB", () => {
    expect(started(imageFake(new Uint8Array(256))).binaryBytes).toBeLessThanOrEqual(12_000);
  });
});
