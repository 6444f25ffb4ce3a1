/** Takes a module binary apart into its code and its manifest, for attacks that put them together differently. */
import { decodeCbor, expectMap, LIMITS, MANIFEST_SECTION } from "../../kernel/index.ts";

const CBOR_LIMITS = { maxBytes: LIMITS.manifestBytes, maxDepth: 6, maxItems: 2048, tags: [], deterministic: true };

export interface SplitModule {
  /** The binary without its section `bulkhead`. */
  readonly binary: Uint8Array;
  readonly manifest: ReadonlyMap<string, unknown>;
}

/** @throws Error where there is no manifest: the binary was made by this project's build. */
export function splitManifest(wasm: Uint8Array): SplitModule {
  const header = 8;
  let at = header;
  while (at < wasm.length) {
    const id = wasm[at] ?? 0;
    const size = readLeb128(wasm, at + 1);
    const end = size.next + size.value;
    if (id === 0) {
      const name = readLeb128(wasm, size.next);
      const content = name.next + name.value;
      if (new TextDecoder().decode(wasm.subarray(name.next, content)) === MANIFEST_SECTION) {
        const manifest = expectMap(decodeCbor(wasm.slice(content, end), CBOR_LIMITS), "manifest");
        const binary = Buffer.concat([wasm.subarray(0, at), wasm.subarray(end)]);
        // SAFETY: a manifest has text keys only; admission checks it.
        return { binary, manifest: manifest as unknown as ReadonlyMap<string, unknown> };
      }
    }
    at = end;
  }
  throw new Error("the binary has no manifest");
}

function readLeb128(bytes: Uint8Array, start: number): { value: number; next: number } {
  let value = 0;
  let shift = 0;
  let at = start;
  for (;;) {
    const byte = bytes[at++] ?? 0;
    value += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return { value, next: at };
    shift += 7;
  }
}
