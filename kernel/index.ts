/** The kernel's public API: what the gateway, the tools and the tests may use. */
export * from "./abi.ts";
export * from "./admission.ts";
export * from "./cbor/index.ts";
export * from "./contract.ts";
export * from "./ed25519.ts";
export * from "./errors.ts";
export * from "./interfaces.ts";
export * from "./limits.ts";
export * from "./manifest.ts";
export type * from "./supervisor/events.ts";
export { Kernel } from "./supervisor/kernel.ts";
export type { KernelOptions } from "./supervisor/kernel.ts";
export { RestartHistory } from "./supervisor/restart.ts";
export type { RestartVerdict } from "./supervisor/restart.ts";
export type { SwapRequest, SwapResult } from "./supervisor/swaps.ts";
export type * from "./system.ts";
export { meter } from "./wasm/meter.ts";
export type { MeterOptions } from "./wasm/meter.ts";
