/** The kernel's public API: what the gateway, the tools and the tests may use. */
export * from "./abi.ts";
export * from "./cbor/index.ts";
export * from "./errors.ts";
export * from "./interfaces.ts";
export * from "./limits.ts";
export type * from "./system.ts";
export * from "./trust/index.ts";
