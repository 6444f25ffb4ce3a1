/** `bulkhead verify`: does an envelope verify under a root, and what does it say? */

import type { RootDocument, TrustState, UnverifiedEnvelope } from "../../gateway/envelopes/index.ts";
import {
  ROLES,
  decodeConfiguration,
  decodePlan,
  initialTrust,
  toHex,
  verifyConfiguration,
  verifyModule,
  verifyPlan,
  verifyRoot,
} from "../../gateway/envelopes/index.ts";
import type { Arguments, Report } from "./command-line.ts";
import { defineCommand, formatDate } from "./command-line.ts";
import { decodeAnyEnvelope, describeRoot, onlyPositional, readBytes } from "./files.ts";

const help = `
Usage: bulkhead verify <envelope> --root <root envelope>

Verifies a module, plan, configuration or root envelope as a gateway would that trusts this root: form, digest,
signatures, roles, thresholds, revocations, expiry, floors of the root. A root envelope is verified as the next
root after --root, or as the same one. Exit code 0 only if it verifies.

Options:
  --root <file>             the root envelope in force
  --gateway <id>            refuse what is meant for another gateway (default: take it as the envelope says)
  --json                    one JSON object: ok, kind, digest, signers, document
  --help                    this text
`;

export const verify = defineCommand({
  name: "verify",
  summary: "verify an envelope under a root",
  help,
  options: { root: { type: "string" }, gateway: { type: "string" } },
  act: verifyFile,
});

async function verifyFile(args: Arguments): Promise<Report> {
  const bytes = await readBytes(onlyPositional(args, "the envelope"));
  const trust = initialTrust(await readBytes(args.required("root")));
  const envelope = decodeAnyEnvelope(bytes);
  const { lines, json } = verifyAs(envelope, bytes, trust, args.optional("gateway"));
  const signers = envelope.signatures.map(({ keyId }) => toHex(keyId));
  return {
    json: { ok: true, ...json, digest: toHex(envelope.digest), signers },
    lines: [`verified ${envelope.kind} ${toHex(envelope.digest)}`, ...lines, `  signed by ${signers.join(" ")}`],
  };
}

function verifyAs(
  envelope: UnverifiedEnvelope,
  bytes: Uint8Array,
  trust: TrustState,
  gateway: string | undefined,
): Report {
  const now = Math.floor(Date.now() / 1000);
  switch (envelope.kind) {
    case "module":
      return moduleReport(bytes, trust, now);
    case "plan":
      return planReport(bytes, trust, now, gateway ?? decodePlan(envelope.payload).gateway);
    case "configuration":
      return configurationReport(bytes, trust, now, gateway, decodeConfiguration(envelope.payload).target);
    case "root":
      return rootReport(envelope, bytes, trust);
  }
}

function moduleReport(bytes: Uint8Array, trust: TrustState, now: number): Report {
  const { document, wasm } = verifyModule(bytes, trust, { now });
  return facts("module", {
    name: document.name,
    version: document.claims.version,
    sequence: document.sequence,
    abi: document.claims.abi,
    capabilities: document.claims.capabilities.map(({ slot, interface: name }) => `${slot}: ${name}`),
    memoryPages: document.claims.memoryPages,
    wasm: `${document.wasmSize} bytes, ${wasm === undefined ? "not in this envelope" : "digest right"}`,
    released: formatDate(document.claims.released),
    expires: formatDate(document.claims.expires),
    provenance: document.claims.provenance === undefined ? "none" : toHex(document.claims.provenance),
  });
}

function planReport(bytes: Uint8Array, trust: TrustState, now: number, gatewayId: string): Report {
  const { document } = verifyPlan(bytes, trust, { now, gatewayId });
  return facts("plan", {
    gateway: document.gateway,
    version: document.version,
    rootVersion: document.rootVersion,
    expires: formatDate(document.expires),
    modules: Array.from(document.modules, ([name, { sequence, digest }]) => `${name} ${sequence} ${toHex(digest)}`),
    configuration: document.configuration === undefined ? "unchanged" : toHex(document.configuration),
  });
}

function configurationReport(
  bytes: Uint8Array,
  trust: TrustState,
  now: number,
  gateway: string | undefined,
  target: string | Uint8Array,
): Report {
  const isClass = typeof target !== "string";
  const gatewayId = gateway ?? (isClass ? "" : target);
  const { document } = verifyConfiguration(bytes, trust, { now, gatewayId, ...(isClass ? { class: target } : {}) });
  return facts("configuration", {
    target: isClass ? `class ${toHex(target)}` : target,
    version: document.version,
    issued: formatDate(document.issued),
  });
}

function rootReport(envelope: UnverifiedEnvelope, bytes: Uint8Array, trust: TrustState): Report {
  const isSame = toHex(envelope.digest) === toHex(trust.rootDigest);
  const root: RootDocument = isSame ? trust.root : verifyRoot(bytes, trust).document;
  const { json, lines } = describeRoot(root, envelope, []);
  return { json, lines: lines.slice(0, 1 + ROLES.length) };
}

function facts(kind: string, document: Readonly<Record<string, unknown>>): Report {
  const format = (value: unknown) => (Array.isArray(value) ? value.join(", ") || "none" : String(value));
  return {
    json: { kind, document },
    lines: Object.entries(document).map(([name, value]) => `  ${name.padEnd(13)} ${format(value)}`),
  };
}
