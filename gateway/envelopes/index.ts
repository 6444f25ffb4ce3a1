/** Signed documents: their forms, their verification, and the state of trust. */

export * from "./bytes.ts";
export * from "./cose.ts";
export * from "./documents/index.ts";
export { isSoundPublicKey, verifyEd25519 } from "./ed25519.ts";
export * from "./envelope.ts";
export * from "./limits.ts";
export * from "./signatures.ts";
export * from "./state.ts";
export * from "./verify.ts";
