/** Key files of capsules: X25519 pairs, kept as the signing keys are. */
import { unlink } from "node:fs/promises";
import { generateX25519, x25519PublicOf } from "../../gateway/wire/capsule-seal.ts";
import { Refusal } from "../../kernel/index.ts";
import { decryptSeed, encryptSeed, hexField, MODE_PRIVATE, MODE_PUBLIC } from "./key-file.ts";
import { readKeyFile, refuseOpenMode, writeNew } from "./key-file.ts";

/** The name under which `keygen` makes such a pair. */
export const CAPSULE_ROLE = "capsules";
const FORMAT = 1;

/** Makes a pair: `path` with mode 600, `path`.pub beside it. @returns the public key, hexadecimal */
export async function makeCapsuleKey(path: string, passphrase: string | undefined): Promise<string> {
  const { publicKey, privateKey: seed } = generateX25519();
  const content = { format: FORMAT, role: CAPSULE_ROLE, publicKey: publicKey.toHex() };
  const secret =
    passphrase === undefined ? { seed: seed.toHex() } : { encrypted: encryptSeed({ publicKey, seed }, passphrase) };
  await writeNew(`${path}.pub`, content, MODE_PUBLIC);
  await writeNew(path, { ...content, ...secret }, MODE_PRIVATE).catch(async (error: unknown) => {
    await unlink(`${path}.pub`);
    throw error;
  });
  return content.publicKey;
}

/** @throws Refusal E_KEY where the file is no such key, or is open to others */
export async function readCapsuleKey(path: string, passphrase: () => Promise<string>): Promise<Uint8Array> {
  try {
    await refuseOpenMode(path);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal("E_KEY", `cannot read ${path}`, { found: error instanceof Error ? error.message : "" });
  }
  const file = await readKeyFile(path);
  const hint = "`bulkhead keygen --role capsules` makes one";
  if (file["format"] !== FORMAT || file["role"] !== CAPSULE_ROLE)
    throw new Refusal("E_KEY", `${path} is not a key of capsules`, { hint });
  const seed =
    file["encrypted"] === undefined ? hexField(file, "seed", path) : decryptSeed(file, await passphrase(), path);
  if (x25519PublicOf(seed).toHex() === file["publicKey"]) return seed;
  throw new Refusal("E_KEY", `${path} is damaged: its public key does not belong to its private key`, { hint });
}
