/** Development keys: what marks their root, and that a root in earnest is neither used nor written over. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { decodeEnvelope, decodeRoot, encodeRoot } from "../../gateway/envelopes/index.ts";
import type { RootDocument } from "../../gateway/envelopes/index.ts";
import { decodeCbor, encodeCbor, Refusal } from "../../kernel/index.ts";
import type { CborInput } from "../../kernel/index.ts";
import { developmentKeys } from "../../tools/build/development.ts";
import { signRoot } from "../../tools/keys/index.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-keys-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function rootOf(): RootDocument {
  const bytes = new Uint8Array(readFileSync(join(folder, "root.envelope")));
  return decodeRoot(decodeEnvelope(bytes, "root").payload);
}

describe("a development root", () => {
  it("is marked, and made once", async () => {
    const keys = await developmentKeys(folder);
    expect(rootOf().development).toBe(true);
    const again = await developmentKeys(folder);
    expect(again.release.publicKey).toEqual(keys.release.publicKey);
  });

  it("is the only kind under which the tools sign unasked: one in earnest stays as it is", async () => {
    const keys = await developmentKeys(folder);
    const earnest = signRoot({ ...rootOf(), development: undefined }, [keys.root]);
    writeFileSync(join(folder, "root.envelope"), earnest);
    rmSync(join(folder, "release.key"));
    const refusal: unknown = await developmentKeys(folder).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(Refusal);
    expect((refusal as Refusal).describe()).toMatch(/^E_KEY: .* is not a development root/);
    expect(new Uint8Array(readFileSync(join(folder, "root.envelope")))).toEqual(earnest);
  });

  it("bears its mark as true and nothing else", async () => {
    await developmentKeys(folder);
    const limits = { maxBytes: 4096, maxDepth: 8, maxItems: 256, tags: [], deterministic: true };
    const fields = decodeCbor(encodeRoot(rootOf()), limits) as ReadonlyMap<number, CborInput>;
    expect(fields.get(9)).toBe(true);
    for (const value of [false, null, 1, "true"]) {
      const forged = encodeCbor(new Map<number, CborInput>([...fields, [9, value]]));
      expect(() => decodeRoot(forged), String(value)).toThrow(Refusal);
    }
  });
});
