/** What a gateway trusts: its root, the floors below which nothing is installed, and the clock's floor. */

import { Refusal, expectBytes } from "../../kernel/index.ts";
import { isListed, keyIdOf, toHex } from "./bytes.ts";
import type { Field } from "./documents/fields.ts";
import { bytes, codec, counter, date, FORMAT, identifier, mapOf, record, tuple } from "./documents/fields.ts";
import type { Role, RootDocument } from "./documents/root.ts";
import { decodeRoot, encodeRoot, ROLES } from "./documents/root.ts";
import { DIGEST_BYTES } from "./limits.ts";

/** The newest version that was committed, and the digest of the envelope that had it. */
export interface Floor {
  readonly version: number;
  readonly digest: Uint8Array;
}

export type Floors = ReadonlyMap<string, Floor>;

/** Immutable; every change gives a new one, to be persisted before it is acted upon. */
export interface TrustState {
  readonly root: RootDocument;
  /** Digest of the root's envelope. */
  readonly rootDigest: Uint8Array;
  /** The newest verified root or release date, in seconds since 1970. */
  readonly clockFloor: number;
  /** Plan versions by deploy key id: a new deploy key starts anew, which ends a thief's lock-out. */
  readonly planFloors: Floors;
  /** Configuration versions by operator key id. */
  readonly configurationFloors: Floors;
  /** Sequence numbers by module name. */
  readonly moduleFloors: Floors;
}

export interface KeyEntry {
  readonly role: Role;
  readonly publicKey: Uint8Array;
}

const directories = new WeakMap<RootDocument, ReadonlyMap<string, KeyEntry>>();

/** The keys of a root by key id in hexadecimal. */
export function keyDirectory(root: RootDocument): ReadonlyMap<string, KeyEntry> {
  const known = directories.get(root);
  if (known !== undefined) return known;
  const directory = new Map<string, KeyEntry>();
  for (const role of ROLES) {
    for (const publicKey of root.roles[role].keys) directory.set(toHex(keyIdOf(publicKey)), { role, publicKey });
  }
  directories.set(root, directory);
  return directory;
}

/** The largest of the system clock and the clock floor, in seconds: a Pi starts in 1970. */
export function trustedTime(trust: TrustState, now: number): number {
  return Math.max(now, trust.clockFloor);
}

/** @throws Refusal E_REVOKED where the root has revoked this digest of an envelope or of wasm */
export function refuseRevoked(root: RootDocument, digest: Uint8Array, what: string): void {
  if (!isListed(root.revokedDigests, digest)) return;
  throw new Refusal("E_REVOKED", `${what} has been revoked by the root`, { found: toHex(digest) });
}

/** @throws Refusal E_ROLLBACK below the floor, and at the floor with another digest */
export function refuseBelow(floors: Floors, name: string, found: Floor, what: string): void {
  const floor = floors.get(name);
  if (floor === undefined || found.version > floor.version) return;
  if (found.version < floor.version) {
    const detail = { expected: `${floor.version} or more`, found: String(found.version) };
    throw new Refusal("E_ROLLBACK", `${what} is older than what was committed`, detail);
  }
  if (toHex(found.digest) !== toHex(floor.digest)) {
    const detail = {
      expected: toHex(floor.digest),
      found: toHex(found.digest),
      hint: "raise the number and sign again",
    };
    throw new Refusal("E_ROLLBACK", `${what} has the number of another one that was committed`, detail);
  }
}

/** The floors after this version has been committed: never lower than before. */
export function raiseFloor(floors: Floors, name: string, committed: Floor): Floors {
  const floor = floors.get(name);
  if (floor !== undefined && floor.version >= committed.version) return floors;
  return new Map([...floors, [name, committed]]);
}

/**
 * The state under a new root: the clock moves to its date, and floors of keys and of module envelopes that it revokes are
 * forgotten. So a thief's largest number locks out nobody for ever; the root's own floors keep old releases out.
 */
export function underRoot(trust: TrustState, root: RootDocument, rootDigest: Uint8Array): TrustState {
  const isKept = ([id]: readonly [string, Floor]) => !root.revokedKeys.some((revoked) => toHex(revoked) === id);
  return {
    ...trust,
    root,
    rootDigest,
    clockFloor: Math.max(trust.clockFloor, root.issued),
    planFloors: new Map([...trust.planFloors].filter(isKept)),
    configurationFloors: new Map([...trust.configurationFloors].filter(isKept)),
    moduleFloors: new Map([...trust.moduleFloors].filter(([, { digest }]) => !isListed(root.revokedDigests, digest))),
  };
}

const floors = mapOf(identifier, tuple<Floor>({ version: [0, counter], digest: [1, bytes(DIGEST_BYTES)] }));
const root: Field<RootDocument> = {
  read: (value, name) => decodeRoot(expectBytes(value, name)),
  write: encodeRoot,
};

/** The state as deterministic CBOR: equal states are equal bytes. Decoding refuses what was not written by encoding. */
export const { encode: encodeTrustState, decode: decodeTrustState } = codec(
  "trust state",
  record<TrustState>(
    {
      root: [2, root],
      rootDigest: [3, bytes(DIGEST_BYTES)],
      clockFloor: [4, date],
      planFloors: [5, floors],
      configurationFloors: [6, floors],
      moduleFloors: [7, floors],
    },
    FORMAT,
  ),
);
