/** The interface table: every operation a slot can have, its Wasm signature, who answers it, and whether it may block. */

/**
 * A parameter as the guest passes it: `bytes` is (address, length) read by the host, `buffer` is (address, capacity)
 * written by the host; `i32` and `i64` are themselves; `handles` is (address, count) of a u32 array.
 */
export type ParameterKind = "bytes" | "buffer" | "handles" | "i32" | "i64";

export interface Parameter {
  readonly name: string;
  readonly kind: ParameterKind;
  /** What it holds may be a credential or a key: it is shown to nobody, and kept in no capsule that anybody can open. */
  readonly isSecret?: boolean;
}

export interface Operation {
  readonly parameters: readonly Parameter[];
  readonly result: "i32" | "i64";
  /** A blocking operation suspends its caller, so a module that imports one is a blocking module. */
  readonly blocking: boolean;
  /** The right that the grant must carry. */
  readonly right: string;
}

/** Where an operation is carried out: see the trust zones of kernel/README.md. */
export type AnsweredBy = "partition" | "trust" | "device" | "link";

export interface InterfaceDefinition {
  readonly answeredBy: AnsweredBy;
  /** The keys of the grant that bind the slot to one resource; none where there is only one. */
  readonly binding: readonly string[];
  /** The right without which the slot's port gets no events; null where there are none. */
  readonly eventRight: string | null;
  readonly operations: Readonly<Record<string, Operation>>;
  /** Those of the operations and of the events. */
  readonly rights: readonly string[];
}

const bytes = (name: string): Parameter => ({ name, kind: "bytes" });
const buffer = (name: string): Parameter => ({ name, kind: "buffer" });
const secret = (parameter: Parameter): Parameter => ({ ...parameter, isSecret: true });
const i32 = (name: string): Parameter => ({ name, kind: "i32" });
const handle = i32("handle");
const message: readonly Parameter[] = [bytes("message"), { name: "handles", kind: "handles" }];
const call = [bytes("message"), buffer("reply"), i32("timeoutMs")];

function atOnce(right: string, ...parameters: readonly Parameter[]): Operation {
  return { right, parameters, blocking: false, result: "i32" };
}

function waits(right: string, ...parameters: readonly Parameter[]): Operation {
  return { ...atOnce(right, ...parameters), blocking: true };
}

function define<Operations extends Record<string, Operation>>(
  answeredBy: AnsweredBy,
  binding: readonly string[],
  eventRight: string | null,
  operations: Operations,
): InterfaceDefinition & { readonly operations: Operations } {
  const used = Object.values(operations).map(({ right }) => right);
  const rights = [...new Set(eventRight === null ? used : [...used, eventRight])];
  return { answeredBy, binding, eventRight, operations, rights };
}

/**
 * The base interfaces of ABI 1. Names follow the WASI proposals where one exists, embedded-hal elsewhere. What an operation
 * does and gives stands in docs/abi.md.
 */
export const INTERFACES = Object.freeze({
  endpoint: define("partition", ["to"], "call", {
    send: atOnce("send", ...message),
    call: waits("call", ...call),
    request: atOnce("call", bytes("message"), i32("timeoutMs")),
    derive: atOnce("pass", i32("rights")),
  }),
  handles: define("partition", [], null, {
    send: atOnce("use", handle, ...message),
    call: waits("use", handle, ...call),
    narrow: atOnce("use", handle, i32("rights")),
    drop: atOnce("use", handle),
  }),
  timer: define("partition", [], "use", {
    after: atOnce("use", i32("delayMs")),
    every: atOnce("use", i32("periodMs")),
    cancel: atOnce("use"),
    sleep: waits("use", i32("delayMs")),
  }),
  clock: define("partition", [], null, {
    monotonic: { ...atOnce("use"), result: "i64" },
    wall: { ...atOnce("use"), result: "i64" },
  }),
  random: define("partition", [], null, {
    fill: atOnce("use", secret(buffer("bytes"))),
  }),
  log: define("partition", [], null, {
    write: atOnce("write", i32("level"), bytes("text")),
  }),
  store: define("trust", ["prefix", "quota"], null, {
    get: waits("read", bytes("key"), secret(buffer("value"))),
    set: waits("write", bytes("key"), secret(bytes("value"))),
    delete: waits("write", bytes("key")),
  }),
  file: define("device", ["path"], null, {
    read: waits("read", i32("offset"), secret(buffer("bytes"))),
    write: waits("write", secret(bytes("bytes"))),
  }),
  "i2c-device": define("device", ["bus", "address"], null, {
    read: waits("read", buffer("bytes")),
    write: waits("write", bytes("bytes")),
    "write-read": waits("read", bytes("bytes"), buffer("answer")),
  }),
  "spi-device": define("device", ["bus", "chip", "mode", "frequency"], null, {
    read: waits("read", buffer("bytes")),
    write: waits("write", bytes("bytes")),
    transfer: waits("write", bytes("bytes"), buffer("answer")),
  }),
  "gpio-line": define("device", ["chip", "line", "direction", "edges"], "edges", {
    get: waits("read"),
    set: waits("write", i32("level")),
  }),
  uart: define("device", ["device", "baud", "format"], "read", {
    write: waits("write", bytes("bytes")),
  }),
  onewire: define("device", ["device"], null, {
    read: waits("read", buffer("bytes")),
  }),
  mqtt: define("link", ["publish", "subscribe"], "subscribe", {
    publish: waits("publish", bytes("topic"), bytes("payload"), i32("flags")),
  }),
  http: define("link", ["origin"], null, {
    request: waits("request", secret(bytes("request")), secret(buffer("response")), i32("timeoutMs")),
  }),
} satisfies Record<string, InterfaceDefinition>);

export type InterfaceName = keyof typeof INTERFACES;

/** True for the name of a base interface; own keys only, so that `constructor` is not one. */
export function isInterfaceName(name: string): name is InterfaceName {
  return Object.hasOwn(INTERFACES, name);
}

/** The definition of an interface with its literal types widened, for code that walks the table. */
export function interfaceDefinition(name: InterfaceName): InterfaceDefinition {
  return INTERFACES[name];
}

/** One operation of an interface, or undefined; own keys only. */
export function findOperation(name: InterfaceName, operationName: string): Operation | undefined {
  const { operations } = interfaceDefinition(name);
  return Object.hasOwn(operations, operationName) ? operations[operationName] : undefined;
}

/** A number is passed as itself, anything else as address and length. */
function wasmTypes({ kind }: Parameter): string[] {
  return kind === "i32" || kind === "i64" ? [kind] : ["i32", "i32"];
}

/** How many values a guest passes to the operation. */
export function argumentCount({ parameters }: Pick<Operation, "parameters">): number {
  return parameters.flatMap(wasmTypes).length;
}

/** The Wasm type of an operation, written `(i32,i32)->i32`. */
export function operationType({ parameters, result }: Operation): string {
  return `(${parameters.flatMap(wasmTypes).join()})->${result}`;
}
