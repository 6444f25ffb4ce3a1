/** Where passphrases come from: a file, or the environment, never the command line, which every process can read. */

import { readFile } from "node:fs/promises";
import type { Arguments } from "./command-line.ts";
import { UsageError } from "./command-line.ts";

const VARIABLE = "BULKHEAD_PASSPHRASE";
/** Shorter ones are guessed, whatever scrypt costs. */
const LEAST_CHARACTERS = 12;

export const PASSPHRASE_OPTIONS = { "passphrase-file": { type: "string" } } as const;

export const PASSPHRASE_HELP = `  --passphrase-file <file>  passphrase of the private keys (first line; /dev/stdin to type it),
                            else from the environment variable ${VARIABLE}`;

/** The passphrase that was given, or undefined. */
export async function givenPassphrase(args: Arguments): Promise<string | undefined> {
  const path = args.optional("passphrase-file");
  if (path === undefined) return process.env[VARIABLE];
  return (await readFile(path, "utf8")).split("\n")[0] ?? "";
}

/** The passphrase for a key file that turns out to be encrypted. */
export async function requiredPassphrase(args: Arguments): Promise<string> {
  const passphrase = await givenPassphrase(args);
  if (passphrase !== undefined) return passphrase;
  throw new UsageError(`the key is encrypted: give --passphrase-file, or set ${VARIABLE}`);
}

/** A passphrase good enough for a new key. */
export async function newPassphrase(args: Arguments): Promise<string | undefined> {
  const passphrase = await givenPassphrase(args);
  if (passphrase === undefined || passphrase.length >= LEAST_CHARACTERS) return passphrase;
  throw new UsageError(`a passphrase has ${LEAST_CHARACTERS} characters or more`);
}
