/** Signed modules on their way to the broker: taken apart into envelope and blocks, published, and cleared again. */

import { Refusal } from "../../kernel/index.ts";
import { decodeEnvelope, decodeModule, verifyWasm } from "../../gateway/envelopes/index.ts";
import { sha256Hex } from "../../gateway/wire/digest.ts";
import { BLOCK_BYTES, blockCount, topics } from "../../gateway/wire/update-topics.ts";
import { withoutWasm } from "../keys/sign.ts";
import type { BrokerSession } from "./broker.ts";

/** A module as it goes over the broker. Nobody's signature has been checked: the gateway does that. */
export interface ReleasedModule {
  readonly name: string;
  readonly sequence: number;
  readonly version: string;
  /** Without the wasm. */
  readonly envelope: Uint8Array;
  /** Digest of the envelope, and of the wasm, in hexadecimal. */
  readonly digest: string;
  readonly blob: string;
  readonly wasm: Uint8Array;
}

/** @throws Refusal where the bytes are not a module envelope with its wasm */
export function readRelease(bytes: Uint8Array): ReleasedModule {
  const { payload, wasm } = decodeEnvelope(bytes, "module");
  const document = decodeModule(payload);
  if (wasm === undefined) {
    const hint = "sign the module together with its wasm";
    throw new Refusal("E_WASM", `the envelope of module ${document.name} does not carry the wasm`, { hint });
  }
  verifyWasm(document, wasm);
  const envelope = withoutWasm(bytes);
  const { name, sequence } = document;
  const blob = document.wasmDigest.toHex();
  return { name, sequence, version: document.claims.version, envelope, digest: sha256Hex(envelope), blob, wasm };
}

/** Blocks sent to the broker before its acknowledgements are waited for. */
const BLOCKS_AT_ONCE = 8;

/** Publishes envelope and blocks; `onBlock` is told how many of how many are acknowledged. */
export async function publishModule(
  session: Pick<BrokerSession, "retain">,
  module: ReleasedModule,
  onBlock: (done: number, of: number) => void,
): Promise<void> {
  const blocks = blockCount(module.wasm.length);
  let done = 0;
  for (let start = 0; start < blocks; start += BLOCKS_AT_ONCE) {
    const end = Math.min(start + BLOCKS_AT_ONCE, blocks);
    const sent: Promise<void>[] = [];
    for (let index = start; index < end; index++) {
      const block = module.wasm.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
      const retained = session.retain(topics.block(module.blob, index), block);
      sent.push(
        retained.then(() => {
          onBlock(++done, blocks);
        }),
      );
    }
    await Promise.all(sent);
  }
  await session.retain(topics.module(module.digest), module.envelope);
}

/** Takes the blocks away; the envelope stays, so that the set can still be verified by whoever reads the plan. */
export async function clearBlocks(session: Pick<BrokerSession, "clear">, module: ReleasedModule): Promise<void> {
  for (let index = 0; index < blockCount(module.wasm.length); index++) {
    await session.clear(topics.block(module.blob, index));
  }
}
