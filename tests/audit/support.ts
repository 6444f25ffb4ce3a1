/** A folder with a gateway key and an audit log, and a hand that forges it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { onTestFinished } from "vitest";
import type { Refusal } from "../../kernel/index.ts";
import { AUDIT_FILE, type AuditLimits, AuditLog } from "../../gateway/trust/audit.ts";
import { AUDIT_HEAD_TYPE, type AuditRecord } from "../../gateway/trust/audit-chain.ts";
import { type AuditVerdict, verifyAudit } from "../../gateway/trust/audit-verify.ts";
import { nodeFileSystem } from "../../gateway/trust/file-system.ts";
import { type GatewayKey, openGatewayKey } from "../../gateway/trust/gateway-key.ts";

export interface Bench {
  readonly folder: string;
  readonly file: string;
  readonly key: GatewayKey;
  readonly faults: Refusal[];
  /** What `now` of the log gives; tests move it. */
  clock: number;
  open(limits?: Partial<AuditLimits>): AuditLog;
  /** A log of so many entries, closed. */
  fill(entries: number): void;
  forge(sql: string, ...values: (string | number | Uint8Array)[]): void;
  verify(...kept: readonly Uint8Array[]): AuditVerdict;
}

export function record(subject: string, source = "bme280", kind = "denied"): AuditRecord {
  return { kind, source, subject, detail: { result: "denied" } };
}

export function bench(): Bench {
  const folder = mkdtempSync(join(tmpdir(), "bulkhead-audit-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const file = join(folder, AUDIT_FILE);
  const key = openGatewayKey(nodeFileSystem, folder);
  const faults: Refusal[] = [];
  const made: Bench = {
    folder,
    file,
    key,
    faults,
    clock: 1_800_000_000_000,
    open: (limits = {}) =>
      new AuditLog(file, {
        signHead: (payload) => key.sign(AUDIT_HEAD_TYPE, payload),
        publicKey: key.publicKey,
        now: () => made.clock,
        onFault: (refusal) => {
          faults.push(refusal);
        },
        limits,
      }),
    fill(entries) {
      const log = made.open();
      // The log's first entry says that it was opened.
      for (let index = 1; index < entries; index += 1) log.record(record(`slot-${index}`, `module-${index}`));
      log.close();
    },
    forge(sql, ...values) {
      const database = new DatabaseSync(file);
      database.prepare(sql).run(...values);
      database.close();
    },
    verify: (...kept) => verifyAudit(file, key.publicKey, kept),
  };
  return made;
}
