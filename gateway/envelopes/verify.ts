/** From hostile bytes to verified documents: each function decides on one document, and holding its result proves the rest. */

import type { RefusalCode } from "../../kernel/index.ts";
import { Refusal } from "../../kernel/index.ts";
import { equalBytes, sha256, toHex } from "./bytes.ts";
import type { ConfigurationDocument, ModuleDocument, PlanDocument, RootDocument } from "./documents/index.ts";
import { decodeConfiguration, decodeModule, decodePlan, decodeRoot } from "./documents/index.ts";
import { decodeEnvelope } from "./envelope.ts";
import type { SignatureLimiter } from "./signatures.ts";
import { verifyRotation, verifyThreshold } from "./signatures.ts";
import type { TrustState } from "./state.ts";
import { raiseFloor, refuseBelow, refuseRevoked, trustedTime, underRoot } from "./state.ts";

declare const verified: unique symbol;

/** A document whose signatures, role, target, age and floors are right. Only this file makes one. */
export interface Verified<Document> {
  readonly document: Document;
  /** SHA-256 of the envelope without wasm: what plans and topics name it by. */
  readonly digest: Uint8Array;
  /** Key ids of the signers in hexadecimal, ascending. */
  readonly signers: readonly string[];
  readonly [verified]: true;
}

/** Bytes that have the size and the digest that a verified module document signs. Compile from these. */
export type VerifiedWasm = Uint8Array & { readonly [verified]: true };

export type VerifiedPlan = Verified<PlanDocument>;
export type VerifiedConfiguration = Verified<ConfigurationDocument>;
/** `wasm` where the envelope carried it. */
export type VerifiedModule = Verified<ModuleDocument> & { readonly wasm: VerifiedWasm | undefined };
/** `trust` is the state under the new root, to be persisted before the root is used. */
export type VerifiedRoot = Verified<RootDocument> & { readonly trust: TrustState };

export interface VerifyOptions {
  /** The system clock, in seconds since 1970. */
  readonly now: number;
  /**
   * `boot` verifies again what was installed: signatures, roles, targets and revocations as for an installation, but
   * neither expiry, which stops installs only, nor floors, because the last good set may lie below them.
   */
  readonly purpose?: "install" | "boot";
  readonly limiter?: SignatureLimiter;
}

export interface GatewayIdentity {
  readonly gatewayId: string;
  /** 16 bytes: `classId`. */
  readonly class?: Uint8Array;
}

export interface PlanOptions extends VerifyOptions {
  readonly gatewayId: string;
}

export interface ModuleOptions extends VerifyOptions {
  /** What the plan says of it. */
  readonly planned?: { readonly name: string; readonly sequence: number; readonly digest: Uint8Array };
  readonly vendor?: Uint8Array;
  readonly class?: Uint8Array;
  /** The ABI versions that this kernel speaks. */
  readonly abis?: readonly number[];
}

export interface ConfigurationOptions extends VerifyOptions, GatewayIdentity {
  /** The digest that the plan names. */
  readonly digest?: Uint8Array;
}

/** The trust of a gateway that is given its first root, by hand and not over the network. */
export function initialTrust(rootEnvelope: Uint8Array): TrustState {
  const envelope = decodeEnvelope(rootEnvelope, "root");
  const root = decodeRoot(envelope.payload);
  verifyThreshold(envelope, root, "root", undefined);
  const none = new Map<string, never>();
  const floors = { planFloors: none, configurationFloors: none, moduleFloors: none };
  return { root, rootDigest: envelope.digest, clockFloor: root.issued, ...floors };
}

/**
 * The next root, one version up, signed by the threshold of the old and of the new; whatever its expiry.
 * @throws Refusal E_CBOR E_SIZE E_DIGEST E_KEY E_REVOKED E_THRESHOLD E_SIG E_ROOT_GAP E_ROLLBACK E_BUSY
 */
export function verifyRoot(bytes: Uint8Array, trust: TrustState, limiter?: SignatureLimiter): VerifiedRoot {
  const envelope = decodeEnvelope(bytes, "root");
  const readNew = () => readNextRoot(envelope.payload, trust.root);
  const root = verifyRotation(envelope, trust.root, readNew, limiter);
  const signers = envelope.signatures.map(({ keyId }) => toHex(keyId));
  return { ...prove(root, envelope.digest, signers), trust: underRoot(trust, root, envelope.digest) };
}

function readNextRoot(payload: Uint8Array, old: RootDocument): RootDocument {
  const root = decodeRoot(payload);
  const next = old.version + 1;
  if (root.version < next) refuse("E_ROLLBACK", "the root is not newer than the one in force", next, root.version);
  if (root.version > next)
    refuse("E_ROOT_GAP", "the root skips a version: those between are missing", next, root.version);
  return root;
}

/** @throws Refusal E_CBOR E_SIZE E_DIGEST E_KEY E_REVOKED E_THRESHOLD E_SIG E_TARGET E_ROOT_GAP E_EXPIRED E_ROLLBACK E_BUSY */
export function verifyPlan(bytes: Uint8Array, trust: TrustState, options: PlanOptions): VerifiedPlan {
  const envelope = decodeEnvelope(bytes, "plan");
  const signers = verifyThreshold(envelope, trust.root, "deploy", options.limiter);
  const plan = decodePlan(envelope.payload);
  const { gateway, rootVersion } = plan;
  if (gateway !== options.gatewayId) refuse("E_TARGET", "the plan is for another gateway", options.gatewayId, gateway);
  if (rootVersion > trust.root.version) {
    refuse("E_ROOT_GAP", "the plan was made under a root that has not arrived", trust.root.version, rootVersion);
  }
  for (const { digest } of plan.modules.values()) refuseRevoked(trust.root, digest, "a module of the plan");
  if (plan.configuration !== undefined) refuseRevoked(trust.root, plan.configuration, "the plan's configuration");
  if (options.purpose !== "boot") checkPlanAge(plan, envelope.digest, signers, trust, options.now);
  return prove(plan, envelope.digest, signers);
}

function checkPlanAge(
  plan: PlanDocument,
  digest: Uint8Array,
  signers: readonly string[],
  trust: TrustState,
  now: number,
): void {
  refuseExpired(trust, now, plan.expires, "the plan");
  for (const signer of signers) refuseBelow(trust.planFloors, signer, { version: plan.version, digest }, "the plan");
  for (const [name, planned] of plan.modules) refuseOldModule(trust, name, planned.sequence, planned.digest);
}

/** @throws Refusal as verifyPlan, and E_ABI */
export function verifyModule(bytes: Uint8Array, trust: TrustState, options: ModuleOptions): VerifiedModule {
  const envelope = decodeEnvelope(bytes, "module");
  const { planned } = options;
  if (planned !== undefined) refuseOther(planned.digest, envelope.digest, "the module envelope is not the planned one");
  const signers = verifyThreshold(envelope, trust.root, "release", options.limiter);
  const module = decodeModule(envelope.payload);
  checkPlanned(module, planned);
  checkTarget(module, options);
  refuseRevoked(trust.root, envelope.digest, `module ${module.name}`);
  refuseRevoked(trust.root, module.wasmDigest, `the wasm of module ${module.name}`);
  if (options.purpose !== "boot") {
    // It cannot be earlier than its release: so none can move the clock floor beyond its own expiry, or the root's.
    const now = Math.max(options.now, module.claims.released);
    refuseExpired(trust, now, module.claims.expires, `module ${module.name}`);
    refuseOldModule(trust, module.name, module.sequence, envelope.digest);
  }
  const wasm = envelope.wasm === undefined ? undefined : verifyWasm(module, envelope.wasm);
  return { ...prove(module, envelope.digest, signers), wasm };
}

function checkPlanned({ name, sequence }: ModuleDocument, planned: ModuleOptions["planned"]): void {
  if (planned === undefined) return;
  if (name !== planned.name) refuse("E_TARGET", "the plan gives a module another one's envelope", planned.name, name);
  if (sequence !== planned.sequence) {
    refuse("E_ROLLBACK", `the plan gives module ${name} a sequence number not its own`, planned.sequence, sequence);
  }
}

function checkTarget(module: ModuleDocument, { vendor, class: gatewayClass, abis }: ModuleOptions): void {
  const { name, claims } = module;
  if (vendor !== undefined && !equalBytes(module.vendor, vendor)) {
    refuse("E_TARGET", `module ${name} is for another vendor's gateways`, toHex(vendor), toHex(module.vendor));
  }
  if (gatewayClass !== undefined && !equalBytes(module.class, gatewayClass)) {
    refuse("E_TARGET", `module ${name} is for another class of gateways`, toHex(gatewayClass), toHex(module.class));
  }
  if (abis !== undefined && !abis.includes(claims.abi)) {
    refuse("E_ABI", `module ${name} speaks another ABI`, abis.join(" or "), claims.abi);
  }
}

/** @throws Refusal E_SIZE, E_DIGEST */
export function verifyWasm(module: ModuleDocument, bytes: Uint8Array): VerifiedWasm {
  if (bytes.length !== module.wasmSize) {
    refuse("E_SIZE", `the wasm of module ${module.name} does not have the signed size`, module.wasmSize, bytes.length);
  }
  refuseOther(module.wasmDigest, sha256(bytes), `the wasm of module ${module.name} does not have the signed digest`);
  // SAFETY: size and digest are the signed ones.
  return bytes as VerifiedWasm;
}

/** @throws Refusal as verifyPlan */
export function verifyConfiguration(
  bytes: Uint8Array,
  trust: TrustState,
  options: ConfigurationOptions,
): VerifiedConfiguration {
  const envelope = decodeEnvelope(bytes, "configuration");
  if (options.digest !== undefined) {
    refuseOther(options.digest, envelope.digest, "the configuration envelope is not the planned one");
  }
  const signers = verifyThreshold(envelope, trust.root, "operator", options.limiter);
  const configuration = decodeConfiguration(envelope.payload);
  checkConfigurationTarget(configuration, options);
  refuseRevoked(trust.root, envelope.digest, "the configuration");
  if (options.purpose !== "boot") {
    refuseExpired(trust, options.now, Number.MAX_SAFE_INTEGER, "the configuration");
    const found = { version: configuration.version, digest: envelope.digest };
    for (const signer of signers) refuseBelow(trust.configurationFloors, signer, found, "the configuration");
  }
  return prove(configuration, envelope.digest, signers);
}

function checkConfigurationTarget({ target }: ConfigurationDocument, identity: GatewayIdentity): void {
  const isOurs =
    typeof target === "string"
      ? target === identity.gatewayId
      : identity.class !== undefined && equalBytes(target, identity.class);
  if (isOurs) return;
  const found = typeof target === "string" ? target : `class ${toHex(target)}`;
  refuse("E_TARGET", "the configuration is for another gateway", identity.gatewayId, found);
}

/** The state after a set has been committed: floors rise to it, and the clock floor to its release dates. */
export function commitTrust(
  trust: TrustState,
  plan: VerifiedPlan,
  modules: readonly VerifiedModule[],
  configuration?: VerifiedConfiguration,
): TrustState {
  const raise = (floors: TrustState["planFloors"], signers: readonly string[], version: number, digest: Uint8Array) =>
    signers.reduce((raised, signer) => raiseFloor(raised, signer, { version, digest }), floors);
  const moduleFloor = (floors: TrustState["moduleFloors"], { document, digest }: VerifiedModule) =>
    raiseFloor(floors, document.name, { version: document.sequence, digest });
  return {
    ...modules.reduce(withReleaseDate, trust),
    planFloors: raise(trust.planFloors, plan.signers, plan.document.version, plan.digest),
    moduleFloors: modules.reduce(moduleFloor, trust.moduleFloors),
    configurationFloors:
      configuration === undefined
        ? trust.configurationFloors
        : raise(trust.configurationFloors, configuration.signers, configuration.document.version, configuration.digest),
  };
}

/** The state with its clock floor at a verified module's release date, or where it was if that is later. */
export function withReleaseDate(trust: TrustState, module: VerifiedModule): TrustState {
  return { ...trust, clockFloor: Math.max(trust.clockFloor, module.document.claims.released) };
}

function refuseOldModule(trust: TrustState, name: string, sequence: number, digest: Uint8Array): void {
  const floor = trust.root.floors.get(name) ?? 0;
  if (sequence < floor) refuse("E_ROLLBACK", `module ${name} is below the root's floor`, floor, sequence);
  refuseBelow(trust.moduleFloors, name, { version: sequence, digest }, `module ${name}`);
}

function refuseExpired(trust: TrustState, now: number, expires: number, what: string): void {
  const time = trustedTime(trust, now);
  const found = new Date(time * 1000).toISOString();
  if (time > trust.root.expires) {
    const hint = "publish a newer root";
    throw new Refusal("E_EXPIRED", `root version ${trust.root.version} has expired`, { found, hint });
  }
  if (time > expires) throw new Refusal("E_EXPIRED", `${what} has expired`, { found, hint: "sign a new one" });
}

function refuseOther(expected: Uint8Array, found: Uint8Array, message: string): void {
  if (!equalBytes(expected, found)) refuse("E_DIGEST", message, toHex(expected), toHex(found));
}

function refuse(code: RefusalCode, message: string, expected: string | number, found: string | number): never {
  throw new Refusal(code, message, { expected: String(expected), found: String(found) });
}

/** SAFETY: called by this file only, as the last step of a verification. */
function prove<Document>(document: Document, digest: Uint8Array, signers: readonly string[]): Verified<Document> {
  return { document, digest, signers } as Verified<Document>;
}
