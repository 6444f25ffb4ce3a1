/** The guard in front of the MQTT parser: what is within bounds passes unchanged, the rest never reaches the parser. */
import fc from "fast-check";
import mqttPacket from "mqtt-packet";
import type { IPublishPacket, Packet } from "mqtt-packet";
import { describe, expect, it } from "vitest";
import { OVERSIZED_TOPIC, PacketGuard } from "../../gateway/link/packet-guard.ts";

const LIMIT = 1000;

function passAll(guard: PacketGuard, bytes: Uint8Array, cut: number): Buffer {
  const passed: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += cut) passed.push(...guard.pass(Buffer.from(bytes.subarray(at, at + cut))));
  return Buffer.concat(passed);
}

function publish(payloadLength: number, qos: 0 | 1 | 2, protocolVersion: 4 | 5): Buffer {
  const packet: IPublishPacket = {
    cmd: "publish",
    topic: "site/7/large",
    payload: Buffer.alloc(payloadLength, 1),
    qos,
    dup: false,
    retain: true,
    ...(qos === 0 ? {} : { messageId: 0x1234 }),
    ...(protocolVersion === 5 ? { properties: { contentType: "x" } } : {}),
  };
  return mqttPacket.generate(packet, { protocolVersion });
}

function parse(bytes: Buffer, protocolVersion: 4 | 5): Packet[] {
  const packets: Packet[] = [];
  const parser = mqttPacket.parser({ protocolVersion });
  parser.on("packet", (packet) => packets.push(packet));
  parser.parse(bytes);
  return packets;
}

describe("PacketGuard", () => {
  it("passes packets within the limit unchanged, however they are cut", () => {
    const bytes = Buffer.concat([
      publish(0, 1, 4),
      publish(900, 1, 4),
      Buffer.of(0xd0, 0),
      publish(5, 0, 4),
      Buffer.of(0xd0, 0),
    ]);
    for (const cut of [1, 2, 3, 7, 100, 10_000])
      expect(passAll(new PacketGuard(LIMIT, false), bytes, cut)).toEqual(bytes);
  });

  it.each([4, 5] as const)(
    "replaces what is too long by an empty message with the same identifier, MQTT %i",
    (version) => {
      for (const qos of [0, 1] as const) {
        for (const cut of [1, 5, 1400, 100_000]) {
          const bytes = Buffer.concat([publish(5000, qos, version), publish(10, 1, version)]);
          const [large, small] = parse(
            passAll(new PacketGuard(LIMIT, version === 5), bytes, cut),
            version,
          ) as IPublishPacket[];
          expect(large).toMatchObject({ topic: OVERSIZED_TOPIC, qos, retain: true, payload: Buffer.alloc(0) });
          expect(large?.messageId).toBe(qos === 0 ? undefined : 0x1234);
          expect(small).toMatchObject({ topic: "site/7/large", payload: Buffer.alloc(10, 1) });
        }
      }
    },
  );

  it.each([4, 5] as const)("lets through nothing of a message that came above QoS 1, MQTT %i", (version) => {
    for (const length of [0, 900, 5000]) {
      for (const cut of [1, 5, 100_000]) {
        const guard = new PacketGuard(LIMIT, version === 5);
        const before = publish(10, 1, version);
        expect(passAll(guard, before, cut)).toEqual(before);
        expect(() => passAll(guard, publish(length, 2, version), cut)).toThrow("above QoS 1");
      }
    }
    // QoS 3 does not exist.
    expect(() => new PacketGuard(LIMIT, version === 5).pass(Buffer.of(0x36, 0))).toThrow("above QoS 1");
    // The same bits of other packets mean other things.
    const pubrel = Buffer.of(0x62, 2, 0, 1);
    expect(passAll(new PacketGuard(LIMIT, version === 5), pubrel, 1)).toEqual(pubrel);
  });

  it("refuses any other packet that is too long, and a length that never ends", () => {
    expect(() => new PacketGuard(LIMIT, false).pass(Buffer.of(0x90, 0xff, 0xff, 0x03))).toThrow(
      "a packet of 65535 bytes",
    );
    expect(() => new PacketGuard(LIMIT, false).pass(Buffer.of(0x30, 0xff, 0xff, 0xff, 0xff))).toThrow(
      "malformed length",
    );
  });

  it("never passes a packet over the limit, and never holds more than a topic, on random bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), fc.integer({ min: 1, max: 300 }), (bytes, cut) => {
        let passed: Buffer = Buffer.alloc(0);
        try {
          passed = passAll(new PacketGuard(LIMIT, true), bytes, cut);
        } catch (error) {
          expect(String(error)).toContain("the broker sent a packet");
        }
        for (let at = 0; at < passed.length; ) {
          let [length, digits] = [0, 0];
          for (; ; digits++) {
            const digit = passed[at + 1 + digits] ?? 0;
            length += (digit & 0x7f) * 128 ** digits;
            if (digit < 0x80) break;
          }
          expect(length).toBeLessThanOrEqual(LIMIT);
          at += 2 + digits + length;
        }
      }),
    );
  });
});
