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
  /** Contract, units and result. */
  readonly meaning: string;
}

/** Where an operation is carried out: see the drawing of DESIGN 2. */
export type AnsweredBy = "partition" | "trust" | "device" | "link";

export interface InterfaceDefinition {
  readonly answeredBy: AnsweredBy;
  readonly operations: Readonly<Record<string, Operation>>;
  readonly rights: readonly string[];
  /** What events the slot's port gets, CBOR, and the right without which it gets none; null where there are none. */
  readonly event: { readonly right: string; readonly payload: string } | null;
  /** The keys of the grant that bind the slot to one resource. */
  readonly binding: Readonly<Record<string, string>>;
  /** What the audit log records of its use. */
  readonly audited: "denials" | "every-use";
}

const bytes = (name: string): Parameter => ({ name, kind: "bytes" });
const buffer = (name: string): Parameter => ({ name, kind: "buffer" });
const secret = (parameter: Parameter): Parameter => ({ ...parameter, isSecret: true });
const i32 = (name: string): Parameter => ({ name, kind: "i32" });
const handle = i32("handle");
const message = [bytes("message"), { name: "handles", kind: "handles" }] as const satisfies readonly Parameter[];
const callParameters = [bytes("message"), buffer("reply"), i32("timeoutMs")];

function operation(right: string, blocking: boolean, parameters: readonly Parameter[], meaning: string): Operation {
  return { right, blocking, parameters, meaning, result: "i32" };
}

/** The base interfaces of ABI 1. Names follow the WASI proposals where one exists, embedded-hal elsewhere. */
export const INTERFACES = Object.freeze({
  endpoint: {
    answeredBy: "partition",
    rights: ["send", "call", "pass"],
    event: {
      right: "call",
      payload: "the reply of a `request` (kind reply), or its failure (kind notice, payload a result code)",
    },
    binding: { to: "`module.port`, or a list of them for a slot that only sends" },
    audited: "denials",
    operations: {
      send: operation("send", false, message, "queues a message; 0, or full, denied, dead-peer, too-large"),
      call: operation(
        "call",
        true,
        callParameters,
        "waits for the reply; its length, or a code; timeoutMs is 1 or more",
      ),
      request: operation(
        "call",
        false,
        [bytes("message"), i32("timeoutMs")],
        "asks without waiting; a correlation of 1 or more, whose reply comes as a message on the slot's event port",
      ),
      derive: operation(
        "pass",
        false,
        [i32("rights")],
        "a handle to the same endpoint with these rights and no others",
      ),
    },
  },
  handles: {
    answeredBy: "partition",
    rights: ["use"],
    event: null,
    binding: {},
    audited: "denials",
    operations: {
      send: operation("use", false, [handle, ...message], "as endpoint.send, on a handle"),
      call: operation("use", true, [handle, ...callParameters], "as endpoint.call, on a handle"),
      narrow: operation("use", false, [handle, i32("rights")], "a new handle with fewer rights, derived from this one"),
      drop: operation("use", false, [handle], "closes the handle"),
    },
  },
  timer: {
    answeredBy: "partition",
    rights: ["use"],
    event: { right: "use", payload: "unsigned: expirations since the last tick that was delivered, 1 or more" },
    binding: {},
    audited: "denials",
    operations: {
      after: operation("use", false, [i32("delayMs")], "one event after delayMs; replaces what was set; 0"),
      every: operation("use", false, [i32("periodMs")], "an event each periodMs, 1 or more, without drift; 0"),
      cancel: operation("use", false, [], "no more events; 0"),
      sleep: operation("use", true, [i32("delayMs")], "waits; 0"),
    },
  },
  clock: {
    answeredBy: "partition",
    rights: ["use"],
    event: null,
    binding: {},
    audited: "denials",
    operations: {
      monotonic: {
        ...operation("use", false, [], "nanoseconds since an arbitrary instant, never backward"),
        result: "i64",
      },
      wall: {
        ...operation("use", false, [], "milliseconds since 1970-01-01T00:00:00Z, as the host knows it"),
        result: "i64",
      },
    },
  },
  random: {
    answeredBy: "partition",
    rights: ["use"],
    event: null,
    binding: {},
    audited: "denials",
    operations: { fill: operation("use", false, [secret(buffer("bytes"))], "fills it with random bytes; the length") },
  },
  log: {
    answeredBy: "partition",
    rights: ["write"],
    event: null,
    binding: {},
    audited: "denials",
    operations: {
      write: operation(
        "write",
        false,
        [i32("level"), bytes("text")],
        "a UTF-8 line; level 0 error, 1 warning, 2 information, 3 debug; 0",
      ),
    },
  },
  store: {
    answeredBy: "trust",
    rights: ["read", "write"],
    event: null,
    binding: { prefix: "key prefix, the module's own", quota: "bytes" },
    audited: "denials",
    operations: {
      get: operation(
        "read",
        true,
        [bytes("key"), secret(buffer("value"))],
        "length of the value, or not-found, too-large",
      ),
      set: operation("write", true, [bytes("key"), secret(bytes("value"))], "0 once it is on disk, or quota"),
      delete: operation("write", true, [bytes("key")], "0, or not-found"),
    },
  },
  file: {
    answeredBy: "device",
    rights: ["read", "write"],
    event: null,
    binding: { path: "one absolute path" },
    audited: "denials",
    operations: {
      read: operation("read", true, [i32("offset"), secret(buffer("bytes"))], "bytes read from offset; 0 at the end"),
      write: operation("write", true, [secret(bytes("bytes"))], "replaces the content; the bytes written"),
    },
  },
  "i2c-device": {
    answeredBy: "device",
    rights: ["read", "write"],
    event: null,
    binding: { bus: "bus number", address: "7-bit address" },
    audited: "denials",
    operations: {
      read: operation("read", true, [buffer("bytes")], "the length read, or not-acknowledged, io, timeout"),
      write: operation("write", true, [bytes("bytes")], "0, or not-acknowledged, io, timeout"),
      "write-read": operation(
        "read",
        true,
        [bytes("bytes"), buffer("answer")],
        "writes, repeated start, reads as many as answer holds; the length read",
      ),
    },
  },
  "spi-device": {
    answeredBy: "device",
    rights: ["read", "write"],
    event: null,
    binding: { bus: "bus number", chip: "chip select", mode: "0 to 3", frequency: "hertz" },
    audited: "denials",
    operations: {
      read: operation("read", true, [buffer("bytes")], "clocks in as many as it holds; the length"),
      write: operation("write", true, [bytes("bytes")], "0"),
      transfer: operation("write", true, [bytes("bytes"), buffer("answer")], "full duplex, equal lengths; the length"),
    },
  },
  "gpio-line": {
    answeredBy: "device",
    rights: ["read", "write", "edges"],
    event: { right: "edges", payload: "[level (0 or 1), nanoseconds of the kernel's clock]" },
    binding: {
      chip: "chip number",
      line: "line offset",
      direction: "in or out",
      edges: "none, rising, falling or both",
    },
    audited: "denials",
    operations: {
      get: operation("read", true, [], "0 or 1"),
      set: operation("write", true, [i32("level")], "0"),
    },
  },
  uart: {
    answeredBy: "device",
    rights: ["read", "write"],
    event: { right: "read", payload: "bytes received, or null where some were lost before" },
    binding: { device: "path of the device", baud: "bits a second", format: "8N1 and the like" },
    audited: "denials",
    operations: { write: operation("write", true, [bytes("bytes")], "the length once it is handed to the driver") },
  },
  onewire: {
    answeredBy: "device",
    rights: ["read"],
    event: null,
    binding: { device: "w1 device id such as 28-000005e2fdc3" },
    audited: "denials",
    operations: { read: operation("read", true, [buffer("bytes")], "the nine bytes of the scratchpad; 9") },
  },
  mqtt: {
    answeredBy: "link",
    rights: ["publish", "subscribe"],
    event: { right: "subscribe", payload: "[topic (text), payload (bytes)]" },
    binding: { publish: "topic filters it may publish to", subscribe: "topic filters whose messages it receives" },
    audited: "denials",
    operations: {
      publish: operation(
        "publish",
        true,
        [bytes("topic"), bytes("payload"), i32("flags")],
        "flags: 1 is QoS 1, 2 is retain; 0 once the link has it in its queue, denied outside the filters",
      ),
    },
  },
  http: {
    answeredBy: "link",
    rights: ["request"],
    event: null,
    binding: { origin: "scheme, host and port" },
    audited: "every-use",
    operations: {
      request: operation(
        "request",
        true,
        [secret(bytes("request")), secret(buffer("response")), i32("timeoutMs")],
        "request is CBOR [method, path, {header: value}, body]; response CBOR [status, {header: value}, body]; its length",
      ),
    },
  },
} as const satisfies Record<string, InterfaceDefinition>);

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

const WASM_TYPES: Readonly<Record<ParameterKind, string>> = {
  bytes: "i32,i32",
  buffer: "i32,i32",
  handles: "i32,i32",
  i32: "i32",
  i64: "i64",
};

/** How many values a guest passes to the operation. */
export function argumentCount({ parameters }: Operation): number {
  return parameters.reduce((count, { kind }) => count + (kind === "i32" || kind === "i64" ? 1 : 2), 0);
}

/** The Wasm type of an operation, written `(i32,i32)->i32`. */
export function operationType({ parameters, result }: Operation): string {
  return `(${parameters.map(({ kind }) => WASM_TYPES[kind]).join(",")})->${result}`;
}
