/** Development keys and the envelopes signed with them: real signatures, by keys that no gateway in the field trusts. */
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { compareBytes, Refusal } from "../../kernel/index.ts";
import { ROLES, decodeEnvelope, decodeModule, decodeRoot, keyIdOf, sha256 } from "../../gateway/envelopes/index.ts";
import type { Role, RootDocument } from "../../gateway/envelopes/index.ts";
import { describeModule, generateKey, readPrivateKey, signModule, signRoot, writePrivateKey } from "../keys/index.ts";
import type { SigningKey } from "../keys/index.ts";
import type { ManifestDocument } from "./module-file.ts";

/** One key for each role; the root that names them lies beside them as `root.envelope`. */
export type DevelopmentKeys = Readonly<Record<Role, SigningKey>>;

/** The gateways that development envelopes are for, where nothing else is said. */
export const DEVELOPMENT_TARGET = Object.freeze({ vendor: "bulkhead.example", class: "raspberry-pi" });

const YEAR_SECONDS = 365 * 24 * 3600;

/**
 * Reads the keys in a folder, and makes those that are not there, with a new root envelope.
 * @throws Refusal E_KEY where the folder's root is one in earnest: its keys are not used, and it is not written over
 */
export async function developmentKeys(folder: string): Promise<DevelopmentKeys> {
  await refuseEarnest(folder);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const keys = {} as Record<Role, SigningKey>;
  let isNew = !existsSync(join(folder, "root.envelope"));
  for (const role of ROLES) {
    const path = join(folder, `${role}.key`);
    if (!existsSync(path)) {
      await writePrivateKey(path, generateKey(role), undefined);
      isNew = true;
    }
    keys[role] = await readPrivateKey(path, () => Promise.reject(new Error("development keys have no passphrase")));
  }
  if (isNew) await writeFile(join(folder, "root.envelope"), signRoot(developmentRoot(keys), [keys.root]));
  return keys;
}

async function refuseEarnest(folder: string): Promise<void> {
  const path = join(folder, "root.envelope");
  const bytes = existsSync(path) ? await readFile(path) : undefined;
  if (bytes === undefined || decodeRoot(decodeEnvelope(new Uint8Array(bytes), "root").payload).development === true)
    return;
  throw new Refusal("E_KEY", `${path} is not a development root`, {
    expected: "a root that this tool made for a desk",
    hint: "take another folder for development keys; in earnest `bulkhead sign` signs",
  });
}

function developmentRoot(keys: DevelopmentKeys): RootDocument {
  const issued = nowSeconds();
  const only = (role: Role) => ({ threshold: 1, keys: [keys[role].publicKey] });
  return {
    version: 1,
    issued,
    expires: issued + 10 * YEAR_SECONDS,
    roles: { root: only("root"), release: only("release"), deploy: only("deploy"), operator: only("operator") },
    floors: new Map(),
    revokedKeys: [],
    revokedDigests: [],
    development: true,
  };
}

export interface SigningFacts {
  readonly vendor: string;
  readonly class: string;
  /** Where absent it follows from the version: 2.1.3 is 2001003. */
  readonly sequence?: number;
}

/** The sequence number of a version, so that a later version is always a higher one. */
export function sequenceOf(version: string): number {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number);
  return major * 1_000_000 + minor * 1000 + patch;
}

/** A module envelope with the binary inside. */
export function signForDevelopment(
  wasm: Uint8Array,
  version: string,
  key: SigningKey,
  facts: SigningFacts = DEVELOPMENT_TARGET,
): Uint8Array {
  const released = nowSeconds();
  const module = describeModule(wasm, {
    sequence: facts.sequence ?? sequenceOf(version),
    vendor: facts.vendor,
    class: facts.class,
    released,
    expires: released + YEAR_SECONDS,
  });
  return signModule(module, [key], wasm);
}

/** Writes the envelope of a binary, unless the one that is there holds the same binary signed by the same key. */
export async function writeEnvelope(
  path: string,
  wasm: Uint8Array,
  { version }: Pick<ManifestDocument, "version">,
  key: SigningKey,
  target: Pick<SigningFacts, "vendor" | "class"> = DEVELOPMENT_TARGET,
): Promise<void> {
  if (!(await isSigned(path, wasm, key))) await writeFile(path, signForDevelopment(wasm, version, key, target));
}

async function isSigned(path: string, wasm: Uint8Array, key: SigningKey): Promise<boolean> {
  try {
    const { payload, signatures } = decodeEnvelope(new Uint8Array(await readFile(path)), "module");
    const { wasmDigest, claims } = decodeModule(payload);
    const isSame = compareBytes(wasmDigest, sha256(wasm)) === 0 && claims.expires > nowSeconds() + YEAR_SECONDS / 2;
    return isSame && signatures.some(({ keyId }) => compareBytes(keyId, keyIdOf(key.publicKey)) === 0);
  } catch {
    // Absent, or not an envelope: it is written anew.
    return false;
  }
}

function nowSeconds(): number {
  return Math.floor(Date.now() / 1000);
}
