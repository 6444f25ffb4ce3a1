/** What tools may use of the trust worker's folder: the audit log, read and verified without the gateway. */
export { AUDIT_FILE } from "./audit.ts";
export { type AuditEntry, openHead } from "./audit-chain.ts";
export { type AuditQuery, type AuditVerdict, readAudit, readHead, verifyAudit } from "./audit-verify.ts";
export { PUBLIC_KEY_FILE } from "./gateway-key.ts";
