/** docs/envelopes.md and docs/envelopes.cddl say what the code does; tools that are not ours read and verify what we sign. */

import { spawnSync } from "node:child_process";
import { createHash, createPublicKey, verify as verifyWithNode } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Sign1 } from "@auth0/cose";
import { describe, expect, test } from "vitest";
import { decodeCbor, encodeCbor, expectArray, expectBytes, expectMap, expectTag } from "../../kernel/index.ts";
import {
  decodeEnvelope,
  envelopeToBeSigned,
  signedDigest,
  toHex,
  TRUST_LIMITS,
  verifyEd25519,
} from "../../gateway/envelopes/index.ts";
import type { DocumentKind } from "../../gateway/envelopes/index.ts";
import { signModule } from "../../tools/keys/sign.ts";
import { annotate } from "./annotate.ts";
import {
  configurationBytes,
  deploy,
  key,
  moduleBytes,
  moduleDocument,
  moduleWithWasm,
  operator,
  planBytes,
  release,
  rootBytes,
} from "./fixture.ts";

/** The system's own binary, where there is one. */
const OPENSSL = "openssl";
const page = readFileSync(new URL("../../docs/envelopes.md", import.meta.url), "utf8");
const cddl = readFileSync(new URL("../../docs/envelopes.cddl", import.meta.url), "utf8");

const documents: readonly (readonly [DocumentKind, Uint8Array, ReturnType<typeof key>])[] = [
  ["module", moduleBytes, release],
  ["module", moduleWithWasm, release],
  ["plan", planBytes, deploy],
  ["configuration", configurationBytes, operator],
  ["root", rootBytes, key("root", 1)],
];

/** The parts of an envelope as any CBOR tool sees them. */
function open(bytes: Uint8Array): {
  readonly payload: Uint8Array;
  readonly digest: Uint8Array;
  readonly blocks: Uint8Array[];
} {
  const limits = { maxBytes: TRUST_LIMITS.envelopeBytes, maxDepth: 4, maxItems: 64, tags: [107], deterministic: true };
  const map = expectMap(expectTag(decodeCbor(bytes, limits), 107, "envelope"), "envelope");
  const list = expectArray(decodeCbor(expectBytes(map.get(2), "authentication"), limits), "authentication");
  const [digest, ...blocks] = list.map((item) => expectBytes(item, "part"));
  return { payload: expectBytes(map.get(3), "payload"), digest: digest ?? new Uint8Array(), blocks };
}

describe("the annotated example of docs/envelopes.md", () => {
  const labels = {
    tag107: "SUIT envelope",
    "tag107/2": "authentication",
    "tag107/2/0": "digest of the payload",
    "tag107/2/0/0": "SHA-256",
    "tag107/2/1": "signature",
    "tag107/2/1/tag18": "COSE_Sign1",
    "tag107/2/1/tag18/0": "protected header",
    "tag107/2/1/tag18/0/1": "algorithm: Ed25519",
    "tag107/2/1/tag18/0/3": "content type",
    "tag107/2/1/tag18/0/4": "key id",
    "tag107/2/1/tag18/1": "unprotected header",
    "tag107/2/1/tag18/2": "detached payload",
    "tag107/2/1/tag18/3": "Ed25519 signature",
    "tag107/3": "payload: the module document",
    "tag107/3/1": "manifest version",
    "tag107/3/2": "sequence number",
    "tag107/3/3": "common",
    "tag107/3/3/2": "components",
    "tag107/3/3/2/0/0": "module name: threshold",
    "tag107/3/3/4": "shared sequence",
    "tag107/3/3/4/0": "override parameters",
    "tag107/3/3/4/1/1": "vendor",
    "tag107/3/3/4/1/2": "class",
    "tag107/3/3/4/1/3": "digest of the wasm",
    "tag107/3/3/4/1/3/0": "SHA-256",
    "tag107/3/3/4/1/14": "size of the wasm",
    "tag107/3/3/4/2": "condition: vendor",
    "tag107/3/3/4/3": "report all",
    "tag107/3/3/4/4": "condition: class",
    "tag107/3/3/4/5": "report all",
    "tag107/3/7": "validate",
    "tag107/3/7/0": "condition: image match",
    "tag107/3/7/1": "report all",
    "tag107/3/20": "install",
    "tag107/3/20/0": "override parameters",
    "tag107/3/20/1/21": "uri",
    "tag107/3/20/2": "fetch",
    "tag107/3/20/3": "report all",
    "tag107/3/20/4": "condition: image match",
    "tag107/3/20/5": "report all",
    "tag107/3/-65537": "claims",
    "tag107/3/-65537/1": "ABI",
    "tag107/3/-65537/2": "semantic version",
    "tag107/3/-65537/3": "capabilities asked for",
    "tag107/3/-65537/4": "memory pages",
    "tag107/3/-65537/5": "released 2025-12-31T00:00:00Z",
    "tag107/3/-65537/6": "expires 2026-04-01T00:00:00Z",
    "tag107/3/-65537/7": "state schema",
  };

  test("is this module envelope, byte for byte", () => {
    const expected = annotate(signModule(moduleDocument(), [release]), labels);
    const block = /```text\n(?<block>[^`]*)```/.exec(page)?.groups?.["block"];
    expect(block?.trimEnd()).toBe(expected);
  });

  test("has every byte in its hexadecimal column", () => {
    const block = /```text\n(?<block>[^`]*)```/.exec(page)?.groups?.["block"] ?? "";
    const hex = block.split("\n").map((line) => /^\s*\d+\s+([0-9a-f]+)/.exec(line)?.[1] ?? "");
    expect(hex.join("")).toBe(toHex(moduleBytes));
  });

  test("is of the size that the page says, and so is a root with two signatures", () => {
    expect(page).toContain(`${moduleBytes.length} bytes`);
    expect(page).toContain(`${rootBytes.length} bytes`);
  });
});

describe("docs/envelopes.cddl", () => {
  test("names the constants of the code", () => {
    const { payload } = decodeEnvelope(moduleBytes, "module");
    const map = expectMap(
      decodeCbor(payload, { maxBytes: 4096, maxDepth: 8, maxItems: 64, tags: [], deterministic: true }),
      "m",
    );
    expect(cddl).toContain(`7 => h'${toHex(expectBytes(map.get(7), "validate"))}'`);
    expect(cddl).toContain(`20 => h'${toHex(expectBytes(map.get(20), "install"))}'`);
    for (const name of map.keys()) expect(cddl).toContain(`  ${String(name)} => `);
  });

  test("is in the page by reference, and every rule it uses is defined", () => {
    expect(page).toContain("envelopes.cddl");
    const text = cddl
      .replaceAll(/;.*$/gm, "")
      .replaceAll(/"[^"]*"/g, "")
      .replaceAll(/h'[^']*'/g, "");
    const defined = new Set(Array.from(text.matchAll(/^([a-z][a-z0-9-]*) = /gm), ([, name]) => name));
    const members = /\b(?:slot|interface|rights|sequence|envelope|threshold|keys): /g;
    const used = text.replaceAll(members, "").matchAll(/(?<![.\w-])[a-z][a-z0-9]*(?:-[a-z0-9]+)*\b/g);
    const unknown = Array.from(used, ([name]) => name).filter(
      (name) => !defined.has(name) && !["bstr", "tstr", "null", "true"].includes(name),
    );
    expect(unknown).toStrictEqual([]);
  });
});

describe("the digest", () => {
  test("is that of draft-ietf-suit-manifest, appendix B, example 0", () => {
    const parameters = new Map<number, Uint8Array | number>([
      [1, Buffer.from("fa6b4a53d5ad5fdfbe9de663e4d41ffe", "hex")],
      [2, Buffer.from("1492af1425695e48bf429b2d51f2ab45", "hex")],
      [3, encodeCbor([-16, Buffer.from("00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210", "hex")])],
      [14, 34_768],
    ]);
    const common = new Map<number, Uint8Array | Uint8Array[][]>([
      [2, [[Uint8Array.of(0)]]],
      [4, encodeCbor([20, parameters, 1, 15, 2, 15])],
    ]);
    const manifest = new Map<number, number | Uint8Array>([
      [1, 1],
      [2, 0],
      [3, encodeCbor(common)],
      [7, encodeCbor([3, 15])],
      [9, encodeCbor([23, 2])],
    ]);
    const expected = "6658ea560262696dd1f13b782239a064da7c6c5cbaf52fded428a6fc83c7e5af";
    expect(toHex(signedDigest(encodeCbor(manifest)))).toBe(`822f5820${expected}`);
  });
});

describe.each(documents)("a %s envelope", (kind, bytes, signer) => {
  const { payload, digest, blocks } = open(bytes);
  const jwk = { kty: "OKP", crv: "Ed25519", x: Buffer.from(signer.publicKey).toString("base64url") };
  const publicKey = createPublicKey({ key: jwk, format: "jwk" });
  const message = envelopeToBeSigned(kind, payload, signer.id);

  test("verifies with node:crypto alone", () => {
    const { signatures } = decodeEnvelope(bytes, kind);
    const ours = signatures.find(({ keyId }) => toHex(keyId) === toHex(signer.id));
    expect(verifyWithNode(null, message, publicKey, ours?.signature ?? new Uint8Array())).toBe(true);
    expect(verifyEd25519(ours?.signature ?? new Uint8Array(), message, signer.publicKey)).toBe(true);
    const head = createHash("sha256").update(encodeCbor(payload)).digest("hex");
    expect(toHex(digest)).toBe(`822f5820${head}`);
  });

  test("is read, and its signature verified, by a COSE library that is not ours", async () => {
    const sign1 = blocks
      .map((block) => Sign1.decode(block))
      .find(({ kid }) => toHex(kid ?? new Uint8Array()) === toHex(signer.id));
    expect(sign1?.alg).toBe(-19);
    expect(sign1?.protectedHeaders.get(3)).toBe(`application/vnd.bulkhead.${kind}+cbor`);
    // The library knows Ed25519 by its older number, EdDSA (-8); the header that is signed stays as it is.
    if (sign1 !== undefined) Object.defineProperty(sign1, "alg", { value: -8 });
    await expect(sign1?.verify(publicKey, { detachedPayload: digest })).resolves.toBeUndefined();
    await expect(
      sign1?.verify(publicKey, { detachedPayload: encodeCbor([-16, new Uint8Array(32)]) }),
    ).rejects.toThrow();
  });

  const hasOpenssl = spawnSync(OPENSSL, ["version"]).status === 0;
  test.skipIf(!hasOpenssl)("verifies with the openssl binary", () => {
    const folder = mkdtempSync(join(tmpdir(), "bulkhead-openssl-"));
    const file = (name: string, content: string | Uint8Array): string => {
      writeFileSync(join(folder, name), content);
      return join(folder, name);
    };
    try {
      const { signatures } = decodeEnvelope(bytes, kind);
      const ours = signatures.find(({ keyId }) => toHex(keyId) === toHex(signer.id));
      const pem = file("key.pem", publicKey.export({ type: "spki", format: "pem" }));
      const verify = (signed: Uint8Array) => {
        const paths = ["-sigfile", file("signature", ours?.signature ?? ""), "-in", file("message", signed)];
        return spawnSync(OPENSSL, ["pkeyutl", "-verify", "-pubin", "-inkey", pem, "-rawin", ...paths]).status;
      };
      expect(verify(message)).toBe(0);
      expect(verify(Uint8Array.of(...message, 0))).not.toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
