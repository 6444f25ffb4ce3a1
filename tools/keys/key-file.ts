/** Key files: private ones readable by their owner only and never overwritten, encrypted if asked; public ones beside them. */

import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from "node:crypto";
import { open, readFile, stat } from "node:fs/promises";
import type { Role } from "../../gateway/envelopes/index.ts";
import { Refusal } from "../../kernel/index.ts";
import { isSoundPublicKey, keyIdOf, ROLES, toHex } from "../../gateway/envelopes/index.ts";
import type { SigningKey } from "./key.ts";
import { idOf, keyFromSeed } from "./key.ts";

const FORMAT = 1;
/** 128 MiB and about half a second on a laptop for each guess at a passphrase. */
const SCRYPT = Object.freeze({ N: 1 << 17, r: 8, p: 1, maxmem: 256 * 1024 * 1024 });
const CIPHER = "aes-256-gcm";
const KEY_BYTES = 32;
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
export const MODE_PRIVATE = 0o600;
export const MODE_PUBLIC = 0o644;

/** A public key with the role that its owner means it for. */
export interface PublicKey {
  readonly role: Role;
  readonly publicKey: Uint8Array;
}

/** @throws an EEXIST system error: keys are never overwritten */
export async function writePrivateKey(path: string, key: SigningKey, passphrase: string | undefined): Promise<void> {
  const secret = passphrase === undefined ? { seed: toHex(key.seed) } : { encrypted: encryptSeed(key, passphrase) };
  await writeNew(path, { ...publicPart(key), ...secret }, MODE_PRIVATE);
}

export async function writePublicKey(path: string, key: PublicKey): Promise<void> {
  await writeNew(path, publicPart(key), MODE_PUBLIC);
}

/**
 * @param passphrase asked for only where the file is encrypted
 * @throws Refusal E_KEY where the file is not a key, is open to others, or the passphrase is wrong
 */
export async function readPrivateKey(path: string, passphrase: () => Promise<string>): Promise<SigningKey> {
  await refuseOpenMode(path);
  const file = await readKeyFile(path);
  const seed =
    file["encrypted"] === undefined ? hexField(file, "seed", path) : decryptSeed(file, await passphrase(), path);
  const { role, publicKey } = publicFields(file, path);
  const key = keyFromSeed(role, seed);
  if (toHex(key.publicKey) === toHex(publicKey)) return key;
  throw notAKey(path, "its public key does not belong to its private key");
}

/** Reads the public half of a private or of a public key file. @throws Refusal E_KEY */
export async function readPublicKey(path: string): Promise<PublicKey> {
  return publicFields(await readKeyFile(path), path);
}

function publicPart(key: PublicKey): Record<string, unknown> {
  const id = idOf({ id: keyIdOf(key.publicKey) });
  return { format: FORMAT, role: key.role, id, publicKey: toHex(key.publicKey) };
}

export async function writeNew(path: string, content: Record<string, unknown>, mode: number): Promise<void> {
  const file = await open(path, "wx", mode);
  try {
    // The umask can only have taken bits away; a mode is set again so that it is exactly this one.
    await file.chmod(mode);
    await file.writeFile(`${JSON.stringify(content, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
}

export async function refuseOpenMode(path: string): Promise<void> {
  const { mode } = await stat(path);
  if ((mode & 0o077) === 0) return;
  const found = `mode ${(mode & 0o777).toString(8)}`;
  const hint = `run: chmod 600 ${path}`;
  throw new Refusal("E_KEY", `${path} can be read by others`, { expected: "mode 600", found, hint });
}

export async function readKeyFile(path: string): Promise<Readonly<Record<string, unknown>>> {
  const text = await readFile(path, "utf8");
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as Readonly<Record<string, unknown>>;
  } catch {
    // Said below, without the parser's quotation of what may be a secret.
  }
  throw notAKey(path, "it is not JSON");
}

function publicFields(file: Readonly<Record<string, unknown>>, path: string): PublicKey {
  if (file["format"] !== FORMAT) throw notAKey(path, `its format is not ${FORMAT}`);
  const role = ROLES.find((name) => name === file["role"]);
  if (role === undefined) throw notAKey(path, `its role is not one of ${ROLES.join(", ")}`);
  const publicKey = hexField(file, "publicKey", path);
  if (!isSoundPublicKey(publicKey)) throw notAKey(path, "its public key is not a sound Ed25519 key");
  return { role, publicKey };
}

export function hexField(file: Readonly<Record<string, unknown>>, name: string, path: string): Uint8Array {
  const text = file[name];
  if (typeof text !== "string" || !/^[0-9a-f]{64}$/.test(text)) throw notAKey(path, `its ${name} is not 64 hex digits`);
  return new Uint8Array(Buffer.from(text, "hex"));
}

/** salt, nonce, tag and ciphertext in one hexadecimal string; the public key is authenticated with it. */
export function encryptSeed(key: Pick<SigningKey, "publicKey" | "seed">, passphrase: string): string {
  const salt = randomBytes(SALT_BYTES);
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, scryptSync(passphrase, salt, KEY_BYTES, SCRYPT), nonce);
  cipher.setAAD(key.publicKey);
  const ciphertext = Buffer.concat([cipher.update(key.seed), cipher.final()]);
  return Buffer.concat([salt, nonce, cipher.getAuthTag(), ciphertext]).toString("hex");
}

export function decryptSeed(file: Readonly<Record<string, unknown>>, passphrase: string, path: string): Uint8Array {
  const text = file["encrypted"];
  const bytes = Buffer.from(typeof text === "string" ? text : "", "hex");
  const nonceAt = SALT_BYTES;
  const tagAt = nonceAt + NONCE_BYTES;
  const ciphertextAt = tagAt + TAG_BYTES;
  if (bytes.length !== ciphertextAt + KEY_BYTES) throw notAKey(path, "its encrypted part has the wrong length");
  const secret = scryptSync(passphrase, bytes.subarray(0, nonceAt), KEY_BYTES, SCRYPT);
  const decipher = createDecipheriv(CIPHER, secret, bytes.subarray(nonceAt, tagAt), { authTagLength: TAG_BYTES });
  decipher.setAAD(hexField(file, "publicKey", path));
  decipher.setAuthTag(bytes.subarray(tagAt, ciphertextAt));
  try {
    return new Uint8Array(Buffer.concat([decipher.update(bytes.subarray(ciphertextAt)), decipher.final()]));
  } catch {
    throw new Refusal("E_KEY", `${path} can't be decrypted`, {
      hint: "the passphrase is wrong, or the file was changed",
    });
  }
}

function notAKey(path: string, why: string): Refusal {
  return new Refusal("E_KEY", `${path} is not a key file: ${why}`, { hint: "make keys with bulkhead keygen" });
}
