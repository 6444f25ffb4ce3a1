/** Roots and thresholds against a model of plain sets: what is accepted is what counting distinct keys says. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { Refusal } from "../../kernel/index.ts";
import { initialTrust, verifyModule, verifyRoot } from "../../gateway/envelopes/index.ts";
import type { RootDocument } from "../../gateway/envelopes/index.ts";
import { signModule, signRoot } from "../../tools/keys/sign.ts";
import { key, moduleDocument, NOW, publicKeys, rootDocument } from "./fixture.ts";

const POOL = Array.from({ length: 5 }, (_, index) => key("root", 20 + index));
const RELEASE_POOL = Array.from({ length: 4 }, (_, index) => key("release", 20 + index));

/** Numbers of keys of the pool, some of them; a threshold that they can meet. */
const someKeys = fc.subarray([0, 1, 2, 3, 4], { minLength: 1 });
const holder = someKeys.chain((keys) =>
  fc.record({ keys: fc.constant(keys), threshold: fc.integer({ min: 1, max: keys.length }) }),
);
interface Holder {
  readonly keys: readonly number[];
  readonly threshold: number;
}

interface Proposal {
  readonly holder: Holder;
  readonly step: number;
  readonly signers: readonly number[];
}

const proposal: fc.Arbitrary<Proposal> = fc.record({
  holder,
  step: fc.constantFrom<number[]>(-1, 0, 1, 1, 1, 1, 2),
  // Mostly nearly everybody signs, or hardly anything would be accepted.
  signers: fc.oneof(someKeys, fc.constant<number[]>([0, 1, 2, 3, 4])),
});

function documentOf(version: number, { keys, threshold }: Holder): RootDocument {
  const root = { threshold, keys: publicKeys(...keysOf(keys)) };
  return rootDocument({ version, roles: { ...rootDocument().roles, root } });
}

function keysOf(numbers: readonly number[]): typeof POOL {
  return POOL.filter((_, index) => numbers.includes(index));
}

const count = (signers: readonly number[], { keys }: Holder): number =>
  signers.filter((by) => keys.includes(by)).length;

test("a root follows exactly where both thresholds of distinct keys signed, one version up, and nobody else", () => {
  let accepted = 0;
  let refused = 0;
  fc.assert(
    fc.property(holder, fc.array(proposal, { minLength: 1, maxLength: 6 }), (first, proposals) => {
      let trust = initialTrust(signRoot(documentOf(1, first), keysOf(first.keys)));
      let current: Holder = first;
      for (const { holder: next, step, signers } of proposals) {
        const version = Math.max(0, trust.root.version + step);
        const bytes = signRoot(documentOf(version, next), keysOf(signers));
        const isRight =
          version === trust.root.version + 1 &&
          count(signers, current) >= current.threshold &&
          count(signers, next) >= next.threshold &&
          signers.every((by) => current.keys.includes(by) || next.keys.includes(by));
        let verified: ReturnType<typeof verifyRoot> | undefined;
        try {
          verified = verifyRoot(bytes, trust);
        } catch (error) {
          expect(error).toBeInstanceOf(Refusal);
        }
        expect(verified !== undefined).toBe(isRight);
        if (verified === undefined) refused += 1;
        else {
          accepted += 1;
          trust = verified.trust;
          current = next;
        }
      }
    }),
    { numRuns: 120, seed: 6 },
  );
  expect(accepted).toBeGreaterThan(30);
  expect(refused).toBeGreaterThan(30);
});

test("a module is accepted exactly where a threshold of its role's keys signed, and nobody else", () => {
  const signersOf = fc.subarray([0, 1, 2, 3], { minLength: 0 });
  let accepted = 0;
  fc.assert(
    fc.property(
      fc.subarray([0, 1, 2, 3], { minLength: 1 }),
      fc.integer({ min: 1, max: 4 }),
      signersOf,
      (held, most, signers) => {
        const threshold = Math.min(most, held.length);
        const release = { threshold, keys: publicKeys(...RELEASE_POOL.filter((_, index) => held.includes(index))) };
        const root = rootDocument({ roles: { ...documentOf(1, { keys: [0], threshold: 1 }).roles, release } });
        const trust = initialTrust(signRoot(root, keysOf([0])));
        const bytes = signModule(
          moduleDocument(),
          RELEASE_POOL.filter((_, index) => signers.includes(index)),
        );
        const isRight = signers.length >= threshold && signers.every((by) => held.includes(by));
        let isAccepted = true;
        try {
          verifyModule(bytes, trust, { now: NOW });
        } catch (error) {
          expect(error).toBeInstanceOf(Refusal);
          isAccepted = false;
        }
        expect(isAccepted).toBe(isRight);
        if (isAccepted) accepted += 1;
      },
    ),
    { numRuns: 300, seed: 8 },
  );
  expect(accepted).toBeGreaterThan(20);
});
