/** The four signed documents. */

export * from "./configuration.ts";
export * from "./module.ts";
export * from "./plan.ts";
export * from "./root.ts";
