/** Reads and writes envelopes for the verbs, and describes what is in one. */

import { open, readFile } from "node:fs/promises";
import type { DocumentKind, RootDocument, UnverifiedEnvelope } from "../../gateway/envelopes/index.ts";
import { decodeCbor, expectArray, expectBytes, expectMap, expectTag, Refusal } from "../../kernel/index.ts";
import {
  CONTENT_TYPES,
  decodeEnvelope,
  decodeSign1,
  keyIdOf,
  ROLES,
  toHex,
  TRUST_LIMITS,
} from "../../gateway/envelopes/index.ts";
import type { Arguments, Report } from "./command-line.ts";
import { formatDate, UsageError } from "./command-line.ts";
import type { SigningKey } from "./key.ts";
import { readPrivateKey } from "./key-file.ts";
import { requiredPassphrase } from "./passphrase.ts";

export async function readBytes(path: string): Promise<Uint8Array> {
  return new Uint8Array(await readFile(path));
}

/** Writes a file that must not exist yet. */
export async function writeNewFile(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "wx", 0o644);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The keys of `--key`, each a private key file of this role. */
export async function signingKeys(args: Arguments, role: SigningKey["role"]): Promise<readonly SigningKey[]> {
  const keys: SigningKey[] = [];
  for (const path of args.list("key")) {
    const key = await readPrivateKey(path, () => requiredPassphrase(args));
    if (key.role !== role) {
      const hint = `make one with: bulkhead keygen --role ${role}`;
      throw new Refusal("E_KEY", `${path} is a ${key.role} key`, { expected: `a ${role} key`, hint });
    }
    keys.push(key);
  }
  return keys;
}

export function onlyPositional(args: Arguments, what: string): string {
  const [first, ...rest] = args.positionals;
  if (first === undefined) throw new UsageError(`name ${what}`);
  if (rest.length > 0) throw new UsageError(`one at a time: ${rest.join(" ")} is too much`);
  return first;
}

/**
 * Which document is this? Form and digest are checked, signatures are not. One without signatures is taken for a root:
 * only roots go around unsigned, in a ceremony. @throws Refusal
 */
export function decodeAnyEnvelope(bytes: Uint8Array): UnverifiedEnvelope {
  const contentType = signedContentType(bytes);
  if (contentType === undefined) return decodeEnvelope(bytes, "root");
  const kind = (Object.keys(CONTENT_TYPES) as DocumentKind[]).find((name) => CONTENT_TYPES[name] === contentType);
  if (kind === undefined) throw new Refusal("E_CBOR", "this is none of the signed documents", { found: contentType });
  return decodeEnvelope(bytes, kind);
}

/** The content type of the first signature, as it claims; undefined where there is none. */
function signedContentType(bytes: Uint8Array): string | undefined {
  const limits = { maxBytes: TRUST_LIMITS.envelopeBytes, maxDepth: 2, maxItems: 64, tags: [107], deterministic: true };
  const envelope = expectMap(expectTag(decodeCbor(bytes, limits), 107, "envelope"), "envelope");
  const authentication = decodeCbor(expectBytes(envelope.get(2), "authentication"), { ...limits, tags: [] });
  const block = expectArray(authentication, "authentication")[1];
  return block === undefined ? undefined : decodeSign1(expectBytes(block, "signature block")).contentType;
}

/** What a root says, and whose signatures it still lacks. */
export function describeRoot(root: RootDocument, envelope: UnverifiedEnvelope, signers: readonly string[]): Report {
  const roles = ROLES.map((role) => {
    const { threshold, keys } = root.roles[role];
    return { role, threshold, keys: keys.map((key) => toHex(keyIdOf(key))) };
  });
  const json = {
    kind: "root",
    version: root.version,
    issued: formatDate(root.issued),
    expires: formatDate(root.expires),
    roles,
    floors: Object.fromEntries(root.floors),
    revokedKeys: root.revokedKeys.map(toHex),
    revokedDigests: root.revokedDigests.map(toHex),
    development: root.development === true,
    digest: toHex(envelope.digest),
    signers,
  };
  const lines = [
    ...(root.development === true ? ["development keys: for a desk, never for the field"] : []),
    `root version ${root.version}, issued ${json.issued}, expires ${json.expires}`,
    ...roles.map(({ role, threshold, keys }) => `  ${role}: ${threshold} of ${keys.length}: ${keys.join(" ")}`),
    ...Array.from(root.floors, ([name, floor]) => `  floor of ${name}: ${floor}`),
    ...json.revokedKeys.map((id) => `  revoked key ${id}`),
    ...json.revokedDigests.map((digest) => `  revoked digest ${digest}`),
    `  signed by ${signers.length === 0 ? "nobody yet" : signers.join(" ")}`,
  ];
  return { json, lines };
}
