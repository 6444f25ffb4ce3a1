/** The verb about the audit log. */
export { auditCommand } from "./audit.ts";
