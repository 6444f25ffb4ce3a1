/** What docs/abi.md says of the exports, interfaces and operations that the kernel's tables list: the author's side of each contract. */
import type { INTERFACES, InterfaceName } from "../../../kernel/index.ts";

export interface InterfaceTexts {
  /** What events the slot's port gets, CBOR; null where there are none. */
  readonly event: string | null;
  /** The keys of the grant that bind the slot to one resource. */
  readonly binding: Readonly<Record<string, string>>;
  /** Contract, units and result of each operation. */
  readonly operations: Readonly<Record<string, string>>;
}

/** By name of the export. */
export const EXPORT_TEXTS: Readonly<Record<string, string>> = {
  memory: "the one linear memory, below 2 GiB; its maximum is clamped to the module's quota",
  _initialize: "runs once before anything else, metered; may not block",
  bulkhead_inbox: "address of the inbox, 8-byte aligned, asked once; its size is in the manifest",
  bulkhead_handle:
    "(port, length) handles the message in the inbox; a reply is `address << 32 | length`, 0 is none, negative is an error",
  bulkhead_save:
    "encodes the state as CBOR: `address << 32 | length`, at most the manifest's state size; may not block",
  bulkhead_state: "(length) an address where the kernel may put that much state; may not block",
  bulkhead_restore:
    "(length, schema) takes the state from there, saved by a module of that schema version; negative refuses it; may not block",
  bulkhead_health: "0 is well; asked only while the module is idle; may not block",
};

/** A text that is missing, or is for no operation, does not compile. */
type Texts = {
  readonly [Name in InterfaceName]: InterfaceTexts & {
    readonly operations: Readonly<Record<keyof (typeof INTERFACES)[Name]["operations"], string>>;
  };
};

export const INTERFACE_TEXTS: Texts = {
  endpoint: {
    event: "the reply of a `request` (kind reply), or its failure (kind notice, payload a result code)",
    binding: { to: "`module.port`, or a list of them for a slot that only sends" },
    operations: {
      send: "queues a message; 0, or full, denied, dead-peer, too-large",
      call: "waits for the reply; its length, or a code; timeoutMs is 1 or more",
      request:
        "asks without waiting; a correlation of 1 or more, whose reply comes as a message on the slot's event port",
      derive: "a handle to the same endpoint with these rights and no others",
    },
  },
  handles: {
    event: null,
    binding: {},
    operations: {
      send: "as endpoint.send, on a handle",
      call: "as endpoint.call, on a handle",
      narrow: "a new handle with fewer rights, derived from this one",
      drop: "closes the handle",
    },
  },
  timer: {
    event: "unsigned: expirations since the last tick that was delivered, 1 or more",
    binding: {},
    operations: {
      after: "one event after delayMs; replaces what was set; 0",
      every: "an event each periodMs, 1 or more, without drift; 0",
      cancel: "no more events; 0",
      sleep: "waits; 0",
    },
  },
  clock: {
    event: null,
    binding: {},
    operations: {
      monotonic: "nanoseconds since an arbitrary instant, never backward",
      wall: "milliseconds since 1970-01-01T00:00:00Z, as the host knows it",
    },
  },
  random: {
    event: null,
    binding: {},
    operations: {
      fill: "fills it with random bytes; the length",
    },
  },
  log: {
    event: null,
    binding: {},
    operations: {
      write: "a UTF-8 line; level 0 error, 1 warning, 2 information, 3 debug; 0",
    },
  },
  store: {
    event: null,
    binding: {
      prefix: "key prefix, the module's own",
      quota: "bytes of keys and values, and for each key 64 and the prefix",
    },
    operations: {
      get: "length of the value, or not-found, too-large; a key of other than 1 to 256 bytes is invalid, here and below",
      set: "0 once it is on disk, or quota; too-large for a value of more than 65536 bytes",
      delete: "0, or not-found",
    },
  },
  file: {
    event: null,
    binding: { path: "one absolute path" },
    operations: {
      read: "bytes read from offset; 0 at the end",
      write: "replaces the content; the bytes written",
    },
  },
  "i2c-device": {
    event: null,
    binding: { bus: "bus number", address: "7-bit address" },
    operations: {
      read: "the length read, or not-acknowledged, io, timeout; at most 8192 bytes a part, or too-large, and not none, or invalid; here and below",
      write: "0, or not-acknowledged, io, timeout",
      "write-read": "writes, repeated start, reads as many as answer holds; the length read",
    },
  },
  "spi-device": {
    event: null,
    binding: { bus: "bus number", chip: "chip select", mode: "0 to 3", frequency: "hertz" },
    operations: {
      read: "clocks in as many as it holds; the length; at most 4096 bytes, or too-large, and not none, or invalid; here and below",
      write: "0",
      transfer: "full duplex; the length; invalid where the two lengths differ",
    },
  },
  "gpio-line": {
    event: "[level (0 or 1), nanoseconds of the kernel's clock]",
    binding: {
      chip: "chip number",
      line: "line offset",
      direction: "in or out",
      edges: "none, rising, falling or both",
    },
    operations: {
      get: "0 or 1",
      set: "0; invalid on a line of direction in, and for a level other than 0 and 1",
    },
  },
  uart: {
    event: "bytes received, or null where some were lost before",
    binding: { device: "path of the device", baud: "bits a second", format: "8N1 and the like" },
    operations: {
      write: "the length once it is handed to the driver",
    },
  },
  onewire: {
    event: null,
    binding: { device: "w1 device id such as 28-000005e2fdc3" },
    operations: {
      read: "the nine bytes of the scratchpad; 9",
    },
  },
  mqtt: {
    event: "[topic (text), payload (bytes)]",
    binding: { publish: "topic filters it may publish to", subscribe: "topic filters whose messages it receives" },
    operations: {
      publish: "flags: 1 is QoS 1, 2 is retain; 0 once the link has it in its queue, denied outside the filters",
    },
  },
  http: {
    event: null,
    binding: { origin: "scheme, host and port" },
    operations: {
      request:
        "request is CBOR [method, path, {header: value}, body], GET, HEAD, POST, PUT, PATCH or DELETE, at most 32 headers; response CBOR [status, {header: value}, body]; its length, or timeout after timeoutMs, 60 s at most; redirects are not followed",
    },
  },
};
