/** `bulkhead sign`: makes signed module, plan and configuration envelopes. */

import type { ModuleDocument, PlannedModule } from "../../gateway/envelopes/index.ts";
import { inspectModule, Refusal } from "../../kernel/index.ts";
import { classId, decodeEnvelope, decodeModule, sha256, toHex, vendorId } from "../../gateway/envelopes/index.ts";
import type { Arguments, Report } from "./command-line.ts";
import { defineCommand, formatDate, UsageError } from "./command-line.ts";
import { onlyPositional, readBytes, signingKeys, writeNewFile } from "./files.ts";
import { idOf } from "./key.ts";
import { PASSPHRASE_HELP, PASSPHRASE_OPTIONS } from "./passphrase.ts";
import { signConfiguration, signModule, signPlan } from "./sign.ts";

const help = `
Usage: bulkhead sign module <wasm> --sequence <n> --vendor <domain> --class <name> --key <file> --out <file>
       bulkhead sign plan --gateway <id> --version <n> --root-version <n> --module <envelope>... --key <file> --out <file>
       bulkhead sign configuration <gateway.yaml> --version <n> (--gateway <id> | --vendor <domain> --class <name>)
                                   --key <file> --out <file>

Signs with one key, or with several (--key once for each) where the root's threshold asks for it.

module: name, version, capabilities and needs are taken from the manifest in the binary.
  --sequence <n>            higher than that of every release before it
  --vendor, --class         the gateways that the module is for
  --expires <date|days>     after it the module is not installed any more (default 365d)
  --provenance <file>       a build record whose digest goes into the claims
  --without-wasm            leave the binary out of the envelope

plan: the whole set of modules of one gateway, and with --configuration the configuration that goes with it.
  --expires <date|days>     default 14d
  --configuration <file>    a configuration envelope
  --rollout <id>            the rollout that the plan belongs to

Options:
  --issued <date>           instead of now
${PASSPHRASE_HELP}
  --json                    one JSON object: kind, digest, signers, file, and what was signed
  --help                    this text

Next: bulkhead verify <file> --root <root envelope>
`;

export const sign = defineCommand({
  name: "sign",
  summary: "sign a module, a plan or a configuration",
  help,
  options: {
    key: { type: "string", multiple: true },
    out: { type: "string" },
    sequence: { type: "string" },
    vendor: { type: "string" },
    class: { type: "string" },
    issued: { type: "string" },
    expires: { type: "string" },
    provenance: { type: "string" },
    "without-wasm": { type: "boolean" },
    gateway: { type: "string" },
    version: { type: "string" },
    "root-version": { type: "string" },
    module: { type: "string", multiple: true },
    configuration: { type: "string" },
    rollout: { type: "string" },
    ...PASSPHRASE_OPTIONS,
  },
  act: signDocument,
});

async function signDocument(args: Arguments): Promise<Report> {
  const [kind, ...rest] = args.positionals;
  const kindArguments = args.withPositionals(rest);
  if (args.list("key").length === 0) throw new UsageError("--key is missing");
  if (kind === "module") return signModuleFile(kindArguments);
  if (kind === "plan") return signPlanFile(kindArguments);
  if (kind === "configuration") return signConfigurationFile(kindArguments);
  throw new UsageError("say what to sign: module, plan or configuration");
}

async function signModuleFile(args: Arguments): Promise<Report> {
  const wasm = await readBytes(onlyPositional(args, "the wasm file"));
  const provenance = args.optional("provenance");
  const issued = args.issued();
  const module = describeModule(wasm, {
    sequence: args.number("sequence"),
    vendor: args.required("vendor"),
    class: args.required("class"),
    released: issued,
    expires: args.expires(issued, 365),
    provenance: provenance === undefined ? undefined : sha256(await readBytes(provenance)),
  });
  const keys = await signingKeys(args, "release");
  const bytes = signModule(module, keys, args.has("without-wasm") ? undefined : wasm);
  const { claims } = module;
  return write(args, "module", bytes, {
    name: module.name,
    version: claims.version,
    sequence: module.sequence,
    wasm: toHex(module.wasmDigest),
    bytes: module.wasmSize,
    expires: formatDate(claims.expires),
    capabilities: claims.capabilities.map(({ slot, interface: name }) => `${slot}: ${name}`),
  });
}

/** What a release says beyond the binary's manifest. Dates are seconds since 1970. */
export interface ReleaseFacts {
  readonly sequence: number;
  /** A domain name, such as bulkhead.example. */
  readonly vendor: string;
  /** The name of a class of the vendor's gateways. */
  readonly class: string;
  readonly released: number;
  readonly expires: number;
  readonly provenance?: Uint8Array | undefined;
}

/** The module document of a binary: its claims are its manifest's. @throws Refusal as inspectModule */
export function describeModule(wasm: Uint8Array, facts: ReleaseFacts): ModuleDocument {
  const { manifest } = inspectModule(wasm);
  const vendor = vendorId(facts.vendor);
  const slots = [...manifest.slots].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    name: manifest.name,
    sequence: facts.sequence,
    vendor,
    class: classId(vendor, facts.class),
    wasmDigest: sha256(wasm),
    wasmSize: wasm.length,
    claims: {
      abi: manifest.abi,
      version: manifest.version,
      capabilities: slots.map(([slot, asked]) => ({ slot, interface: asked.interface, rights: asked.rights })),
      memoryPages: manifest.memory,
      released: facts.released,
      expires: facts.expires,
      stateSchema: manifest.schema,
      provenance: facts.provenance,
    },
  };
}

async function signPlanFile(args: Arguments): Promise<Report> {
  if (args.positionals.length > 0) throw new UsageError("a plan takes its modules with --module");
  const modules = new Map<string, PlannedModule>();
  for (const path of args.list("module")) {
    const envelope = decodeEnvelope(await readBytes(path), "module");
    const { name, sequence } = decodeModule(envelope.payload);
    if (modules.has(name)) throw new UsageError(`two envelopes are of module ${name}: a plan names each module once`);
    modules.set(name, { sequence, digest: envelope.digest });
  }
  const configuration = args.optional("configuration");
  const issued = args.issued();
  const plan = {
    gateway: args.required("gateway"),
    version: args.number("version"),
    issued,
    expires: args.expires(issued, 14),
    rootVersion: args.number("root-version"),
    modules,
    configuration:
      configuration === undefined ? undefined : decodeEnvelope(await readBytes(configuration), "configuration").digest,
    rollout: args.optional("rollout"),
  };
  return write(args, "plan", signPlan(plan, await signingKeys(args, "deploy")), {
    gateway: plan.gateway,
    version: plan.version,
    expires: formatDate(plan.expires),
    modules: Array.from(modules, ([name, { sequence }]) => `${name} ${sequence}`),
  });
}

async function signConfigurationFile(args: Arguments): Promise<Report> {
  const path = onlyPositional(args, "the gateway.yaml");
  const content = decodeText(await readBytes(path), path);
  const configuration = {
    target: configurationTarget(args),
    version: args.number("version"),
    issued: args.issued(),
    content,
  };
  const bytes = signConfiguration(configuration, await signingKeys(args, "operator"));
  const { target } = configuration;
  return write(args, "configuration", bytes, {
    target: typeof target === "string" ? target : `class ${toHex(target)}`,
    version: configuration.version,
  });
}

function decodeText(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Refusal("E_CONFIG", `${path} is not UTF-8`, { hint: "save it as UTF-8 text" });
  }
}

function configurationTarget(args: Arguments): string | Uint8Array {
  const gateway = args.optional("gateway");
  if ((gateway === undefined) === (args.optional("class") === undefined)) {
    throw new UsageError("give either --gateway, or --vendor and --class");
  }
  return gateway ?? classId(vendorId(args.required("vendor")), args.required("class"));
}

async function write(
  args: Arguments,
  kind: "module" | "plan" | "configuration",
  bytes: Uint8Array,
  facts: Readonly<Record<string, unknown>>,
): Promise<Report> {
  const file = args.required("out");
  await writeNewFile(file, bytes);
  const envelope = decodeEnvelope(bytes, kind);
  const digest = toHex(envelope.digest);
  const signers = envelope.signatures.map(({ keyId }) => idOf({ id: keyId }));
  const lines = Object.entries(facts).map(([name, value]) => `  ${name.padEnd(12)} ${formatFact(value)}`);
  return {
    json: { ok: true, kind, digest, signers, file, size: bytes.length, ...facts },
    lines: [`${kind} ${digest}`, ...lines, `  signed by    ${signers.join(" ")}`, `  written to   ${file}`],
  };
}

function formatFact(value: unknown): string {
  return Array.isArray(value) ? value.join(", ") || "none" : String(value);
}
