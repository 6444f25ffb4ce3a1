/** What tools may use of the trust worker's folder: the audit log, read without the gateway, and the update agent, run on a bench. */
export { UpdateAgent } from "./agent.ts";
export { AUDIT_FILE } from "./audit.ts";
export { type AuditEntry, openHead } from "./audit-chain.ts";
export { type AuditQuery, readAudit, readHead, verifyAudit } from "./audit-verify.ts";
export { type BootResult, bootVerify, type DeliveredModule } from "./boot.ts";
export { configurationsOf } from "./configurations.ts";
export { type Runtime, systemClock, type Transport } from "./effects.ts";
export { type FileSystem, nodeFileSystem, storeRefusal } from "./file-system.ts";
export { openGatewayKey, PUBLIC_KEY_FILE } from "./gateway-key.ts";
export type { UpdateTimes } from "./limits.ts";
export { Store } from "./store.ts";
