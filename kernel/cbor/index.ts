/** CBOR: the pre-validator, the decoder behind it, the deterministic encoder and typed readers. */

export * from "./check.ts";
export * from "./codec.ts";
export * from "./encode.ts";
export * from "./read.ts";
export * from "./value.ts";
