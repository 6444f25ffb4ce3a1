/** The shape of `gateway.yaml`: every key that the file may have, once; reading, errors and the JSON Schema come from it. */
import { INTERFACES, LIMITS } from "../../kernel/index.ts";
import { DEFAULTS, PAGE_BYTES } from "./defaults.ts";
import { grantShape, MAXIMUM_GRANTS, portAddress } from "./grants.ts";
import { messageShape, settingsShape } from "./settings.ts";
import {
  anything,
  boolean,
  choice,
  duration,
  integer,
  list,
  name,
  optional,
  type RecordOf,
  record,
  required,
  size,
  table,
  text,
} from "./shape.ts";

const MiB = 1024 * 1024;
const path = text("a path; a relative one starts at the folder of gateway.yaml", { maximumLength: 4096 });

const DOMAIN = "^[a-z0-9][a-z0-9-]*(\\.[a-z0-9][a-z0-9-]*)*$";

const gateway = record("who this gateway is", {
  id: required(name("the gateway's id"), "its name in topics, plans and reports; unique in the fleet"),
  vendor: required(
    text("a domain such as sensors.example", { pattern: DOMAIN, maximumLength: 253 }),
    "whose gateways these are; signed modules name it",
  ),
  class: required(name("the gateway's class"), "the kind of gateway; signed modules and configurations may name it"),
});

const BROKER_PROTOCOLS = ["mqtt:", "mqtts:"];

function refuseBroker(url: string): string | undefined {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol === "ws:" || parsed?.protocol === "wss:") {
    return "MQTT over WebSockets is not spoken here: give the broker's mqtt:// or mqtts:// address";
  }
  if (parsed === undefined || !BROKER_PROTOCOLS.includes(parsed.protocol) || parsed.hostname === "") {
    return "this is not an MQTT address";
  }
  if (parsed.username !== "" || parsed.password !== "") return "secrets stay out of this file: use password-file";
  return undefined;
}

const broker = record("the MQTT broker", {
  url: required(
    text("an address such as mqtts://broker.example:8883", { refuse: refuseBroker, secret: true }),
    "address of the broker",
  ),
  "client-id": optional(text("an MQTT client id", { pattern: "^[A-Za-z0-9._-]{1,64}$" }), "default: the gateway's id"),
  username: optional(text("a user name"), "user name at the broker"),
  "password-file": optional(
    path,
    "file that holds the password; the user that runs the gateway must be able to read it, and nobody else should",
  ),
  "ca-file": optional(path, "certificates (PEM) of the authorities that may have signed the broker's"),
  "certificate-file": optional(path, "the gateway's own certificate (PEM)"),
  "key-file": optional(path, "the key (PEM) of that certificate"),
  "keep-alive": optional(duration(1000, 3_600_000), "default 30s"),
  buffer: optional(
    size(64 * 1024, 64 * 1024 * MiB),
    "telemetry kept on disk while the broker is away, the oldest dropped first, none older than 7 days; default 64MiB",
  ),
});

const console_ = record("the local web page, metrics and health", {
  port: required(integer(0, 65_535), "TCP port; 0 takes a free one"),
  address: optional(text("an IP address", { pattern: "^[0-9a-fA-F:.]{2,45}$" }), "default 127.0.0.1"),
  "token-file": optional(
    path,
    "file that holds the token, mode 0600, owned by the user that runs the gateway; default: made in the data folder",
  ),
  "certificate-file": optional(path, "certificate (PEM); needed beyond loopback"),
  "key-file": optional(path, "key (PEM) of that certificate"),
});

const backend = record("where the devices of one bus are", {
  backend: optional(
    choice(["auto", "linux", "simulator"]),
    "auto (the default): the hardware where there is some, else the simulator; the start-up log says which",
  ),
  simulate: optional(
    list(anything("a simulated device: { chip: …, address: … }"), 0, 128),
    "devices on the simulated bus",
  ),
});

const number = {
  what: "a bus or chip number from 0 to 255",
  pattern: "^(0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])$",
};
const device = { what: "the path of a device below /dev", pattern: "^/dev/[A-Za-z0-9/:_.-]{1,100}$" };

const devices = record("buses and devices by kind", {
  i2c: optional(table("I2C buses by number", backend, { key: number }), "I2C buses by number"),
  spi: optional(table("SPI buses by number", backend, { key: number }), "SPI buses by number"),
  gpio: optional(table("GPIO chips by number", backend, { key: number }), "GPIO chips by number"),
  uart: optional(table("serial lines by device path", backend, { key: device }), "serial lines by device path"),
  onewire: optional(backend, "the 1-Wire bus"),
});

const fuel = record("fuel", {
  limit: required(integer(1, LIMITS.activationFuelMaximum), "fuel in each period"),
  period: optional(duration(1, 60_000), "default 100ms"),
});

const partition = record("a partition: one worker thread", {
  heap: optional(size(8 * MiB, 4096 * MiB), "JavaScript heap of the worker, whole MiB; default 64MiB"),
  memory: optional(size(PAGE_BYTES, 64 * 1024 * MiB), "memory of all its modules; default: only the gateway's limit"),
  fuel: optional(fuel, "fuel of all its modules; default: one core"),
});

const restart = record("what happens after a failure", {
  policy: optional(
    choice(["restart", "hold", "restart-partition", "safe-state"]),
    "default restart; hold waits for the operator; restart-partition replaces all modules of its partition; " +
      "safe-state holds the module and sends `message` to `to`",
  ),
  intensity: optional(integer(0, 1000), "more failures than this within `window` and the module is held; default 5"),
  window: optional(duration(100, 86_400_000), "default 60s"),
  backoff: optional(duration(0, 3_600_000), "delay after the immediate restart; doubles; default 10ms"),
  maximum: optional(duration(0, 86_400_000), "the longest delay; default 30s"),
  to: optional(portAddress, "of safe-state: the port that gets the final message, written 'module.port'"),
  message: optional(messageShape, "of safe-state: the final message, text or any data; the port gets it as CBOR"),
});

const module = record("a module", {
  envelope: optional(path, "the signed module to start with; without it the module comes with an update"),
  partition: optional(name("the name of a partition"), "default: the first one"),
  priority: optional(integer(0, 7), "0 is the highest; default 3, or that of the highest caller"),
  memory: optional(
    size(PAGE_BYTES, LIMITS.memoryPages * PAGE_BYTES),
    "its linear memory, a multiple of 64KiB; default 1MiB",
  ),
  fuel: optional(fuel, "default: an equal share of what the partition has left"),
  activation: optional(duration(1, 3_600_000), "wall-clock limit of one activation, waiting included; default 1m"),
  checkpoint: optional(
    record("when state is saved", {
      messages: optional(integer(0, 1_000_000), "after so many messages; default 0: not by their number"),
      every: optional(duration(50, 86_400_000), "after so long, where messages have come; default: not by time"),
    }),
    "default: never; by either, where both are given",
  ),
  restart: optional(restart, "what happens after a failure"),
  settings: optional(
    settingsShape,
    "the module's own settings: `bulkhead inspect` says which it takes; at most 4 KiB as CBOR, 8 levels deep",
  ),
  grants: optional(
    table("grants by slot", grantShape, { maximum: MAXIMUM_GRANTS }),
    "what the module may use; nothing else",
  ),
  record: optional(boolean(), "what goes into it is recorded, for a capsule should it fail; default true"),
  "local-only": optional(boolean(), "a received configuration may not widen this module's grants"),
});

const limits = record("bounds of the whole gateway", {
  memory: optional(size(16 * MiB, 1024 * 1024 * MiB), "all modules and partition heaps; default 1GiB"),
  cores: optional(integer(1, 256), "cores whose fuel the modules may use together; default 4"),
  spare: optional(
    boolean(),
    "a thread is kept ready for a partition that is lost: 7.5 MiB for some 50 ms less of outage; default true",
  ),
});

const capsules = record("what is kept of a module's failure", {
  recipient: optional(
    text("an X25519 public key, 64 hexadecimal digits", { pattern: "^[0-9a-f]{64}$", maximumLength: 64 }),
    "capsules are sealed to this key: `bulkhead keygen --role capsules` makes it; default: secrets are left out",
  ),
});

const ALL_RIGHTS = [...new Set(Object.values(INTERFACES).flatMap(({ rights }): readonly string[] => rights))];

const route = text("'from -> to', such as 'uplink -> bme280.control'", {
  hint: "from: module, module.slot or '*'; to: module, module.port, an interface, interface:resource or '*'",
});

const rule = record("a rule: the first that matches decides", {
  allow: optional(route, "routes that later rules cannot withdraw"),
  deny: optional(route, "routes that are withdrawn"),
  rights: optional(list(choice(ALL_RIGHTS), 1, ALL_RIGHTS.length), "the rule is about these rights only; default: all"),
  reason: optional(text("a sentence"), "shown by `bulkhead why`"),
  "local-only": optional(
    boolean(),
    "a received configuration may not grant what this rule denies, whatever its own rules say",
  ),
});

const test = record("an assertion about the policy", {
  allow: optional(route, "this must be allowed"),
  deny: optional(route, "this must be denied"),
});

const keys = {
  gateway: required(gateway, "who this gateway is"),
  data: required(path, "folder of everything that the gateway keeps"),
  trust: required(
    record("what is trusted from the start", { root: required(path, "the first root envelope") }),
    "what is trusted from the start",
  ),
  broker: optional(broker, "the MQTT broker; without it the gateway works alone"),
  console: optional(console_, "the local web page; without it there is none"),
  devices: optional(devices, "buses and devices; all are on `auto` where nothing is said"),
  limits: optional(limits, "bounds of the whole gateway"),
  capsules: optional(capsules, "what is kept of a module's failure, below `data`"),
  partitions: optional(
    table("partitions by name", partition, { maximum: 64 }),
    `default: one, named ${DEFAULTS.partition}`,
  ),
  modules: optional(table("modules by name", module), "modules by name"),
  rules: optional(list(rule, 0, 4096), "what the grants of all files may bind"),
  tests: optional(list(test, 0, 4096), "checked at boot and by `bulkhead plan`; a failing one stops the boot"),
} as const;

export const gatewayShape = record("a Bulkhead gateway", keys);
export type GatewayDraft = RecordOf<typeof keys>;
export type ModuleDraft = NonNullable<ReturnType<typeof module.read>>;
export type RuleDraft = NonNullable<ReturnType<typeof rule.read>>;
export type TestDraft = NonNullable<ReturnType<typeof test.read>>;
export type PartitionDraft = NonNullable<ReturnType<typeof partition.read>>;
export type DevicesDraft = NonNullable<ReturnType<typeof devices.read>>;
