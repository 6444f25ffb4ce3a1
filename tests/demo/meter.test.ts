/** The demo's meter: it answers as a slave of the standard does, and only what is asked of it. */
import { expect, it } from "vitest";
import { crc16 } from "../../gateway/device/simulator/modbus-slave.ts";
import { plugMeter, serve } from "../../tools/demo/meter.ts";

function frame(...bytes: number[]): Uint8Array {
  const crc = crc16(Uint8Array.from(bytes));
  return Uint8Array.of(...bytes, crc & 0xff, crc >> 8);
}
const READ_ALL = frame(7, 4, 0, 0, 0, 3);

it("tells its registers, which move with time and within their swing", () => {
  const quiet = serve(READ_ALL, 0);
  expect(quiet.answer).toEqual(Buffer.from(frame(7, 4, 6, 0x02, 0x8c, 0x01, 0xa2, 0x00, 0x7c)));
  const peak = new DataView(Uint8Array.from(serve(READ_ALL, 2500).answer).buffer);
  expect([3, 5, 7].map((at) => peak.getUint16(at))).toEqual([682, 438, 164]);
});

it.each([
  ["another function", frame(7, 3, 0, 0, 0, 1), frame(7, 0x83, 1)],
  ["a register that it has not", frame(7, 4, 0, 3, 0, 1), frame(7, 0x84, 2)],
  ["more than there is", frame(7, 4, 0, 2, 0, 2), frame(7, 0x84, 2)],
  ["no register", frame(7, 4, 0, 0, 0, 0), frame(7, 0x84, 2)],
  ["a register far away", frame(7, 4, 1, 0, 0, 1), frame(7, 0x84, 2)],
  ["another station", frame(8, 4, 0, 0, 0, 1), new Uint8Array()],
  ["a damaged frame", Uint8Array.from(READ_ALL, (byte, index) => byte ^ (index === 3 ? 1 : 0)), new Uint8Array()],
])("answers %s as the standard says", (_, request, answer) => {
  expect(serve(request, 0).answer).toEqual(Buffer.from(answer));
});

it("finds a request behind garbage, and waits for the end of one that has begun", () => {
  const noise = Uint8Array.of(7, 7, 0xff);
  const begun = serve(Uint8Array.of(...noise, ...READ_ALL, ...READ_ALL.subarray(0, 5)), 0);
  expect(begun.answer).toHaveLength(11);
  expect(serve(Uint8Array.of(...begun.rest, ...READ_ALL.subarray(5)), 0).answer).toHaveLength(11);
  expect(serve(new Uint8Array(10_000).fill(7), 0).rest.length).toBeLessThan(8);
});

it("is plugged in at a terminal of the system's, and can be unplugged", () => {
  const meter = plugMeter();
  expect(meter?.path).toMatch(/^\/dev\/pts\/\d+$/);
  meter?.close();
});
