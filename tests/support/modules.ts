/** Modules for tests: hand-written WAT with a manifest, admitted as the product admits them. */
import wabtInit from "wabt";
import { encodeCbor } from "../../kernel/index.ts";
import type { AdmittedModule, Grant, ModuleSpec } from "../../kernel/index.ts";
import { admitModule } from "../../kernel/index.ts";

const wabt = await wabtInit();

export interface ManifestFields {
  name: string;
  version: string;
  kind: string;
  abi: number;
  ports: { name: string; contract: string | null; fuel: number; stack: number }[];
  slots: Record<string, { interface: string; rights: string[]; port: string | null }>;
  memory: number;
  inbox: number;
  state: number;
  fuel: number;
  schema: number;
  nans?: boolean;
}

export function manifestFields(name: string, changes: Partial<ManifestFields> = {}): ManifestFields {
  return {
    abi: 1,
    name,
    version: "1.0.0",
    kind: "service",
    ports: [{ name: "in", contract: null, fuel: 10_000, stack: 4096 }],
    slots: {},
    memory: 4,
    inbox: 4096,
    state: 0,
    fuel: 100_000,
    schema: 1,
    ...changes,
  };
}

export function watBinary(wat: string): Uint8Array {
  const module = wabt.parseWat("module.wat", wat, {
    mutable_globals: true,
    bulk_memory: true,
    multi_value: true,
    reference_types: true,
  });
  try {
    return new Uint8Array(module.toBinary({}).buffer);
  } finally {
    module.destroy();
  }
}

function leb(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return bytes;
}

/** Appends a custom section. */
export function withSection(binary: Uint8Array, name: string, content: Uint8Array): Uint8Array {
  const nameBytes = new TextEncoder().encode(name);
  const body = [...leb(nameBytes.length), ...nameBytes, ...content];
  return Uint8Array.from([...binary, 0, ...leb(body.length), ...body]);
}

/** A whole module binary: WAT and manifest. */
export function moduleBinary(wat: string, manifest: ManifestFields | { name: string }): Uint8Array {
  const fields = "abi" in manifest ? manifest : manifestFields(manifest.name);
  return withSection(watBinary(wat), "bulkhead", encodeCbor(fields as never));
}

export function moduleSpec(name: string, grants: Grant[] = [], changes: Partial<ModuleSpec> = {}): ModuleSpec {
  return {
    name,
    partition: "main",
    priority: 3,
    memoryPages: 16,
    fuelPerPeriod: 1e12,
    periodMs: 100,
    activationMs: 5000,
    checkpointMessages: 0,
    restart: { policy: "restart", intensity: 5, windowMs: 60_000, backoffMs: 10, maximumBackoffMs: 1000 },
    grants,
    ...changes,
  };
}

export async function admit(wat: string, manifest: ManifestFields, spec: ModuleSpec): Promise<AdmittedModule> {
  return await admitModule(moduleBinary(wat, manifest), spec);
}

/** The frame of a module: memory, inbox at 1024, scratch memory above 8192. `body` defines `bulkhead_handle` and more. */
export function watModule(imports: string, body: string, pages = 1): string {
  return `(module
  ${imports}
  (memory (export "memory") ${pages})
  (func (export "bulkhead_inbox") (result i32) i32.const 1024)
  ${body})`;
}

/** A handler that replies with exactly the payload it got. */
export const ECHO = `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
  (i64.or (i64.shl (i64.const 1088) (i64.const 32)) (i64.extend_i32_u (local.get $length))))`;
