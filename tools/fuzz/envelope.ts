/** Fuzzes the verification of envelopes and the parsers of their payloads: coded refusals only, and soon. */

import type { TrustState } from "../../gateway/envelopes/index.ts";
import { compareBytes, Refusal } from "../../kernel/index.ts";
import {
  classId,
  decodeConfiguration,
  decodeEnvelope,
  decodeModule,
  decodePlan,
  decodeRoot,
  encodeConfiguration,
  encodeModule,
  encodePlan,
  encodeRoot,
  initialTrust,
  sha256,
  vendorId,
  verifyConfiguration,
  verifyModule,
  verifyPlan,
  verifyRoot,
} from "../../gateway/envelopes/index.ts";
import type { SigningKey } from "../keys/index.ts";
import { keyFromSeed, signConfiguration, signModule, signPlan, signRoot } from "../keys/index.ts";
import { mutate } from "./mutate.ts";
import { Random } from "./random.ts";

/** No input may take longer; one that seems to is tried again before it counts. */
const SLOW_MILLISECONDS = 5;
/** Above this it is timed again: other processes and the garbage collector take their time in the middle of one. */
const DOUBTFUL_MILLISECONDS = 2;
const RETRIES = 5;
const PROGRESS_EVERY = 20_000;
const FAILURES_KEPT = 20;

export interface FuzzOptions {
  /** How many mutated documents to try. */
  readonly count: number;
  readonly seed: number;
  readonly onProgress?: (done: number, count: number) => void;
}

export interface FuzzReport {
  readonly count: number;
  readonly seed: number;
  readonly seconds: number;
  /** Mutations that gave the very bytes of a valid document again, or a payload that is one of its own kind. */
  readonly accepted: number;
  readonly refused: Readonly<Record<string, number>>;
  /** The longest that an input took, best of its tries, in milliseconds. */
  readonly slowestMilliseconds: number;
  /** What must not be: an uncoded error, an acceptance that is none, a slow input. Hexadecimal inputs, the first 20. */
  readonly failures: readonly string[];
}

/** A parser under test: `accept` throws, or says whether accepting these bytes was right. */
interface Target {
  readonly name: string;
  readonly valid: Uint8Array;
  readonly accept: (bytes: Uint8Array) => boolean;
}

/** Runs `count` mutations; the same seed gives the same cases. */
export function fuzzEnvelope({ count, seed, onProgress }: FuzzOptions): FuzzReport {
  const targets = makeTargets();
  const random = new Random(seed);
  const run = new Run();
  const start = performance.now();
  for (const { accept, valid } of targets) accept(valid);
  for (let done = 0; done < count; done++) {
    const target = random.pick(targets);
    run.try(target, mutate(target.valid, random.pick(targets).valid, random));
    if ((done + 1) % PROGRESS_EVERY === 0) onProgress?.(done + 1, count);
  }
  return { count, seed, seconds: (performance.now() - start) / 1000, ...run.report() };
}

class Run {
  readonly #refused = new Map<string, number>();
  readonly #failures: string[] = [];
  #accepted = 0;
  #slowest = 0;

  try(target: Target, bytes: Uint8Array): void {
    const milliseconds = this.#time(target, bytes);
    if (milliseconds > SLOW_MILLISECONDS) this.#fail(target, `took ${milliseconds.toFixed(1)} ms`, bytes);
    this.#slowest = Math.max(this.#slowest, milliseconds);
  }

  report(): Pick<FuzzReport, "accepted" | "refused" | "slowestMilliseconds" | "failures"> {
    const refused = Object.fromEntries([...this.#refused].sort());
    return { accepted: this.#accepted, refused, slowestMilliseconds: this.#slowest, failures: this.#failures };
  }

  /** Milliseconds that the input takes: of the clock, or where that is much, the least of this thread's own in a few tries. */
  #time(target: Target, bytes: Uint8Array): number {
    const start = performance.now();
    this.#judge(target, bytes);
    let best = performance.now() - start;
    for (let left = RETRIES; left > 0 && best > DOUBTFUL_MILLISECONDS; left--) {
      const before = process.threadCpuUsage();
      outcomeOf(target, bytes);
      const { user, system } = process.threadCpuUsage(before);
      best = Math.min(best, (user + system) / 1000);
    }
    return best;
  }

  #judge(target: Target, bytes: Uint8Array): void {
    const outcome = outcomeOf(target, bytes);
    if (outcome === true) this.#accepted++;
    else if (outcome === false) this.#fail(target, "was accepted", bytes);
    else if (outcome instanceof Refusal) this.#refused.set(outcome.code, (this.#refused.get(outcome.code) ?? 0) + 1);
    else this.#fail(target, `threw ${String(outcome)}`, bytes);
  }

  #fail(target: Target, what: string, bytes: Uint8Array): void {
    if (this.#failures.length >= FAILURES_KEPT) return;
    this.#failures.push(`${target.name} ${what}: ${Buffer.from(bytes).toString("hex")}`);
  }
}

/** True or false as `accept` says, or what it threw. */
function outcomeOf(target: Target, bytes: Uint8Array): unknown {
  try {
    return target.accept(bytes);
  } catch (error) {
    return error;
  }
}

const NOW = 1_767_225_600;
const YEAR = 365 * 86_400;
const GATEWAY = "gw-1";

/** Whole envelopes against the verification, and payloads against their parsers, which only signed ones reach. */
function makeTargets(): readonly Target[] {
  const documents = makeDocuments();
  const { trust } = documents;
  const options = { now: NOW, gatewayId: GATEWAY };
  return [
    envelopeTarget("plan", documents.plan, (bytes) => verifyPlan(bytes, trust, options)),
    envelopeTarget("module", documents.module, (bytes) => verifyModule(bytes, trust, options)),
    envelopeTarget("configuration", documents.configuration, (bytes) => verifyConfiguration(bytes, trust, options)),
    envelopeTarget("root", documents.root, (bytes) => verifyRoot(bytes, trust)),
    payloadTarget("plan", documents.plan, decodePlan, encodePlan),
    payloadTarget("module", documents.module, decodeModule, encodeModule),
    payloadTarget("configuration", documents.configuration, decodeConfiguration, encodeConfiguration),
    payloadTarget("root", documents.root, decodeRoot, encodeRoot),
  ];
}

type Kind = "plan" | "module" | "configuration" | "root";

/** An envelope is accepted rightly only if it is byte for byte the one that was signed. */
function envelopeTarget(kind: Kind, valid: Uint8Array, verify: (bytes: Uint8Array) => unknown): Target {
  const accept = (bytes: Uint8Array) => {
    verify(bytes);
    return compareBytes(bytes, valid) === 0;
  };
  return { name: `${kind} envelope`, valid, accept };
}

/** A payload is accepted rightly only if it is the one encoding of what was read from it. */
function payloadTarget<Document>(
  kind: Kind,
  envelope: Uint8Array,
  decode: (payload: Uint8Array) => Document,
  encode: (document: Document) => Uint8Array,
): Target {
  const accept = (bytes: Uint8Array) => compareBytes(encode(decode(bytes)), bytes) === 0;
  return { name: `${kind} payload`, valid: decodeEnvelope(envelope, kind).payload, accept };
}

interface FuzzDocuments {
  readonly trust: TrustState;
  readonly plan: Uint8Array;
  readonly module: Uint8Array;
  readonly configuration: Uint8Array;
  readonly root: Uint8Array;
}

function makeDocuments(): FuzzDocuments {
  const key = (role: SigningKey["role"], number: number) => keyFromSeed(role, new Uint8Array(32).fill(number));
  const rootKeys = [key("root", 1), key("root", 2), key("root", 3)];
  const [release, deploy, operator] = [key("release", 4), key("deploy", 5), key("operator", 6)];
  const one = ({ publicKey }: SigningKey) => ({ threshold: 1, keys: [publicKey] });
  const keys = rootKeys.map(({ publicKey }) => publicKey).sort(compareBytes);
  const root = {
    version: 1,
    issued: NOW - YEAR,
    expires: NOW + YEAR,
    roles: { root: { threshold: 2, keys }, release: one(release), deploy: one(deploy), operator: one(operator) },
    floors: new Map([["threshold", 3]]),
    revokedKeys: [key("deploy", 9).id],
    revokedDigests: [sha256(new Uint8Array(1))],
  };
  const vendor = vendorId("bulkhead.example");
  const wasm = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
  const claims = {
    abi: 1,
    version: "1.2.3",
    capabilities: [{ slot: "log", interface: "log", rights: ["write"] }],
    memoryPages: 4,
    released: NOW,
    expires: NOW + YEAR,
    stateSchema: 1,
    provenance: sha256(wasm),
  };
  const module = {
    ...{ name: "threshold", sequence: 5, vendor, class: classId(vendor, "pi") },
    ...{ wasmDigest: sha256(wasm), wasmSize: wasm.length, claims },
  };
  const plan = {
    ...{ gateway: GATEWAY, version: 3, issued: NOW, expires: NOW + YEAR, rootVersion: 1 },
    ...{ modules: new Map([["threshold", { sequence: 5, digest: sha256(vendor) }]]) },
    ...{ configuration: sha256(wasm), rollout: "wave-1" },
  };
  const configuration = { target: GATEWAY, version: 1, issued: NOW, content: "gateway:\n  id: gw-1\n" };
  return {
    trust: initialTrust(signRoot(root, rootKeys.slice(0, 2))),
    plan: signPlan(plan, [deploy]),
    module: signModule(module, [release], wasm),
    configuration: signConfiguration(configuration, [operator]),
    root: signRoot({ ...root, version: 2 }, rootKeys.slice(0, 2)),
  };
}
