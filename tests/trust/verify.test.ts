/** Signed documents from signing to verified, and the state of trust that they move. */

import { describe, expect, test } from "vitest";
import { compareBytes } from "../../kernel/index.ts";
import {
  TokenBucket,
  commitTrust,
  decodeTrustState,
  encodeTrustState,
  keyIdOf,
  sha256,
  toHex,
  trustedTime,
  verifyConfiguration,
  verifyModule,
  verifyPlan,
  verifyRoot,
  verifyWasm,
  withReleaseDate,
} from "../../gateway/envelopes/index.ts";
import { signConfiguration, signModule, signPlan, signRoot, withoutWasm } from "../../tools/keys/sign.ts";
import {
  CLASS,
  configurationBytes,
  configurationDocument,
  DAY,
  deploy,
  GATEWAY,
  key,
  moduleBytes,
  moduleDocument,
  moduleWithWasm,
  NOW,
  operator,
  planBytes,
  planDocument,
  publicKeys,
  refusal,
  release,
  rootBytes,
  rootDocument,
  rootKeys,
  trusted,
  VENDOR,
  WASM,
} from "./fixture.ts";

const here = { now: NOW, gatewayId: GATEWAY };

describe("what the right keys signed verifies", () => {
  test("a root, by hand", () => {
    const trust = trusted();
    expect(trust.root).toStrictEqual(rootDocument());
    expect(trust.rootDigest).toStrictEqual(sha256(rootBytes));
    expect(trust.clockFloor).toBe(rootDocument().issued);
  });

  test("a plan", () => {
    const plan = verifyPlan(planBytes, trusted(), here);
    expect(plan.document).toStrictEqual(planDocument());
    expect(plan.digest).toStrictEqual(sha256(planBytes));
    expect(plan.signers).toStrictEqual([toHex(deploy.id)]);
  });

  test("a module without its wasm, whose digest is that of the envelope's bytes", () => {
    const module = verifyModule(moduleBytes, trusted(), { now: NOW, vendor: VENDOR, class: CLASS, abis: [1] });
    expect(module.document).toStrictEqual(moduleDocument());
    expect(module.digest).toStrictEqual(sha256(moduleBytes));
    expect(module.wasm).toBeUndefined();
    expect(verifyWasm(module.document, WASM)).toStrictEqual(WASM);
  });

  test("a module with its wasm has the same digest, and loses the wasm without losing a signature", () => {
    const module = verifyModule(moduleWithWasm, trusted(), { now: NOW });
    expect(module.wasm).toStrictEqual(WASM);
    expect(module.digest).toStrictEqual(sha256(moduleBytes));
    expect(withoutWasm(moduleWithWasm)).toStrictEqual(moduleBytes);
  });

  test("a configuration for a gateway, and one for a class", () => {
    expect(verifyConfiguration(configurationBytes, trusted(), here).document).toStrictEqual(configurationDocument());
    const forClass = signConfiguration(configurationDocument({ target: CLASS }), [operator]);
    expect(verifyConfiguration(forClass, trusted(), { ...here, class: CLASS }).document.target).toStrictEqual(CLASS);
  });

  test("a next root, by two of the old keys that are also of the new", () => {
    const next = rootDocument({ version: 2, floors: new Map([["threshold", 6]]) });
    const { trust, signers } = verifyRoot(signRoot(next, rootKeys.slice(1)), trusted());
    expect(trust.root).toStrictEqual(next);
    expect(signers).toHaveLength(2);
  });

  test("a next root with three fresh keys, by two old ones and two new ones", () => {
    const fresh = [key("root", 4), key("root", 5), key("root", 6)];
    const roles = { ...rootDocument().roles, root: { threshold: 2, keys: publicKeys(...fresh) } };
    const bytes = signRoot(rootDocument({ version: 2, roles }), [...rootKeys.slice(0, 2), ...fresh.slice(0, 2)]);
    expect(verifyRoot(bytes, trusted()).trust.root.roles.root.keys).toStrictEqual(publicKeys(...fresh));
  });
});

describe("the state of trust", () => {
  const plan = verifyPlan(planBytes, trusted(), here);
  const module = verifyModule(moduleBytes, trusted(), { now: NOW });
  const configuration = verifyConfiguration(configurationBytes, trusted(), here);
  const committed = commitTrust(trusted(), plan, [module], configuration);

  test("survives encoding, and equal states are equal bytes", () => {
    const bytes = encodeTrustState(committed);
    expect(decodeTrustState(bytes)).toStrictEqual(committed);
    expect(encodeTrustState(decodeTrustState(bytes))).toStrictEqual(bytes);
    expect(encodeTrustState(trusted())).not.toStrictEqual(bytes);
  });

  test("is refused when its file was damaged in any byte", () => {
    const bytes = encodeTrustState(committed);
    let refused = 0;
    for (let at = 0; at < bytes.length; at += 1) {
      const damaged = Uint8Array.from(bytes);
      damaged[at] = (damaged[at] ?? 0) ^ 0x80;
      try {
        expect(encodeTrustState(decodeTrustState(damaged))).toStrictEqual(damaged);
      } catch (error) {
        expect(error).toMatchObject({ name: "Refusal" });
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(0);
  });

  test("takes what was committed again, and refuses what is older or has its number and another digest", () => {
    expect(verifyPlan(planBytes, committed, here).document.version).toBe(3);
    const older = signPlan(planDocument({ version: 2 }), [deploy]);
    refusal("E_ROLLBACK", () => verifyPlan(older, committed, here));
    const other = signPlan(planDocument({ rollout: "wave-2" }), [deploy]);
    refusal("E_ROLLBACK", () => verifyPlan(other, committed, here));
    const newer = signPlan(planDocument({ version: 4 }), [deploy]);
    expect(verifyPlan(newer, committed, here).document.version).toBe(4);
  });

  test("keeps the clock at the newest release date when the system clock falls back to 1970", () => {
    const later = signModule(moduleDocument({ sequence: 6 }, { released: NOW + 30 * DAY }), [release]);
    const trust = withReleaseDate(trusted(), verifyModule(later, trusted(), { now: NOW }));
    expect(trustedTime(trust, 0)).toBe(NOW + 30 * DAY);
    refusal("E_EXPIRED", () => verifyPlan(planBytes, trust, { ...here, now: 0 }));
  });

  test("at boot accepts what has expired and what lies below the floors, and nothing that is revoked", () => {
    const old = signPlan(planDocument({ version: 1 }), [deploy]);
    const boot = { ...here, now: NOW + 900 * DAY, purpose: "boot" } as const;
    expect(verifyPlan(old, committed, boot).document.version).toBe(1);
    expect(verifyModule(moduleBytes, committed, { now: NOW + 900 * DAY, purpose: "boot" }).document.sequence).toBe(5);
    const revoking = rootDocument({ version: 2, revokedDigests: [sha256(WASM)] });
    const { trust } = verifyRoot(signRoot(revoking, rootKeys), committed);
    refusal("E_REVOKED", () => verifyModule(moduleBytes, trust, boot));
  });

  test("finds each of thousands of revoked digests, and takes no other for one", () => {
    const digests = Array.from({ length: 3000 }, (_, index) => sha256(Buffer.from(String(index)))).sort(compareBytes);
    const { trust } = verifyRoot(signRoot(rootDocument({ version: 2, revokedDigests: digests }), rootKeys), trusted());
    const plan = (digest: Uint8Array) => {
      const modules = new Map([["threshold", { sequence: 9, digest }]]);
      return verifyPlan(signPlan(planDocument({ modules }), [deploy]), trust, here);
    };
    for (const index of [0, 1, 1499, 1500, 2998, 2999]) refusal("E_REVOKED", () => plan(digests[index] ?? WASM));
    for (const other of ["3000", "x", ""]) expect(plan(sha256(Buffer.from(other))).document.version).toBe(3);
  });

  test("forgets the plan floors of a revoked deploy key", () => {
    const fresh = key("deploy", 2);
    const roles = { ...rootDocument().roles, deploy: { threshold: 1, keys: publicKeys(fresh) } };
    const next = rootDocument({ version: 2, roles, revokedKeys: [keyIdOf(deploy.publicKey)] });
    const { trust } = verifyRoot(signRoot(next, rootKeys), committed);
    expect(trust.planFloors.size).toBe(0);
    expect(trust.moduleFloors).toStrictEqual(committed.moduleFloors);
  });
});

describe("the allowance of signatures", () => {
  test("is spent before a signature is computed, and refills with time", () => {
    let milliseconds = 0;
    const limiter = new TokenBucket({ capacity: 2, perSecond: 1, now: () => milliseconds });
    const verify = () => verifyPlan(planBytes, trusted(), { ...here, limiter });
    verify();
    verify();
    refusal("E_BUSY", verify);
    milliseconds += 999;
    refusal("E_BUSY", verify);
    milliseconds += 1;
    verify();
  });

  test("is not touched by signatures of unknown keys", () => {
    const limiter = new TokenBucket({ capacity: 1, perSecond: 0, now: () => 0 });
    const forged = signPlan(planDocument(), [key("deploy", 9)]);
    for (let count = 0; count < 100; count += 1) {
      refusal("E_KEY", () => verifyPlan(forged, trusted(), { ...here, limiter }));
    }
    verifyPlan(planBytes, trusted(), { ...here, limiter });
  });
});
