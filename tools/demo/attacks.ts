/** The demo's attacks: what somebody who reached the broker, and even stole the online deploy key, would try. */
import type { ModuleDocument } from "../../gateway/envelopes/index.ts";
import { encodeCbor, MANIFEST_SECTION } from "../../kernel/index.ts";
import { sha256 } from "../../gateway/envelopes/index.ts";
import { withCustomSection } from "../build/section.ts";
import { signForDevelopment } from "../build/development.ts";
import type { DevelopmentKeys } from "../build/development.ts";
import { describeModule, generateKey, signModule } from "../keys/index.ts";
import type { ReleasedModule } from "../push/release.ts";
import { readRelease } from "../push/release.ts";
import { splitManifest } from "./manifest.ts";

export interface Attack {
  readonly attempt: string;
  /** The code with which a gateway must refuse it. */
  readonly expected: string;
  readonly release: ReleasedModule;
}

export interface AttackMaterial {
  readonly keys: DevelopmentKeys;
  /** Binaries of `threshold` version 1 and 2, and of `uplink`. */
  readonly first: Uint8Array;
  readonly second: Uint8Array;
  readonly uplink: Uint8Array;
  readonly target: { readonly vendor: string; readonly class: string };
}

const FAR_SEQUENCE = 900_000_000;
const VERSION = "9.0.0";
const DAY_SECONDS = 86_400;

export function attacks(material: AttackMaterial): Attack[] {
  return [
    flippedBit(material),
    unknownKey(material),
    olderSequence(material),
    ungranted(material),
    undeclared(material),
  ];
}

/** A properly signed release whose bytes were changed on the way. */
function flippedBit({ keys, second, target }: AttackMaterial): Attack {
  // Another binary than the one that runs, or the gateway would have no need to fetch it.
  const binary = withCustomSection(second, "note", new TextEncoder().encode("not the one that runs"));
  const release = readRelease(signForDevelopment(binary, VERSION, keys.release, { ...target, sequence: FAR_SEQUENCE }));
  const wasm = release.wasm.slice();
  const middle = wasm.length >> 1;
  wasm[middle] = (wasm[middle] ?? 0) ^ 1;
  return { attempt: "a flipped bit in the wasm", expected: "E_DIGEST", release: { ...release, wasm } };
}

function unknownKey({ second, target }: AttackMaterial): Attack {
  const stranger = generateKey("release");
  const envelope = signForDevelopment(second, VERSION, stranger, { ...target, sequence: FAR_SEQUENCE + 1 });
  return { attempt: "a signature by an unknown key", expected: "E_KEY", release: readRelease(envelope) };
}

/** Version 1 again, with its genuine signature: a downgrade to what may have a known hole. */
function olderSequence({ keys, first, target }: AttackMaterial): Attack {
  const envelope = signForDevelopment(first, "1.0.0", keys.release, target);
  return { attempt: "an older sequence number", expected: "E_ROLLBACK", release: readRelease(envelope) };
}

/** A release that asks for a file, which no line of the operator's configuration gives it. */
function ungranted({ keys, second, target }: AttackMaterial): Attack {
  const { binary, manifest } = splitManifest(second);
  const slots = new Map(manifest.get("slots") as ReadonlyMap<string, unknown>);
  slots.set(
    "secrets",
    new Map<string, unknown>([
      ["interface", "file"],
      ["rights", ["read"]],
      ["port", null],
    ]),
  );
  const greedy = new Map<string, unknown>([...manifest, ["slots", slots]]);
  const wasm = withCustomSection(binary, MANIFEST_SECTION, encodeCbor(greedy as Parameters<typeof encodeCbor>[0]));
  const envelope = signForDevelopment(wasm, VERSION, keys.release, { ...target, sequence: FAR_SEQUENCE + 2 });
  return { attempt: "a capability that was not granted", expected: "E_CAP", release: readRelease(envelope) };
}

/** The code of `uplink`, which imports MQTT, under the manifest of `threshold`, which has no word of it. */
function undeclared({ keys, second, uplink, target }: AttackMaterial): Attack {
  const { manifest } = splitManifest(second);
  const wasm = withCustomSection(
    splitManifest(uplink).binary,
    MANIFEST_SECTION,
    encodeCbor(manifest as Parameters<typeof encodeCbor>[0]),
  );
  const released = Math.floor(Date.now() / 1000);
  const honest = describeModule(second, {
    ...target,
    sequence: FAR_SEQUENCE + 3,
    released,
    expires: released + DAY_SECONDS,
  });
  const document: ModuleDocument = { ...honest, wasmDigest: sha256(wasm), wasmSize: wasm.length };
  const release = readRelease(signModule(document, [keys.release], wasm));
  return { attempt: "imports beyond the manifest", expected: "E_CAP", release };
}
