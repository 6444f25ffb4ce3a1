/** The format of a capsule: what is written is read again, and nothing hostile is. */
import { deflateRawSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import type { Capsule } from "../../gateway/wire/capsule.ts";
import { CAPSULE_BYTES, decodeCapsule, encodeCapsule } from "../../gateway/wire/capsule.ts";
import { readEvents } from "../../gateway/wire/capsule-events.ts";
import { generateX25519 } from "../../gateway/wire/capsule-seal.ts";
import type { CborInput, ImportedOperation } from "../../kernel/index.ts";
import { decodeCbor, encodeCbor, RECORDED, Refusal } from "../../kernel/index.ts";
import { replay } from "../../tools/replay/replay.ts";
import { watModule } from "../support/modules.ts";
import { capsuleOf, failureOf, found, numbers, victim } from "./support.ts";

const TRAP = watModule(
  `(import "random" "fill" (func $fill (param i32 i32) (result i32)))`,
  `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
     (drop (call $fill (i32.const 8192) (i32.const 16)))
     (if (i32.eqz (local.get $port)) (then (unreachable)))
     (i64.const 0))`,
);
const SLOTS = { random: { interface: "random", rights: ["use"], port: null } };
const GRANTS = [{ slot: "random", interface: "random", rights: ["use"], parameters: {} }] as const;
const secretive = victim(TRAP, { slots: SLOTS }, { grants: GRANTS });
const failure = await failureOf(secretive, numbers(3));
const plain: Capsule = { ...failure, time: 1, architecture: process.arch, isRedacted: false };

function randomBytes({ events, imports }: Capsule): string[] {
  return readEvents(events.words, imports).flatMap((event) => (event.kind === "wrote" ? [event.bytes.toHex()] : []));
}

describe("what the interface table calls secret", () => {
  it("is left out of a capsule that anybody can open, which can then be inspected only", async () => {
    expect(randomBytes(plain).some((bytes) => bytes !== "00".repeat(16))).toBe(true);
    const open = decodeCapsule(encodeCapsule(plain, undefined));
    expect(open.isRedacted).toBe(true);
    expect(randomBytes(open)).toEqual(["00".repeat(16), "00".repeat(16)]);
    expect(open.events.base).toBeUndefined();
    await expect(replay(open, found(secretive.binary))).rejects.toThrow("inspected only");
  });

  it("is whole in a capsule that is sealed to an operator's key, and opened by that key alone", async () => {
    const { publicKey, privateKey } = generateX25519();
    const sealed = encodeCapsule(plain, publicKey);
    for (const secret of randomBytes(plain)) expect(Buffer.from(sealed).toString("hex")).not.toContain(secret);
    expect(() => decodeCapsule(sealed)).toThrow("sealed");
    expect(() => decodeCapsule(sealed, generateX25519().privateKey)).toThrow("another key");
    const opened = decodeCapsule(sealed, privateKey);
    expect(randomBytes(opened)).toEqual(randomBytes(plain));
    expect((await replay(opened, found(secretive.binary))).outcome).toBe("reproduced");
    for (const at of [40, sealed.length - 1]) {
      const changed = sealed.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(() => decodeCapsule(changed, privateKey)).toThrow(Refusal);
    }
  });
});

describe("a capsule from anywhere", () => {
  const good = encodeCapsule(plain, undefined);
  const fields = (): Map<string, CborInput> => {
    const limits = { maxBytes: CAPSULE_BYTES, maxDepth: 4, maxItems: 1000, tags: [], deterministic: true };
    return new Map(decodeCbor(good, limits) as Map<string, CborInput>);
  };
  const changed = (key: string, value: CborInput): Uint8Array => encodeCbor(fields().set(key, value));
  const words = (...list: number[]): Uint8Array =>
    new Uint8Array(deflateRawSync(new Uint8Array(Int32Array.from(list).buffer)));

  it("is deterministic CBOR: equal failures are equal bytes", () => {
    expect(encodeCapsule(plain, undefined)).toEqual(good);
    expect(encodeCapsule(decodeCapsule(good), undefined)).toEqual(good);
  });

  it("that is cut short anywhere is refused", () => {
    for (let length = 0; length < good.length; length += 7) {
      expect(() => decodeCapsule(good.subarray(0, length))).toThrow(Refusal);
    }
  });

  it("whose bytes were changed is refused or read, and never breaks anything", () => {
    for (let at = 0; at < good.length; at += 3) {
      const other = good.slice();
      other[at] = (other[at] ?? 0) ^ 0x55;
      try {
        decodeCapsule(other);
      } catch (error) {
        expect(error).toBeInstanceOf(Refusal);
      }
    }
  });

  it.each<[string, Uint8Array, string]>([
    ["too large", new Uint8Array(CAPSULE_BYTES + 1), "too-many-bytes"],
    ["deep", new Uint8Array(100).fill(0x81), "too-deep"],
    ["of another format", changed("format", 1), "another format"],
    ["with a key of its own", changed("extra", 1), "no keys but"],
    ["with an unknown cause", changed("cause", "boredom"), "an unknown cause"],
    ["with a digest of the wrong length", changed("sha256", new Uint8Array(31)), "a byte string of 32"],
    ["with an import of no interface", changed("imports", [["a", "b", "constructor"]]), "no known interface"],
    ["with an operation that there is not", changed("imports", [["a", "steal", "log"]]), "no operation steal"],
    ["whose events do not unpack", changed("events", new Uint8Array(9).fill(0xff)), "cannot be unpacked"],
    ["whose events are a bomb", changed("events", new Uint8Array(deflateRawSync(new Uint8Array(2 ** 24)))), "unpacked"],
    ["with an unknown event", changed("events", words(0)), "an unknown event"],
    ["whose events end too early", changed("events", words(RECORDED.message, 4)), "the end in the middle"],
    ["with a length that lies", changed("events", words(RECORDED.wrote, 0, 0x7fff_ffff)), "longer than it can be"],
    ["with a call of nothing", changed("events", words(RECORDED.called | (99 << 4))), "an import that there is not"],
    ["of a time that no date has", changed("time", 8_640_000_000_000_001), "an integer from 0 to 8640000000000000"],
    ["with a memory that lies", changed("base", [words(1), 65_536, new Uint8Array(0), 0]), "not as long as it says"],
    ["with an inbox outside", changed("base", [words(1), 4, new Uint8Array(0), 5]), "an integer from 0 to 4"],
  ])("%s is refused", (_, bytes, message) => {
    expect(() => decodeCapsule(bytes)).toThrow(message);
    expect(() => decodeCapsule(bytes)).toThrow(Refusal);
  });
});

describe("a recording that cannot be", () => {
  const harmless = victim(TRAP.replace("(unreachable)", ""), { slots: SLOTS });
  const imports: ImportedOperation[] = [{ slot: "random", operation: "fill", interface: "random" }];
  const crafted = (...list: number[]): Capsule => ({
    ...plain,
    imports,
    events: { words: Int32Array.from(list), before: 0, messages: 1, base: undefined, isWhole: true },
  });
  const start = [RECORDED.entered, 0];
  // A start notice of one byte, on the kernel's port.
  const message = [RECORDED.message | (0xffff << 4), 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
  const call = [RECORDED.called | RECORDED.ended, 0, 8192, 16, 16];

  it.each<[string, Capsule]>([
    ["writes outside the memory", crafted(...start, ...message, ...call, RECORDED.wrote, -65_536, 4, 0)],
    ["does not begin with a start", crafted(...message)],
  ])("is refused where it %s", async (_, capsule) => {
    await expect(replay({ ...capsule, sha256: "00".repeat(32) }, found(harmless.binary))).rejects.toThrow(Refusal);
  });

  it.each<[string, Capsule]>([
    ["is out of order", crafted(...start, ...call)],
    ["starts twice and stops", crafted(...start, ...start)],
    ["is empty behind its start", crafted(...start)],
    ["restores what there is not", crafted(...start, RECORDED.entered | (2 << 4), 4)],
  ])("diverges where it %s", async (_, capsule) => {
    expect((await replay(capsule, found(harmless.binary))).outcome).toBe("diverged");
  });

  it("that would run for hours is refused at the fuel that it may take", async () => {
    const spinning = victim(
      watModule(
        "",
        `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
           (if (i32.eqz (local.get $port)) (then (loop $again (br $again))))
           (i64.const 0))`,
      ),
      { fuel: 100_000 },
    );
    const capsule = capsuleOf(await failureOf(spinning, numbers(1), { sliceFuel: 10_000 }));
    expect((await replay(capsule, found(spinning.binary))).divergence).toBeUndefined();
    const tooLong = { code: "E_SIZE", detail: { hint: expect.stringContaining("--inspect") as string } };
    await expect(replay(capsule, found(spinning.binary), { mostFuel: 50_000 })).rejects.toMatchObject(tooLong);
    const refuelled = Array.from({ length: 40_000 }, () => [RECORDED.refuelled, 0x7fff_ffff]).flat();
    const words = Int32Array.from([...capsule.events.words, ...refuelled]);
    const endless = { ...capsule, events: { ...capsule.events, words } };
    await expect(replay(endless, found(spinning.binary), { mostFuel: 200_000 })).rejects.toMatchObject(tooLong);
  });

  it("with an image of another module is refused", async () => {
    const base = { inbox: 0, memory: new Uint8Array(65_536), globals: new Int32Array(2) };
    const capsule = crafted(...message);
    const odd = { ...capsule, events: { ...capsule.events, base } };
    await expect(replay(odd, found(harmless.binary))).rejects.toThrow("does not fit this binary");
    const huge = { ...base, memory: new Uint8Array(4 * 2 ** 20), globals: new Int32Array(0) };
    const large = { ...capsule, events: { ...capsule.events, base: huge } };
    await expect(replay(large, found(harmless.binary))).rejects.toThrow("larger than the module's memory");
  });
});
