/** The verbs keygen, sign, verify and root: key files, the ceremony over several machines, errors that help. */

import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { encodeCbor } from "../../kernel/index.ts";
import {
  decodeEnvelope,
  decodeModule,
  initialTrust,
  sha256,
  toHex,
  verifyModule,
} from "../../gateway/envelopes/index.ts";
import type { Command } from "../../tools/command.ts";
import { formatDate } from "../../tools/keys/command-line.ts";
import { commands } from "../../tools/keys/index.ts";
import { runVerb } from "../support/verb.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-keys-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string): string => join(folder, name);

function command(name: string): Command {
  const found = commands.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no verb ${name}`);
  return found;
}

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly json: Readonly<Record<string, unknown>>;
}

async function run(name: string, ...args: string[]): Promise<Outcome> {
  const { code, out, errors: err } = await runVerb(command(name), args);
  const json = args.includes("--json") ? (JSON.parse(out) as Record<string, unknown>) : {};
  return { code, out, err, json };
}

async function succeed(name: string, ...args: string[]): Promise<Outcome> {
  const outcome = await run(name, ...args);
  expect(outcome.err).toBe("");
  expect(outcome.code).toBe(0);
  return outcome;
}

let wasm: Uint8Array = new Uint8Array();
beforeAll(async () => {
  wasm = await moduleBinary("threshold");
  writeFileSync(at("threshold.wasm"), wasm);
  for (const name of ["root1", "root2", "root3"]) await succeed("keygen", "--role", "root", "--out", at(name));
  for (const role of ["release", "deploy", "operator"]) await succeed("keygen", "--role", role, "--out", at(role));
});

test("a date that no calendar has is told as a number", () => {
  expect([formatDate(8_640_000_000_000), formatDate(8_640_000_000_001)]).toEqual([
    "+275760-09-13T00:00:00Z",
    "8640000000001 s after 1970",
  ]);
});

/** The least module that the ABI accepts, with a manifest in its custom section. */
async function moduleBinary(name: string): Promise<Uint8Array> {
  const { default: wabt } = await import("wabt");
  const source = `(module (memory (export "memory") 1)
    (func (export "bulkhead_inbox") (result i32) i32.const 0)
    (func (export "bulkhead_handle") (param i32 i32) (result i64) i64.const 0))`;
  const binary = (await wabt()).parseWat("module.wat", source).toBinary({}).buffer;
  const slots = { log: { interface: "log", rights: ["write"], port: null } };
  const rest = { ports: [], slots, memory: 4, inbox: 4096, state: 0, fuel: 1000, schema: 7 };
  const manifest = encodeCbor({ abi: 1, name, version: "1.2.3", kind: "service", ...rest });
  const content = Buffer.concat([Uint8Array.of(8), Buffer.from("bulkhead"), manifest]);
  const length = [(content.length & 0x7f) | 0x80, content.length >> 7];
  return Uint8Array.from(Buffer.concat([binary, Uint8Array.of(0, ...length), content]));
}

const publicFiles = (...names: string[]): string[] => names.flatMap((name) => ["--public", at(`${name}.pub`)]);
const keyFiles = (...names: string[]): string[] => names.flatMap((name) => ["--key", at(name)]);
const allPublic = (): string[] => publicFiles("root1", "root2", "root3", "release", "deploy", "operator");

function idOf(name: string): string {
  return (JSON.parse(readFileSync(at(`${name}.pub`), "utf8")) as { id: string }).id;
}

describe("keygen", () => {
  test("writes the private key for its owner only, and the public one beside it", async () => {
    const { json } = await succeed("keygen", "--role", "deploy", "--out", at("fresh"), "--json");
    expect(statSync(at("fresh")).mode & 0o777).toBe(0o600);
    expect(json).toMatchObject({ ok: true, role: "deploy", encrypted: false, files: [at("fresh"), at("fresh.pub")] });
    expect(readFileSync(at("fresh.pub"), "utf8")).not.toContain("seed");
  });

  test("overwrites nothing, neither the private nor the public file", async () => {
    const before = readFileSync(at("root1"), "utf8");
    const { code, err } = await run("keygen", "--role", "root", "--out", at("root1"));
    expect(code).toBe(1);
    expect(err).toContain("exists already and is not overwritten");
    expect(readFileSync(at("root1"), "utf8")).toBe(before);
    writeFileSync(at("half.pub"), "");
    expect((await run("keygen", "--role", "root", "--out", at("half"))).code).toBe(1);
    expect(existsSync(at("half"))).toBe(false);
    writeFileSync(at("other-half"), "");
    expect((await run("keygen", "--role", "root", "--out", at("other-half"))).code).toBe(1);
    expect(existsSync(at("other-half.pub"))).toBe(false);
  });

  test("encrypts with a passphrase; signing needs the same one", async () => {
    writeFileSync(at("right"), "correct horse battery\n");
    writeFileSync(at("wrong"), "incorrect horse battery\n");
    const { json } = await succeed(
      "keygen",
      "--role",
      "root",
      "--out",
      at("locked"),
      "--passphrase-file",
      at("right"),
      "--json",
    );
    expect(json["encrypted"]).toBe(true);
    expect(readFileSync(at("locked"), "utf8")).not.toContain('"seed"');
    const sign = ["init", ...allPublic(), "--public", at("locked.pub"), ...keyFiles("locked"), "--out"];
    const wrong = await run("root", ...sign, at("locked-root"), "--passphrase-file", at("wrong"));
    expect(wrong.err).toContain("the passphrase is wrong");
    expect(wrong.code).toBe(1);
    expect((await run("root", ...sign, at("locked-root"))).code).toBe(2);
    expect(existsSync(at("locked-root"))).toBe(false);
    await succeed("root", ...sign, at("locked-root"), "--passphrase-file", at("right"));
  });

  test.each([
    [["--out", "x"], "--role is missing"],
    [["--role", "root"], "--out is missing"],
    [["--role", "king", "--out", "x"], "there is no role king; the roles are root, release, deploy, operator"],
    [["--role", "root", "--out", "x", "--force"], "--force"],
    [["extra", "--role", "root", "--out", "x"], "options only"],
  ])("says what is wrong with %j, exit code 2", async (args, message) => {
    const { code, err } = await run("keygen", ...args);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });

  test("refuses short passphrases", async () => {
    writeFileSync(at("short"), "secret\n");
    const { code, err } = await run("keygen", "--role", "root", "--out", at("weak"), "--passphrase-file", at("short"));
    expect(code).toBe(2);
    expect(err).toContain("12 characters or more");
  });
});

describe("key files", () => {
  const sign = (name: string) => run("root", "init", ...allPublic(), ...keyFiles(name), "--out", at(`by-${name}`));

  test("that others can read are refused, with the command that mends it", async () => {
    writeFileSync(at("open"), readFileSync(at("root2")));
    chmodSync(at("open"), 0o640);
    const { code, err } = await sign("open");
    expect(code).toBe(1);
    expect(err).toContain(`run: chmod 600 ${at("open")}`);
  });

  test.each([
    ["not JSON", () => "-----BEGIN PRIVATE KEY-----", "it is not JSON"],
    ["another format", (text: string) => text.replace('"format": 1', '"format": 2'), "its format is not 1"],
    ["another role", (text: string) => text.replace('"root"', '"emperor"'), "its role is not one of"],
    [
      "a changed public key",
      (text: string) => text.replace(/"publicKey": ".*"/, `"publicKey": "${"0".repeat(64)}"`),
      "not a sound",
    ],
    ["another seed", (text: string) => text.replace(/"seed": ".*"/, `"seed": "${"1".repeat(64)}"`), "does not belong"],
    ["a short seed", (text: string) => text.replace(/"seed": ".*"/, '"seed": "11"'), "64 hex digits"],
  ])("with %s are refused without a word of their content", async (name, change, message) => {
    const text = readFileSync(at("root1"), "utf8");
    const file = name.replaceAll(" ", "-");
    writeFileSync(at(file), change(text), { mode: 0o600 });
    const { code, err } = await sign(file);
    expect(code).toBe(1);
    expect(err).toContain(message);
    expect(err).not.toContain((JSON.parse(text) as { seed: string }).seed.slice(0, 16));
  });

  test("of another role can't sign a root", async () => {
    const { code, err } = await sign("deploy");
    expect(code).toBe(1);
    expect(err).toContain("E_KEY");
    expect(err).toContain("bulkhead keygen --role root");
  });
});

describe("the root ceremony", () => {
  test("passes one file over two offline machines, each adding its signature", async () => {
    const unsigned = await succeed("root", "init", ...allPublic(), "--out", at("r1-unsigned"), "--json");
    expect(unsigned.json).toMatchObject({
      version: 1,
      complete: false,
      missing: ["2 more of the root keys"],
      signers: [],
    });
    const once = await succeed(
      "root",
      "sign",
      at("r1-unsigned"),
      ...keyFiles("root1"),
      "--out",
      at("r1-once"),
      "--json",
    );
    expect(once.json).toMatchObject({ complete: false, missing: ["1 more of the root keys"] });
    expect(() => initialTrust(new Uint8Array(readFileSync(at("r1-once"))))).toThrow("too few root keys");
    const twice = await succeed("root", "sign", at("r1-once"), ...keyFiles("root3"), "--out", at("r1"), "--json");
    expect(twice.json).toMatchObject({ complete: true, missing: [] });
    const trust = initialTrust(new Uint8Array(readFileSync(at("r1"))));
    expect(trust.root.roles.root).toMatchObject({ threshold: 2 });
    expect((await succeed("root", "show", at("r1"))).out).toContain("root: 2 of 3");
  });

  test("does not let one key sign twice", async () => {
    const { code, err } = await run("root", "sign", at("r1"), ...keyFiles("root3"), "--out", at("r1-again"));
    expect(code).toBe(1);
    expect(err).toContain("already signed");
  });

  test("rotates a root key: the old and the new threshold sign", async () => {
    await succeed("keygen", "--role", "root", "--out", at("root4"));
    const change = ["--from", at("r1"), "--remove", idOf("root1"), "--add", at("root4.pub"), "--floor", "threshold=4"];
    const half = await succeed("root", "rotate", ...change, ...keyFiles("root4"), "--out", at("r2-half"), "--json");
    expect(half.json).toMatchObject({
      version: 2,
      missing: ["2 more of the old root keys", "1 more of the new root keys"],
    });
    const next = [...keyFiles("root2", "root3"), "--from", at("r1"), "--out", at("r2"), "--json"];
    const whole = await succeed("root", "sign", at("r2-half"), ...next);
    expect(whole.json).toMatchObject({ complete: true, floors: { threshold: 4 } });
    expect((await succeed("verify", at("r2"), "--root", at("r1"), "--json")).json).toMatchObject({
      ok: true,
      version: 2,
    });
  });

  test("revokes a key, which is then in no role, and a digest", async () => {
    await succeed("keygen", "--role", "deploy", "--out", at("deploy2"));
    const digest = toHex(sha256(wasm));
    const { json } = await succeed(
      ...(["root", "revoke", "--from", at("r2"), "--key-id", idOf("deploy"), "--digest", digest] as const),
      ...["--add", at("deploy2.pub"), ...keyFiles("root2", "root3"), "--out", at("r3"), "--json"],
    );
    expect(json).toMatchObject({ complete: true, revokedKeys: [idOf("deploy")], revokedDigests: [digest] });
    const roles = json["roles"] as { role: string; keys: string[] }[];
    expect(roles.find(({ role }) => role === "deploy")?.keys).toStrictEqual([idOf("deploy2")]);
  });

  test("refuses a key in two roles", async () => {
    const stolen = JSON.parse(readFileSync(at("deploy.pub"), "utf8")) as Record<string, unknown>;
    writeFileSync(at("twice.pub"), JSON.stringify({ ...stolen, role: "operator" }));
    const { code, err } = await run("root", "init", ...allPublic(), ...publicFiles("twice"), "--out", at("two-roles"));
    expect(code).toBe(1);
    expect(err).toContain("E_KEY");
    expect(err).toContain("give each role keys of its own");
  });

  test.each([
    [["init"], "no root key: make one with bulkhead keygen --role root"],
    [["rotate"], "--from is missing"],
    [["revoke", "--from", "r1"], "--key-id or --digest"],
    [["revoke", "--from", "r1", "--key-id", "abc"], "32 hexadecimal digits"],
    [["rotate", "--from", "r1", "--remove", "00"], "bulkhead root show lists them"],
    [["rotate", "--from", "r2", "--floor", "threshold=3"], "is 4 already"],
    [["crown"], "init, rotate, revoke, sign, show or publish"],
  ])("says what is wrong with %j, exit code 2", async (args, message) => {
    const paths = args.map((arg) => (/^r\d$/.test(arg) ? at(arg) : arg));
    const { code, err } = await run("root", ...paths, "--out", at("never"));
    expect(err).toContain(message);
    expect(code).toBe(2);
    expect(existsSync(at("never"))).toBe(false);
  });
});

describe("sign and verify", () => {
  const facts = ["--sequence", "5", "--vendor", "bulkhead.example", "--class", "pi-gateway"];

  test("a module, whose claims are its manifest's, with the digest of its provenance", async () => {
    writeFileSync(at("build.json"), "{}");
    const { json } = await succeed(
      ...(["sign", "module", at("threshold.wasm"), ...facts, "--provenance", at("build.json")] as const),
      ...[...keyFiles("release"), "--out", at("threshold.env"), "--json"],
    );
    const bytes = new Uint8Array(readFileSync(at("threshold.env")));
    const envelope = decodeEnvelope(bytes, "module");
    expect(json).toMatchObject({ ok: true, kind: "module", name: "threshold", digest: toHex(envelope.digest) });
    expect(decodeModule(envelope.payload).claims).toMatchObject({
      abi: 1,
      version: "1.2.3",
      memoryPages: 4,
      stateSchema: 7,
      capabilities: [{ slot: "log", interface: "log", rights: ["write"] }],
      provenance: sha256(Buffer.from("{}")),
    });
    const trust = initialTrust(new Uint8Array(readFileSync(at("r1"))));
    expect(verifyModule(bytes, trust, { now: 0 }).wasm).toStrictEqual(wasm);
    const verified = await succeed("verify", at("threshold.env"), "--root", at("r1"), "--json");
    expect(verified.json).toMatchObject({ ok: true, kind: "module", document: { name: "threshold", sequence: 5 } });
  });

  test("a configuration, and a plan that names it and the module", async () => {
    writeFileSync(at("gateway.yaml"), "gateway:\n  id: gw-7\n");
    await succeed(
      "sign",
      "configuration",
      at("gateway.yaml"),
      "--gateway",
      "gw-7",
      "--version",
      "1",
      ...keyFiles("operator"),
      "--out",
      at("configuration.env"),
    );
    const plan = ["--gateway", "gw-7", "--version", "1", "--root-version", "1", "--module", at("threshold.env")];
    await succeed(
      "sign",
      "plan",
      ...plan,
      "--configuration",
      at("configuration.env"),
      ...keyFiles("deploy"),
      "--out",
      at("plan.env"),
    );
    const { out } = await succeed("verify", at("plan.env"), "--root", at("r1"));
    expect(out).toContain("gateway       gw-7");
    expect(out).toContain("threshold 5");
    await succeed("verify", at("configuration.env"), "--root", at("r1"));
  });

  test("verify fails with the code that a gateway gives, also as JSON", async () => {
    const other = await run("verify", at("plan.env"), "--root", at("r1"), "--gateway", "gw-8", "--json");
    expect(other.code).toBe(1);
    expect(other.json).toMatchObject({ ok: false, code: "E_TARGET" });
    const revoked = await run("verify", at("plan.env"), "--root", at("r3"), "--json");
    expect(revoked.json).toMatchObject({ ok: false, code: "E_REVOKED" });
    const damaged = readFileSync(at("plan.env"));
    damaged.writeUInt8(damaged.readUInt8(damaged.length - 1) ^ 1, damaged.length - 1);
    writeFileSync(at("damaged.env"), damaged);
    expect((await run("verify", at("damaged.env"), "--root", at("r1"))).code).toBe(1);
  });

  test("a file that is missing, or no module, is said by name", async () => {
    const missing = await run("verify", at("nothing"), "--root", at("r1"));
    expect(missing.err).toContain(`${at("nothing")} does not exist`);
    writeFileSync(at("text.wasm"), "hello");
    const broken = await run("sign", "module", at("text.wasm"), ...facts, ...keyFiles("release"), "--out", at("x"));
    expect(broken.err).toContain("E_WASM");
    expect(broken.code).toBe(1);
  });

  test("a configuration that is no text is said to be none", async () => {
    writeFileSync(at("binary.yaml"), Uint8Array.of(0x61, 0xff));
    const args = ["configuration", at("binary.yaml"), "--gateway", "g", "--version", "1", "--out", at("x")];
    const { code, err } = await run("sign", ...args, ...keyFiles("operator"));
    expect(code).toBe(1);
    expect(err).toContain("is not UTF-8; save it as UTF-8 text");
  });

  test("numbers and dates that can't be are refused before anything is written", async () => {
    const plan = [
      "plan",
      "--gateway",
      "g",
      "--version",
      "1",
      "--root-version",
      "1",
      ...keyFiles("deploy"),
      "--out",
      at("no"),
    ];
    expect((await run("sign", ...plan, "--version", "-1")).code).toBe(2);
    expect((await run("sign", ...plan, "--version", "1e3")).err).toContain("--version takes a whole number");
    expect((await run("sign", ...plan, "--version", "4294967296")).err).toContain("an integer from 0 to 4294967295");
    expect((await run("sign", ...plan, "--expires", "soon")).err).toContain("--expires takes a date such as");
    expect((await run("sign", ...plan, "--gateway", "a/b")).err).toContain("E_CBOR");
    expect(existsSync(at("no"))).toBe(false);
  });

  test("a plan names each module once, and is signed by a deploy key only", async () => {
    const plan = [
      "sign",
      "plan",
      "--gateway",
      "g",
      "--version",
      "1",
      "--root-version",
      "1",
      "--module",
      at("threshold.env"),
    ] as const;
    const twice = await run(...plan, "--module", at("threshold.env"), ...keyFiles("deploy"), "--out", at("x"));
    expect(twice.err).toContain("two envelopes are of module threshold");
    expect((await run(...plan, ...keyFiles("release"), "--out", at("x"))).err).toContain("E_KEY");
    expect((await run(...plan, "--out", at("x"))).err).toContain("--key is missing");
  });
});

test.each(commands.map((each) => [each.name, each] as const))("%s explains itself with --help", async (name, each) => {
  const { out } = await succeed(name, "--help");
  expect(out).toContain(`Usage: bulkhead ${name}`);
  expect(out).toContain("--json");
  expect(each.summary).not.toBe("");
});
