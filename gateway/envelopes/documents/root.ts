/** The root document: which keys hold which role, what is revoked, and below which sequence numbers nothing is installed. */

import { Refusal } from "../../../kernel/index.ts";
import { isListed, keyIdOf, toHex } from "../bytes.ts";
import { isSoundPublicKey, PUBLIC_KEY_BYTES } from "../ed25519.ts";
import { DIGEST_BYTES, KEY_ID_BYTES, TRUST_LIMITS } from "../limits.ts";
import {
  codec,
  counter,
  date,
  FORMAT,
  kernelName,
  mapOf,
  mark,
  optional,
  record,
  sortedBytes,
  tuple,
  unsigned,
} from "./fields.ts";

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
  /** Made with its keys by `bulkhead build --dev-keys` or `dev`, for a desk. The tools sign unasked under such a root only. */
  readonly development?: true | undefined;
}

const roleKeys = tuple<RoleKeys>({
  threshold: [0, unsigned(TRUST_LIMITS.keysPerRole)],
  keys: [1, sortedBytes(PUBLIC_KEY_BYTES, TRUST_LIMITS.keysPerRole)],
});

const rootCodec = codec(
  "root document",
  record<RootDocument>(
    {
      version: [2, counter],
      issued: [3, date],
      expires: [4, date],
      roles: [
        5,
        record({ root: [1, roleKeys], release: [2, roleKeys], deploy: [3, roleKeys], operator: [4, roleKeys] }),
      ],
      floors: [6, mapOf(kernelName, counter)],
      revokedKeys: [7, sortedBytes(KEY_ID_BYTES, TRUST_LIMITS.payloadItems)],
      revokedDigests: [8, sortedBytes(DIGEST_BYTES, TRUST_LIMITS.payloadItems)],
      development: [9, optional(mark)],
    },
    FORMAT,
  ),
);

export const encodeRoot = rootCodec.encode;

/** @throws Refusal E_CBOR, E_SIZE; E_KEY where a key is unsound, revoked or in two roles; E_THRESHOLD where one can't be met */
export function decodeRoot(payload: Uint8Array): RootDocument {
  const root = rootCodec.decode(payload);
  checkKeys(root);
  return root;
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
