/** `bulkhead keygen`: makes one key pair for one role. */

import { unlink } from "node:fs/promises";
import type { Role } from "../../gateway/envelopes/index.ts";
import { ROLES } from "../../gateway/envelopes/index.ts";
import type { Arguments, Report } from "./command-line.ts";
import { defineCommand, UsageError } from "./command-line.ts";
import { CAPSULE_ROLE, makeCapsuleKey } from "./capsule-key.ts";
import { generateKey, idOf } from "./key.ts";
import { writePrivateKey, writePublicKey } from "./key-file.ts";
import { newPassphrase, PASSPHRASE_HELP, PASSPHRASE_OPTIONS } from "./passphrase.ts";

const help = `
Usage: bulkhead keygen --role <role> --out <file> [--passphrase-file <file>]

Makes an Ed25519 key pair: <file> holds the private key (mode 600), <file>.pub the public one.
Existing files are never overwritten. A key is for one role only:

  root      names the keys of all roles; kept offline, three of them, two must sign
  release   signs modules
  deploy    signs plans: which modules a gateway runs; the only one that may be online
  operator  signs configurations: what modules are granted
  capsules  signs nothing: opens what gateways seal of their modules' failures (X25519)

Options:
  --role <role>             root, release, deploy, operator or capsules
  --out <file>              where the private key goes
${PASSPHRASE_HELP}
  --json                    one JSON object: role, id, publicKey, files, encrypted
  --help                    this text

Next: bulkhead root init --help
`;

export const keygen = defineCommand({
  name: "keygen",
  summary: "make a key pair for a role",
  help,
  options: { role: { type: "string" }, out: { type: "string" }, ...PASSPHRASE_OPTIONS },
  act: makeKey,
});

async function makeKey(args: Arguments): Promise<Report> {
  if (args.positionals.length > 0) throw new UsageError("keygen takes options only");
  if (args.required("role") === CAPSULE_ROLE) return await makeCapsulePair(args);
  const role = parseRole(args.required("role"));
  const path = args.required("out");
  const passphrase = await newPassphrase(args);
  const key = generateKey(role);
  const publicPath = `${path}.pub`;
  await writePublicKey(publicPath, key);
  await writePrivateKey(path, key, passphrase).catch(async (error: unknown) => {
    await unlink(publicPath);
    throw error;
  });
  const encrypted = passphrase !== undefined;
  const json = {
    ok: true,
    role,
    id: idOf(key),
    publicKey: Buffer.from(key.publicKey).toString("hex"),
    files: [path, publicPath],
    encrypted,
  };
  return {
    json,
    lines: [
      `${role} key ${json.id}`,
      `  private  ${path} (mode 600${encrypted ? ", encrypted" : ""}): keep it where only its holder gets at it`,
      `  public   ${publicPath}: for the root document`,
    ],
  };
}

async function makeCapsulePair(args: Arguments): Promise<Report> {
  const path = args.required("out");
  const passphrase = await newPassphrase(args);
  const publicKey = await makeCapsuleKey(path, passphrase);
  const encrypted = passphrase !== undefined;
  return {
    json: { ok: true, role: CAPSULE_ROLE, publicKey, files: [path, `${path}.pub`], encrypted },
    lines: [
      `capsules key ${publicKey}`,
      `  private  ${path} (mode 600${encrypted ? ", encrypted" : ""}): for bulkhead replay --key`,
      `  gateway  capsules: { recipient: ${publicKey} }`,
    ],
  };
}

export function parseRole(text: string): Role {
  const role = ROLES.find((name) => name === text);
  if (role === undefined) throw new UsageError(`there is no role ${text}; the roles are ${ROLES.join(", ")}`);
  return role;
}
