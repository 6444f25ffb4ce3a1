/** CBOR (RFC 8949) for modules: the reader and the writer, neither of which uses the heap once made. */

export { Reader, Fault, Type } from "./reader";
export { Writer } from "./writer";
