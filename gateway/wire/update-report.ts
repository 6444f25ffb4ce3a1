/** What a gateway reports about its updates: the payloads of `reported` and `event`, signed by the gateway's own key. */

import {
  decodeCbor,
  encodeCbor,
  expectArray,
  expectBoolean,
  expectBytes,
  expectKeys,
  expectMap,
  expectText,
  expectUnsigned,
  REFUSAL_CODES,
  Refusal,
} from "../../kernel/index.ts";
import { decodeSign1, keyIdOf, toBeSigned, toHex, verifyEd25519 } from "../envelopes/index.ts";
import type { CborInput, CborMap, CborValue, RefusalCode } from "../../kernel/index.ts";

/** The result of an attempt: `OK`, or what the refusal of that code means. */
export type ResultCode = "OK" | RefusalCode;

export function isResultCode(text: string): text is ResultCode {
  return text === "OK" || Object.hasOwn(REFUSAL_CODES, text);
}

/** The states of an attempt, in the order of a good one; the last three are ends. */
export const UPDATE_STATES = Object.freeze([
  "idle",
  "plan-verified",
  "manifest-verified",
  "policy-ok",
  "fetching",
  "digest-ok",
  "staged",
  "probation",
  "committed",
  "rolled-back",
  "rejected",
] as const);
export type UpdateState = (typeof UPDATE_STATES)[number];

export function isUpdateState(text: string): text is UpdateState {
  return (UPDATE_STATES as readonly string[]).includes(text);
}

/** A step of an attempt: the payload of `event`. */
export interface UpdateEvent {
  readonly gateway: string;
  /** Rises with every report of this gateway, restarts included. */
  readonly counter: number;
  /** SHA-256 of the plan envelope as it was received, in hexadecimal. */
  readonly plan: string;
  readonly state: UpdateState;
  /** Of the download, 0 to 100. */
  readonly percent: number;
  /** Undefined while the attempt goes on. */
  readonly code: ResultCode | undefined;
  /** A sentence for people; empty while nothing went wrong. */
  readonly reason: string;
  /** False where the gateway will try the same plan again by itself. */
  readonly final: boolean;
  /** How long callers waited for the swap; undefined where there was none. */
  readonly pauseMs: number | undefined;
}

/** One module that runs. */
export interface ReportedModule {
  readonly sequence: number;
  /** Digest of its envelope, in hexadecimal. */
  readonly envelope: string;
  readonly version: string;
}

/** What a gateway is: the payload of `reported`. */
export interface GatewayReport {
  readonly gateway: string;
  readonly counter: number;
  readonly rootVersion: number;
  /** The plan whose set runs, and its version; undefined for the set that came with the gateway. */
  readonly plan: { readonly digest: string; readonly version: number } | undefined;
  readonly configuration: string | undefined;
  readonly modules: ReadonlyMap<string, ReportedModule>;
  readonly last: { readonly code: ResultCode; readonly reason: string; readonly plan: string } | undefined;
}

export const REPORT_CONTENT_TYPES = Object.freeze({
  event: "application/vnd.bulkhead.event+cbor",
  reported: "application/vnd.bulkhead.reported+cbor",
} as const);

const limits = { maxBytes: 256 * 1024, maxDepth: 6, maxItems: 20_000, tags: [], deterministic: true };
const REASON_CHARACTERS = 400;

export function encodeEvent(event: UpdateEvent): Uint8Array {
  const map = new Map<string, CborInput>([
    ["gateway", event.gateway],
    ["counter", event.counter],
    ["plan", Uint8Array.fromHex(event.plan)],
    ["state", event.state],
    ["percent", event.percent],
    ["reason", event.reason.slice(0, REASON_CHARACTERS).toWellFormed()],
    ["final", event.final],
  ]);
  if (event.code !== undefined) map.set("code", event.code);
  if (event.pauseMs !== undefined) map.set("pauseMs", event.pauseMs);
  return encodeCbor(map);
}

/** @throws Refusal E_CBOR */
export function decodeEvent(bytes: Uint8Array): UpdateEvent {
  const keys = ["gateway", "counter", "plan", "state", "percent", "reason", "final", "code", "pauseMs"];
  const map = expectKeys(expectMap(decodeCbor(bytes, limits), "event"), keys, "event");
  const state = expectText(map.get("state"), "state");
  if (!isUpdateState(state)) throw new Refusal("E_CBOR", "an event names an unknown state", { found: state });
  const pauseMs = map.get("pauseMs");
  if (pauseMs !== undefined && typeof pauseMs !== "number") throw new Refusal("E_CBOR", "pauseMs is not a number");
  return {
    ...readIdentity(map),
    plan: readDigest(map.get("plan"), "plan digest"),
    state,
    percent: expectUnsigned(map.get("percent"), "percent", 100),
    code: map.has("code") ? readCode(map.get("code")) : undefined,
    reason: expectText(map.get("reason"), "reason", REASON_CHARACTERS),
    final: expectBoolean(map.get("final"), "final"),
    pauseMs,
  };
}

export function encodeReport(report: GatewayReport): Uint8Array {
  const modules = Array.from(
    report.modules,
    ([name, { sequence, envelope, version }]) => [name, [sequence, Uint8Array.fromHex(envelope), version]] as const,
  );
  const map = new Map<string, CborInput>([
    ["gateway", report.gateway],
    ["counter", report.counter],
    ["root", report.rootVersion],
    ["modules", new Map<string, CborInput>(modules)],
  ]);
  if (report.plan !== undefined) map.set("plan", [Uint8Array.fromHex(report.plan.digest), report.plan.version]);
  if (report.configuration !== undefined) map.set("configuration", Uint8Array.fromHex(report.configuration));
  if (report.last !== undefined) {
    const { code, reason, plan } = report.last;
    map.set("last", [code, reason.slice(0, REASON_CHARACTERS).toWellFormed(), Uint8Array.fromHex(plan)]);
  }
  return encodeCbor(map);
}

/** @throws Refusal E_CBOR */
export function decodeReport(bytes: Uint8Array): GatewayReport {
  const keys = ["gateway", "counter", "root", "modules", "plan", "configuration", "last"];
  const map = expectKeys(expectMap(decodeCbor(bytes, limits), "report"), keys, "report");
  const configuration = map.get("configuration");
  return {
    ...readIdentity(map),
    rootVersion: expectUnsigned(map.get("root"), "root version"),
    plan: readPlan(map.get("plan")),
    configuration: configuration === undefined ? undefined : readDigest(configuration, "configuration digest"),
    modules: readModules(expectMap(map.get("modules"), "modules")),
    last: readLast(map.get("last")),
  };
}

function readIdentity(map: CborMap): { gateway: string; counter: number } {
  return {
    gateway: expectText(map.get("gateway"), "gateway id", 64),
    counter: expectUnsigned(map.get("counter"), "counter"),
  };
}

function readDigest(value: CborValue | undefined, field: string): string {
  return expectBytes(value, field, 32).toHex();
}

function readCode(value: CborValue | undefined): ResultCode {
  const code = expectText(value, "result code", 32);
  if (!isResultCode(code)) throw new Refusal("E_CBOR", "a report names an unknown result code", { found: code });
  return code;
}

function readPlan(value: CborValue | undefined): GatewayReport["plan"] {
  if (value === undefined) return undefined;
  const [digest, version] = expectArray(value, "plan", 2);
  return { digest: readDigest(digest, "plan digest"), version: expectUnsigned(version, "plan version") };
}

function readLast(value: CborValue | undefined): GatewayReport["last"] {
  if (value === undefined) return undefined;
  const [code, reason, plan] = expectArray(value, "last result", 3);
  return {
    code: readCode(code),
    reason: expectText(reason, "reason", REASON_CHARACTERS),
    plan: readDigest(plan, "plan digest"),
  };
}

function readModules(map: CborMap): ReadonlyMap<string, ReportedModule> {
  return new Map(
    Array.from(map, ([name, value]): [string, ReportedModule] => {
      const [sequence, envelope, version] = expectArray(value, "module", 3);
      return [
        String(name),
        {
          sequence: expectUnsigned(sequence, "sequence number"),
          envelope: readDigest(envelope, "envelope digest"),
          version: expectText(version, "version", 64),
        },
      ];
    }),
  );
}

/**
 * The payload of a report that this gateway's key signed. Whoever can publish at the broker can forge everything else.
 * @throws Refusal E_CBOR, E_SIZE, E_KEY, E_SIG
 */
export function openReport(
  bytes: Uint8Array,
  kind: keyof typeof REPORT_CONTENT_TYPES,
  publicKey: Uint8Array,
): Uint8Array {
  const { contentType, keyId, payload, signature } = decodeSign1(bytes);
  if (contentType !== REPORT_CONTENT_TYPES[kind] || payload === undefined) {
    throw new Refusal("E_CBOR", `this is not a report of kind ${kind}`, { found: contentType });
  }
  if (toHex(keyId) !== toHex(keyIdOf(publicKey))) {
    const hint = "if the gateway was set up anew, enrol its new gateway.pub";
    throw new Refusal("E_KEY", "a report is signed by another key than the gateway's", { found: toHex(keyId), hint });
  }
  if (verifyEd25519(signature, toBeSigned(contentType, keyId, payload), publicKey)) return payload;
  throw new Refusal("E_SIG", "the signature on a report does not verify");
}

/** The payload of a report whose signature nobody has checked: for showing, never for deciding. @throws Refusal E_CBOR */
export function unverifiedReport(bytes: Uint8Array): Uint8Array {
  const { payload } = decodeSign1(bytes);
  if (payload === undefined) throw new Refusal("E_CBOR", "a report carries no payload");
  return payload;
}
