/** The root document: which keys hold which role, what is revoked, and below which sequence numbers nothing is installed. */

import { compareBytes, encodeCbor, expectArray, expectBytes, expectMap, expectUnsigned } from "../../cbor/index.ts";
import type { CborInput, CborMap, CborValue } from "../../cbor/index.ts";
import { Refusal } from "../../errors.ts";
import { isListed, keyIdOf, toHex } from "../bytes.ts";
import { isSoundPublicKey } from "../ed25519.ts";
import { DIGEST_BYTES, KEY_ID_BYTES, PUBLIC_KEY_BYTES, TRUST_LIMITS } from "../limits.ts";
import { decodeExactly, expectCounter, expectDate, expectName, FORMAT_VERSION } from "./document.ts";

/** The roles, in the order of the document; each key holds one. */
export const ROLES = Object.freeze(["root", "release", "deploy", "operator"] as const);
export type Role = (typeof ROLES)[number];

export interface RoleKeys {
  /** Distinct keys that must sign. */
  readonly threshold: number;
  /** Public keys of 32 bytes, in ascending bytewise order. */
  readonly keys: readonly Uint8Array[];
}

export interface RootDocument {
  readonly version: number;
  /** Seconds since 1970. Moves the gateway's clock floor. */
  readonly issued: number;
  /** After this nothing is installed until a newer root arrives; the next root is accepted all the same. */
  readonly expires: number;
  readonly roles: Readonly<Record<Role, RoleKeys>>;
  /** Lowest sequence number of each module that may be installed. */
  readonly floors: ReadonlyMap<string, number>;
  /** Key ids, in ascending bytewise order. */
  readonly revokedKeys: readonly Uint8Array[];
  /** Digests of module envelopes, configurations or wasm, in ascending bytewise order. */
  readonly revokedDigests: readonly Uint8Array[];
}

const ROOT = Object.freeze({
  format: 1,
  version: 2,
  issued: 3,
  expires: 4,
  roles: 5,
  floors: 6,
  revokedKeys: 7,
  revokedDigests: 8,
});

export function encodeRoot(root: RootDocument): Uint8Array {
  const roles = ROLES.map((role, index) => [index + 1, [root.roles[role].threshold, root.roles[role].keys]] as const);
  return encodeCbor(
    new Map<number, CborInput>([
      [ROOT.format, FORMAT_VERSION],
      [ROOT.version, root.version],
      [ROOT.issued, root.issued],
      [ROOT.expires, root.expires],
      [ROOT.roles, new Map<number, CborInput>(roles)],
      [ROOT.floors, root.floors],
      [ROOT.revokedKeys, root.revokedKeys],
      [ROOT.revokedDigests, root.revokedDigests],
    ]),
  );
}

/** @throws Refusal E_CBOR, E_SIZE; E_KEY where a key is unsound, revoked or in two roles; E_THRESHOLD where one can't be met */
export function decodeRoot(payload: Uint8Array): RootDocument {
  const root = decodeExactly(payload, "root document", readRoot, encodeRoot);
  checkKeys(root);
  return root;
}

function readRoot(map: CborMap): RootDocument {
  const roles = expectMap(map.get(ROOT.roles), "roles");
  const role = (name: Role) => readRole(roles.get(ROLES.indexOf(name) + 1), name);
  return {
    version: expectCounter(map.get(ROOT.version), "root version"),
    issued: expectDate(map.get(ROOT.issued), "issue date"),
    expires: expectDate(map.get(ROOT.expires), "expiry"),
    roles: { root: role("root"), release: role("release"), deploy: role("deploy"), operator: role("operator") },
    floors: readFloors(expectMap(map.get(ROOT.floors), "floors")),
    revokedKeys: readSorted(map.get(ROOT.revokedKeys), "revoked keys", KEY_ID_BYTES),
    revokedDigests: readSorted(map.get(ROOT.revokedDigests), "revoked digests", DIGEST_BYTES),
  };
}

function readRole(value: CborValue | undefined, role: Role): RoleKeys {
  const [threshold, list] = expectArray(value, `role ${role}`, 2);
  const keys = readSorted(list, `keys of role ${role}`, PUBLIC_KEY_BYTES);
  if (keys.length > TRUST_LIMITS.keysPerRole) throw new Refusal("E_CBOR", `role ${role} has too many keys`);
  return { threshold: expectUnsigned(threshold, `threshold of role ${role}`, TRUST_LIMITS.keysPerRole), keys };
}

function readFloors(map: CborMap): ReadonlyMap<string, number> {
  const floors = new Map<string, number>();
  for (const [name, sequence] of map) {
    floors.set(
      expectName(typeof name === "string" ? name : undefined, "module name"),
      expectCounter(sequence, "floor"),
    );
  }
  return floors;
}

function readSorted(value: CborValue | undefined, field: string, length: number): readonly Uint8Array[] {
  const list = expectArray(value, field).map((bytes) => expectBytes(bytes, field, length));
  const isSorted = list.every((bytes, index) => {
    const previous = list[index - 1];
    return previous === undefined || compareBytes(previous, bytes) < 0;
  });
  if (!isSorted) throw new Refusal("E_CBOR", `${field} are not in ascending order, each once`);
  return list;
}

function checkKeys(root: RootDocument): void {
  const seen = new Set<string>();
  for (const role of ROLES) {
    const { threshold, keys } = root.roles[role];
    if (threshold < 1 || threshold > keys.length) {
      const found = `${threshold} of ${keys.length}`;
      throw new Refusal("E_THRESHOLD", `the threshold of role ${role} can't be met`, { found });
    }
    for (const key of keys) checkKey(key, role, root, seen);
  }
}

function checkKey(key: Uint8Array, role: Role, root: RootDocument, seen: Set<string>): void {
  const id = keyIdOf(key);
  const found = toHex(id);
  if (!isSoundPublicKey(key)) throw new Refusal("E_KEY", `a key of role ${role} is not a sound Ed25519 key`, { found });
  if (isListed(root.revokedKeys, id)) throw new Refusal("E_KEY", `role ${role} holds a revoked key`, { found });
  if (seen.has(found)) {
    const hint = "give each role keys of its own";
    throw new Refusal("E_KEY", `a key of role ${role} holds another role too`, { found, hint });
  }
  seen.add(found);
}
