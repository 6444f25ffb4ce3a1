/** A kernel whose events go into a real audit log by the gateway's own rules: what hostile modules get, and what stays of it. */
import { onTestFinished } from "vitest";
import type { AuditEntry } from "../../../gateway/trust/index.ts";
import { readAudit } from "../../../gateway/trust/index.ts";
import { auditNote } from "../../../gateway/core/audited.ts";
import type { GatewayEvent } from "../../../gateway/core/events.ts";
import { admitModule, Refusal } from "../../../kernel/index.ts";
import type { Grant, HostReply, ModuleSpec } from "../../../kernel/index.ts";
import { bench } from "../../audit/support.ts";
import type { HostCall, TestKernel } from "../../support/kernel.ts";
import { startKernel } from "../../support/kernel.ts";
import { moduleSpec } from "../../support/modules.ts";

export interface Line {
  readonly kind: string;
  readonly source: string;
  readonly subject: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

export interface Watched extends TestKernel {
  /** Waits for a line of this kind and source that the audit log really has, chain and all. */
  readonly line: (kind: string, source: string) => Promise<Line>;
  /** Lines of one source now. */
  readonly lines: (source: string) => Line[];
}

function asLine({ kind, source, subject, detail }: AuditEntry): Line {
  return { kind, source, subject, detail: JSON.parse(detail) as Line["detail"] };
}

/** A log that takes events as the gateway's core records them. */
function auditing(): { record: (event: GatewayEvent) => void; read: () => Line[] } {
  const at = bench();
  const log = at.open();
  let isOpen = true;
  onTestFinished(() => {
    if (isOpen) log.close();
    isOpen = false;
  });
  return {
    record: (event) => {
      const note = auditNote(event);
      if (note !== undefined) log.record(note);
    },
    read: () => {
      log.flush();
      if (!at.verify().ok) throw new Error("the audit log is broken");
      return readAudit(at.file).map(asLine);
    },
  };
}

export async function watched(
  partitions = ["main", "other"],
  reply?: (call: HostCall) => HostReply | Promise<HostReply>,
): Promise<Watched> {
  const running = await startKernel({ partitions, stuckMs: 2000, ...(reply === undefined ? {} : { reply }) });
  onTestFinished(() => running.stop());
  const { record, read } = auditing();
  let told = 0;
  const lines = (): Line[] => {
    while (told < running.events.length) record(running.events[told++] as GatewayEvent);
    return read();
  };
  const isOf = (event: GatewayEvent, kind: string, source: string): boolean => {
    const note = auditNote(event);
    return note?.kind === kind && note.source === source;
  };
  return {
    ...running,
    lines: (source) => lines().filter((line) => line.source === source),
    line: async (kind, source) => {
      await running.until(() => running.events.find((event) => isOf(event, kind, source)), `a line ${kind} ${source}`);
      const found = lines().findLast((line) => line.kind === kind && line.source === source);
      if (found === undefined) throw new Error(`the log has no line ${kind} of ${source}`);
      return found;
    },
  };
}

/** Offers a binary as an update or a boot would, and gives the refusal with the line that it leaves. */
export async function refusedLine(
  binary: Uint8Array,
  grants: readonly Grant[] = [],
  changes: Partial<ModuleSpec> = {},
) {
  const { record, read } = auditing();
  const module = changes.name ?? "probe";
  const refusal: unknown = await admitModule(binary, moduleSpec(module, [...grants], changes)).catch(
    (error: unknown) => error,
  );
  if (!(refusal instanceof Refusal)) throw new Error(`it was not refused: ${String(refusal)}`);
  record({ type: "refused", module, code: refusal.code, text: refusal.describe() });
  const line = read().find(({ kind }) => kind === "refused");
  return { code: refusal.code, line };
}
