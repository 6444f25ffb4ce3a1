/** `bulkhead root`: the root ceremony; roots are made, changed and signed by passing files between offline machines, then published. */

import type { Role, RoleKeys, RootDocument, UnverifiedEnvelope } from "../../gateway/envelopes/index.ts";
import { compareBytes, Refusal } from "../../kernel/index.ts";
import {
  decodeEnvelope,
  decodeRoot,
  initialTrust,
  keyDirectory,
  keyIdOf,
  ROLES,
  toHex,
  verifyRoot,
} from "../../gateway/envelopes/index.ts";
import type { Io } from "../command.ts";
import { BROKER_HELP, BROKER_OPTIONS } from "../push/options.ts";
import type { Arguments, Report } from "./command-line.ts";
import { defineCommand, parseNumber, parsePair, UsageError } from "./command-line.ts";
import { describeRoot, onlyPositional, readBytes, signingKeys, writeNewFile } from "./files.ts";
import { readPublicKey } from "./key-file.ts";
import { parseRole } from "./keygen.ts";
import { PASSPHRASE_HELP, PASSPHRASE_OPTIONS } from "./passphrase.ts";
import { addSignature, signRoot } from "./sign.ts";

const help = `
Usage: bulkhead root init   --public <key.pub>... [--key <root key>...] --out <file>
       bulkhead root rotate --from <root> [changes] [--key <root key>...] --out <file>
       bulkhead root revoke --from <root> (--key-id <id> | --digest <digest>)... [changes] [--key <root key>...] --out <file>
       bulkhead root sign   <root> --key <root key> [--from <previous root>] --out <file>
       bulkhead root show   <root> [--from <previous root>]
       bulkhead root publish <root>... [--from <previous root>] [--replace] --broker <url>

The root document names the keys of every role, what is revoked, and the floors. It is signed by a threshold of
root keys, 2 by default; a change by the threshold of the old root and of the new. Root keys stay on machines
without a network: init, rotate and revoke write an envelope with as many signatures as --key gives, none
included; carry it from machine to machine, add one signature on each with root sign, and look with root show at
what is being signed and whose signature is missing. Then publish brings it from a machine with a network to every
gateway at the broker.

init:
  --public <file>           a public key (keygen writes <file>.pub); its role is the one it was made for

changes:
  --add <key.pub>           one more key, of the role it was made for
  --remove <id>             a key that is in the root; signatures by it do not count any more
  --floor <module>=<n>      lowest sequence number of the module that may be installed
  --threshold <role>=<n>    how many keys of the role must sign (init: root=2, others 1)

revoke:
  --key-id <id>             removes the key and says for ever that nothing it signed is to be believed
  --digest <digest>         of a module envelope, a configuration envelope or a wasm binary: never to run again

publish:
  Retains every root named at bulkhead/v1/root/<version>, where gateways wait for the next one, and reads it back.
  Leave all versions there: a gateway that was off takes one after the other. bulkhead status tells which it has.
  --from <file>             the root before the first: whether its keys signed that one too is checked only then
  --replace                 put a root in the place of another one of the same version
  --wait <time>             how long to collect what is retained there (default 2s)
  --timeout <time>          how long the broker may take for the rest (default 30s)
${BROKER_HELP}

Options:
  --from <file>             the root in force, fully signed
  --expires <date|days>     default 365d
  --issued <date>           instead of now
${PASSPHRASE_HELP}
  --json                    one JSON object: the document, signers, missing;
                            of publish: roots [{version, digest, outcome}], expires, from, missing
  --help                    this text
`;

export const root = defineCommand({
  name: "root",
  summary: "make, change, sign, show and publish the root of trust",
  help,
  options: {
    public: { type: "string", multiple: true },
    key: { type: "string", multiple: true },
    out: { type: "string" },
    from: { type: "string" },
    add: { type: "string", multiple: true },
    remove: { type: "string", multiple: true },
    floor: { type: "string", multiple: true },
    threshold: { type: "string", multiple: true },
    "key-id": { type: "string", multiple: true },
    digest: { type: "string", multiple: true },
    expires: { type: "string" },
    issued: { type: "string" },
    replace: { type: "boolean" },
    wait: { type: "string" },
    timeout: { type: "string" },
    ...BROKER_OPTIONS,
    ...PASSPHRASE_OPTIONS,
  },
  act: runCeremony,
});

async function runCeremony(args: Arguments, io: Io): Promise<Report> {
  const [step, ...rest] = args.positionals;
  const stepArguments = args.withPositionals(rest);
  switch (step) {
    case "init":
      return initRoot(stepArguments);
    case "rotate":
      return changeRoot(stepArguments, (next) => next);
    case "revoke":
      return changeRoot(stepArguments, (next) => revoke(next, args.list("key-id"), args.list("digest")));
    case "sign":
      return signFile(stepArguments);
    case "show":
      return showFile(stepArguments);
    case "publish":
      // The machines of the ceremony load no MQTT.
      return (await import("../push/root-publish.ts")).publishRoots(stepArguments, io);
    default:
      throw new UsageError("say which step: init, rotate, revoke, sign, show or publish");
  }
}

async function initRoot(args: Arguments): Promise<Report> {
  const issued = args.issued();
  const empty: RoleKeys = { threshold: 1, keys: [] };
  const blank: RootDocument = {
    version: 1,
    issued,
    expires: args.expires(issued, 365),
    roles: { root: { threshold: 2, keys: [] }, release: empty, deploy: empty, operator: empty },
    floors: new Map(),
    revokedKeys: [],
    revokedDigests: [],
  };
  const document = withThresholds(await withAdded(blank, args.list("public")), args.list("threshold"));
  for (const role of ROLES) {
    if (document.roles[role].keys.length > 0) continue;
    throw new UsageError(
      `no ${role} key: make one with bulkhead keygen --role ${role}, and give its .pub with --public`,
    );
  }
  return writeRoot(args, document, undefined);
}

/** The next version of `--from`, changed as the options and `alter` say. */
async function changeRoot(args: Arguments, alter: (next: RootDocument) => RootDocument): Promise<Report> {
  const old = initialTrust(await readBytes(args.required("from"))).root;
  const issued = args.issued();
  const next = { ...old, version: old.version + 1, issued, expires: args.expires(issued, 365) };
  const removed = withRemoved(next, args.list("remove"));
  const added = withThresholds(await withAdded(removed, args.list("add")), args.list("threshold"));
  return writeRoot(args, alter(withFloors(added, args.list("floor"))), old);
}

async function withAdded(document: RootDocument, paths: readonly string[]): Promise<RootDocument> {
  let next = document;
  for (const path of paths) {
    const { role, publicKey } = await readPublicKey(path);
    next = withRole(next, role, { keys: [...next.roles[role].keys, publicKey].sort(compareBytes) });
  }
  return next;
}

function withRemoved(document: RootDocument, ids: readonly string[]): RootDocument {
  return ids.reduce((next, id) => {
    const role = ROLES.find((name) => next.roles[name].keys.some((key) => toHex(keyIdOf(key)) === id));
    if (role === undefined) throw new UsageError(`no key ${id} is in the root; bulkhead root show lists them`);
    return withRole(next, role, { keys: next.roles[role].keys.filter((key) => toHex(keyIdOf(key)) !== id) });
  }, document);
}

function withThresholds(document: RootDocument, pairs: readonly string[]): RootDocument {
  return pairs.reduce((next, pair) => {
    const [role, count] = parsePair(pair, "--threshold");
    return withRole(next, parseRole(role), { threshold: parseNumber(count, "--threshold") });
  }, document);
}

function withRole(document: RootDocument, role: Role, change: Partial<RoleKeys>): RootDocument {
  return { ...document, roles: { ...document.roles, [role]: { ...document.roles[role], ...change } } };
}

/** Floors only rise: a lower one would open what the old root closed. */
function withFloors(document: RootDocument, pairs: readonly string[]): RootDocument {
  const floors = new Map(document.floors);
  for (const pair of pairs) {
    const [name, text] = parsePair(pair, "--floor");
    const floor = parseNumber(text, "--floor");
    if (floor < (floors.get(name) ?? 0))
      throw new UsageError(`the floor of ${name} is ${floors.get(name) ?? 0} already`);
    floors.set(name, floor);
  }
  return { ...document, floors };
}

function revoke(document: RootDocument, ids: readonly string[], digests: readonly string[]): RootDocument {
  if (ids.length + digests.length === 0) throw new UsageError("say what to revoke: --key-id or --digest");
  const held = ids.filter((id) => keyDirectory(document).has(id));
  const next = withRemoved(document, held);
  return {
    ...next,
    revokedKeys: merged(next.revokedKeys, ids, 16, "--key-id"),
    revokedDigests: merged(next.revokedDigests, digests, 32, "--digest"),
  };
}

function merged(list: readonly Uint8Array[], added: readonly string[], bytes: number, option: string): Uint8Array[] {
  const all = new Map(list.map((item) => [toHex(item), item]));
  for (const text of added) {
    if (text.length !== bytes * 2 || !/^[0-9a-f]+$/.test(text)) {
      throw new UsageError(`${option} takes ${bytes * 2} hexadecimal digits, not ${JSON.stringify(text)}`);
    }
    all.set(text, new Uint8Array(Buffer.from(text, "hex")));
  }
  return [...all.values()].sort(compareBytes);
}

async function writeRoot(args: Arguments, document: RootDocument, old: RootDocument | undefined): Promise<Report> {
  if (args.positionals.length > 0) throw new UsageError(`${args.positionals.join(" ")} is too much`);
  const bytes = signRoot(document, await signingKeys(args, "root"));
  return writeEnvelope(args.required("out"), bytes, old);
}

async function signFile(args: Arguments): Promise<Report> {
  let bytes = await readBytes(onlyPositional(args, "the root envelope"));
  decodeRoot(decodeEnvelope(bytes, "root").payload);
  const old = await previousRoot(args);
  const keys = await signingKeys(args, "root");
  if (keys.length === 0) throw new UsageError("--key is missing");
  for (const key of keys) bytes = addSignature(bytes, "root", key);
  return writeEnvelope(args.required("out"), bytes, old);
}

async function showFile(args: Arguments): Promise<Report> {
  const bytes = await readBytes(onlyPositional(args, "the root envelope"));
  return report(bytes, await previousRoot(args));
}

async function previousRoot(args: Arguments): Promise<RootDocument | undefined> {
  const path = args.optional("from");
  return path === undefined ? undefined : initialTrust(await readBytes(path)).root;
}

async function writeEnvelope(path: string, bytes: Uint8Array, old: RootDocument | undefined): Promise<Report> {
  const described = report(bytes, old);
  await writeNewFile(path, bytes);
  return { json: { ...described.json, file: path }, lines: [...described.lines, `  written to ${path}`] };
}

function report(bytes: Uint8Array, old: RootDocument | undefined): Report {
  const envelope = decodeEnvelope(bytes, "root");
  const document = decodeRoot(envelope.payload);
  const signers = envelope.signatures.map(({ keyId }) => toHex(keyId));
  const missing = missingSignatures(document, old, signers);
  if (missing.length === 0) checkWhole(bytes, envelope, old);
  const { json, lines } = describeRoot(document, envelope, signers);
  const conclusion = missing.length === 0 ? "  complete: enough root keys signed" : `  missing: ${missing.join("; ")}`;
  return { json: { ok: true, ...json, missing, complete: missing.length === 0 }, lines: [...lines, conclusion] };
}

/** What is missing by count; whether the signatures that are there verify is for `checkWhole`. */
function missingSignatures(
  document: RootDocument,
  old: RootDocument | undefined,
  signers: readonly string[],
): readonly string[] {
  const roots = old === undefined ? [document] : [old, document];
  return roots.flatMap((holder, index) => {
    const { threshold, keys } = holder.roles.root;
    const count = keys.filter((key) => signers.includes(toHex(keyIdOf(key)))).length;
    const which = roots.length === 1 ? "" : index === 0 ? "old " : "new ";
    return count >= threshold ? [] : [`${threshold - count} more of the ${which}root keys`];
  });
}

function checkWhole(bytes: Uint8Array, envelope: UnverifiedEnvelope, old: RootDocument | undefined): void {
  if (old === undefined) {
    initialTrust(bytes);
    return;
  }
  const none = new Map<string, never>();
  const floors = { planFloors: none, configurationFloors: none, moduleFloors: none };
  const { document } = verifyRoot(bytes, { root: old, rootDigest: envelope.digest, clockFloor: 0, ...floors });
  if (document.version !== old.version + 1) throw new Refusal("E_ROOT_GAP", "the root does not follow --from");
}
