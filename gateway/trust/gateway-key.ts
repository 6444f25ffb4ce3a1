/** The gateway's own key, made at its first start: it signs reports and the head of the audit log, and nothing else. */

import type { KeyObject } from "node:crypto";
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import { join } from "node:path";
import { Refusal } from "../../kernel/index.ts";
import { encodeSign1, keyIdOf, toBeSigned } from "../envelopes/index.ts";
import { replaceFile } from "./file-system.ts";
import type { FileSystem } from "./file-system.ts";

/** PKCS #8 in PEM, mode 0600. */
export const PRIVATE_KEY_FILE = "gateway.key";
/** SubjectPublicKeyInfo in PEM: what the operator enrols. */
export const PUBLIC_KEY_FILE = "gateway.pub";

export class GatewayKey {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly #privateKey: KeyObject;
  readonly #keyId: Uint8Array;

  constructor(privateKey: KeyObject) {
    const { x } = createPublicKey(privateKey).export({ format: "jwk" });
    this.publicKey = Uint8Array.fromBase64(x ?? "", { alphabet: "base64url" });
    this.#privateKey = privateKey;
    this.#keyId = keyIdOf(this.publicKey);
  }

  /** A COSE_Sign1 that carries its payload. */
  sign(contentType: string, payload: Uint8Array): Uint8Array {
    const signature = new Uint8Array(sign(null, toBeSigned(contentType, this.#keyId, payload), this.#privateKey));
    return encodeSign1({ contentType, keyId: this.#keyId, payload, signature });
  }
}

/**
 * Reads the key, or makes it. Where the disk refuses to keep it the gateway runs with a key of the hour, whose reports
 * nobody believes: running comes before reporting.
 */
export function openGatewayKey(fileSystem: FileSystem, folder: string): GatewayKey {
  const known = readKey(fileSystem, join(folder, PRIVATE_KEY_FILE));
  if (known !== undefined) return new GatewayKey(known);
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  try {
    fileSystem.makeFolder(folder);
    writePem(fileSystem, join(folder, PUBLIC_KEY_FILE), publicKey.export({ type: "spki", format: "pem" }), 0o644);
    writePem(fileSystem, join(folder, PRIVATE_KEY_FILE), privateKey.export({ type: "pkcs8", format: "pem" }), 0o600);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
  }
  return new GatewayKey(privateKey);
}

function readKey(fileSystem: FileSystem, path: string): KeyObject | undefined {
  try {
    const bytes = fileSystem.read(path);
    return bytes === undefined ? undefined : createPrivateKey(Buffer.from(bytes));
  } catch {
    // A key file that the disk has damaged is as good as none: a new key is made, and the operator enrols it.
    return undefined;
  }
}

function writePem(fileSystem: FileSystem, path: string, pem: string | Buffer, mode: number): void {
  replaceFile(fileSystem, path, new TextEncoder().encode(pem.toString()), mode);
}
