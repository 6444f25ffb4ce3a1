/** The driver test kit, `bulkhead/testkit`: a module without a kernel, and the messages of the contracts. */
export * from "./contracts.ts";
export { compileFields, type MessageCheck } from "../../kernel/index.ts";
export { ModuleHost, ModuleTrap } from "./module-host.ts";
export type { DeliveryOptions, FakeResult, FakeSlot, OperationCall, Outcome } from "./module-host.ts";
