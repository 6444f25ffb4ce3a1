/** The shape of a grant, interface by interface: which keys bind a slot to its one resource. */
import { posix } from "node:path";
import {
  type EndpointRight,
  type GrantParameter,
  type InterfaceName,
  interfaceDefinition,
  LIMITS,
  type OverflowPolicy,
  type Requirement,
} from "../../kernel/index.ts";
import { requirements } from "./content.ts";
import { DEFAULT_RIGHTS, DEFAULTS } from "./defaults.ts";
import { NAME_PATTERN } from "./names.ts";
import type { Position, Problems } from "./problem.ts";
import {
  boolean,
  choice,
  integer,
  type Keys,
  type Located,
  list,
  oneOrMore,
  optional,
  type RecordOf,
  record,
  required,
  type Shape,
  size,
  text,
  variant,
  type Variant,
} from "./shape.ts";
import { refuseFilter } from "./topic.ts";

/** Interfaces of whose use the audit log keeps every one; of the others it keeps denials. */
export const EVERY_USE_AUDITED: ReadonlySet<InterfaceName> = new Set(["http"]);

/** An endpoint grant as it is written; targets are not looked up yet. */
export interface EndpointDraft {
  readonly interface: "endpoint";
  readonly to: readonly Located<string>[];
  readonly rights: Located<readonly EndpointRight[]> | undefined;
  readonly badge: Located<number> | undefined;
  readonly depth: number;
  readonly overflow: OverflowPolicy;
  readonly check: RouteCheck;
  readonly require: readonly Requirement[];
  readonly notify: boolean;
  readonly localOnly: boolean;
}

/** `always`: the kernel validates each message of the route against the port's contract; `boundary`: only from outside. */
export type RouteCheck = "always" | "boundary";

/** Any other grant as it is written. */
export interface ResourceDraft {
  readonly interface: Exclude<InterfaceName, "endpoint">;
  readonly rights: readonly string[];
  readonly parameters: Readonly<Record<string, GrantParameter>>;
  readonly localOnly: boolean;
}

export type GrantDraft = EndpointDraft | ResourceDraft;
type ResourceName = ResourceDraft["interface"];

const PORT_ADDRESS = `${NAME_PATTERN.slice(0, -1)}\\.${NAME_PATTERN.slice(1)}`;

export const portAddress = text("a port written 'module.port'", {
  pattern: PORT_ADDRESS,
  hint: "write the module's name, a dot and the port's name",
});

const localOnly = optional(
  boolean(),
  "no configuration received over MQTT may widen this grant, or give what it reaches to another module",
);

/** A list of rights without repetition, at least one. */
function rightsShape<const T extends string>(rights: readonly T[]): Shape<readonly T[]> {
  const some = list(choice(rights), 1, rights.length);
  return {
    what: `a list of rights: ${rights.join(", ")}`,
    read(node, path, problems) {
      const found = some.read(node, path, problems);
      if (found === undefined) return undefined;
      for (const [index, { value, at }] of found.entries()) {
        const first = found.findIndex((other) => other.value === value);
        if (first !== index) problems.add(at, `${path} names '${value}' twice`, { hint: "remove one" });
      }
      return rights.filter((right) => found.some(({ value }) => value === right));
    },
    schema: () => ({ ...some.schema(), uniqueItems: true }),
  };
}

const endpointShape: Shape<EndpointDraft> = mapped(
  record("an endpoint: sends to, or calls, ports of other modules", {
    to: required(oneOrMore(portAddress), "`module.port`, or a list of them for a slot that only sends"),
    rights: optional(
      rightsShape(["send", "call", "pass"]),
      "default [send]; `call` waits for replies, `pass` may hand it on",
    ),
    badge: optional(
      integer(0, 0xffff_ffff),
      "the number that the receiver sees in each message of this route; default 0",
    ),
    depth: optional(
      integer(1, 4096),
      `messages of this route that may wait at the receiver; default ${DEFAULTS.depth}`,
    ),
    overflow: optional(
      choice(["refuse", "drop-oldest", "drop-newest", "latest"]),
      "what happens to a message that finds the depth used up; default refuse",
    ),
    check: optional(
      choice(["always", "boundary"]),
      "always: each message is validated against the port's contract; default boundary",
    ),
    require: optional(requirements, "fields that a message must have to pass"),
    notify: optional(
      boolean(),
      "the module is told, by a notice with the slot's name, when a target fails and when it runs again; default false",
    ),
    "local-only": localOnly,
  }),
  (grant) => ({
    interface: "endpoint",
    to: grant.to.value,
    rights: grant.rights,
    badge: grant.badge,
    depth: grant.depth?.value ?? DEFAULTS.depth,
    overflow: grant.overflow?.value ?? DEFAULTS.overflow,
    check: grant.check?.value ?? "boundary",
    require: grant.require?.value ?? [],
    notify: grant.notify?.value ?? false,
    localOnly: grant["local-only"]?.value ?? false,
  }),
);

type Convert<A, B> = (value: A, at: Position, path: string, problems: Problems) => B;

function mapped<A, B>(shape: Shape<A>, convert: Convert<A, B>): Shape<B> {
  return {
    what: shape.what,
    read(node, path, problems) {
      const value = shape.read(node, path, problems);
      return value === undefined ? undefined : convert(value, node.at, path, problems);
    },
    schema: () => shape.schema(),
  };
}

interface Bound {
  readonly parameters: Readonly<Record<string, GrantParameter>>;
  /** The rights that the binding implies, where it does. */
  readonly rights?: readonly string[];
}

/** The shape of a resource grant: the keys that bind it, and `rights` where the interface has more than one. */
function resource<const K extends Keys>(
  name: ResourceName,
  what: string,
  keys: K,
  bind: (values: RecordOf<K>) => Bound,
): readonly [InterfaceName, Shape<GrantDraft>] {
  const known = interfaceDefinition(name).rights;
  const narrowing = { rights: optional(rightsShape(known), "fewer rights than the binding gives") };
  // With one right there is nothing to narrow, and those of mqtt are its lists of filters.
  const hasRights = known.length > 1 && name !== "mqtt";
  const shape = record(what, { ...keys, ...(hasRights ? narrowing : {}), "local-only": localOnly });
  return [
    name,
    mapped(shape, (values, at, path, problems) => {
      // The merged record has all of these; TypeScript does not see through the mapped type of a generic spread.
      const own = values as unknown as RecordOf<K> & Partial<RecordOf<typeof narrowing>> & LocalOnly;
      const { rights: given = DEFAULT_RIGHTS[name], parameters: bound } = bind(own);
      const asked = own.rights;
      for (const right of asked?.value ?? []) {
        const isGiven = given.includes(right) || (name === "file" && known.includes(right));
        if (!isGiven) problems.add(asked?.at ?? at, `${path}: the binding does not give the right '${right}'`);
      }
      if (given.length === 0) problems.add(at, `${path} binds nothing`, { expected: "'publish', 'subscribe' or both" });
      const rights = asked?.value ?? given;
      return { interface: name, rights, parameters: bound, localOnly: own["local-only"]?.value ?? false };
    }),
  ];
}

type LocalOnly = RecordOf<{ readonly "local-only": typeof localOnly }>;

/** Present values only: a parameter that is absent is not a parameter. */
function parameters(values: Readonly<Record<string, GrantParameter | undefined>>): Bound {
  const present = Object.entries(values).flatMap(([key, value]) =>
    value === undefined ? [] : [[key, value] as const],
  );
  return { parameters: Object.fromEntries(present) };
}

export function refusePath(path: string): string | undefined {
  if (!path.startsWith("/")) return "the path is not absolute";
  if (path.split("/").some((part) => part === ".." || part === ".")) return "the path has '.' or '..' in it";
  if (posix.normalize(path) !== path || path.endsWith("/")) return "the path is not in its plain form";
  return undefined;
}

export const absolutePath = text("an absolute path of a file, without '.', '..' or '//'", { refuse: refusePath });

const topicFilter = text("an MQTT topic filter such as site/7/#", { refuse: refuseFilter, maximumLength: 512 });

/** `http://host`, `https://host:8443`: no user, no path. */
export function refuseOrigin(origin: string): string | undefined {
  const url = URL.canParse(origin) ? new URL(origin) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol)) return "this is not an http or https origin";
  return url.origin === origin ? undefined : `an origin is scheme, host and port only: ${url.origin}`;
}

const storePrefix = text("a key prefix of letters, digits, '.', '_', '-' and '/'", {
  pattern: "^[A-Za-z0-9][A-Za-z0-9._/-]{0,126}$",
});

const NOTHING: Bound = { parameters: {} };
const bus = (device: string) => required(integer(0, 255), `number of the bus, as in ${device}`);

const RESOURCES: readonly (readonly [InterfaceName, Shape<GrantDraft>])[] = [
  resource(
    "handles",
    "use of handles that came in messages; the slot's name is `handles`",
    {
      notify: optional(
        boolean(),
        "the module is told when what a handle leads to fails, and when it runs again; default false",
      ),
    },
    ({ notify }) => (notify?.value === true ? parameters({ notify: true }) : NOTHING),
  ),
  resource("timer", "a timer", {}, () => NOTHING),
  resource("clock", "the clocks", {}, () => NOTHING),
  resource("random", "random bytes", {}, () => NOTHING),
  resource("log", "log lines", {}, () => NOTHING),
  resource(
    "store",
    "persistent keys and values",
    {
      prefix: required(storePrefix, "prefix of all its keys; no other module's may overlap it"),
      quota: optional(
        size(1, 64 * 1024 * 1024),
        "bytes of keys and values, and for each key 64 and the prefix; default 64KiB",
      ),
    },
    ({ prefix, quota }) => parameters({ prefix: prefix.value, quota: quota?.value ?? DEFAULTS.storeQuotaBytes }),
  ),
  resource("file", "one file", { path: required(absolutePath, "one absolute path") }, ({ path }) =>
    parameters({ path: path.value }),
  ),
  resource(
    "i2c-device",
    "one device on one I2C bus",
    { bus: bus("/dev/i2c-1"), address: required(integer(0x08, 0x77, "0x08 to 0x77"), "7-bit address") },
    ({ bus: number, address }) => parameters({ bus: number.value, address: address.value }),
  ),
  resource(
    "spi-device",
    "one device on one SPI bus",
    {
      bus: bus("/dev/spidev0.*"),
      chip: required(integer(0, 15), "chip select"),
      mode: optional(integer(0, 3), "SPI mode; default 0"),
      frequency: optional(integer(1000, 125_000_000, "hertz"), "clock; default 1000000"),
    },
    ({ bus: number, chip, mode, frequency }) =>
      parameters({
        bus: number.value,
        chip: chip.value,
        mode: mode?.value ?? DEFAULTS.spiMode,
        frequency: frequency?.value ?? DEFAULTS.spiFrequency,
      }),
  ),
  resource(
    "gpio-line",
    "one line of one GPIO chip",
    {
      chip: required(integer(0, 255), "number of the chip, as in /dev/gpiochip0"),
      line: required(integer(0, 1023), "offset of the line on its chip"),
      direction: required(choice(["in", "out"]), "whether the line is read or driven"),
      edges: optional(choice(["none", "rising", "falling", "both"]), "edges that come as events; default none"),
    },
    ({ chip, line, direction, edges }) => {
      const watched = edges?.value ?? DEFAULTS.edges;
      const watching = watched === "none" ? [] : ["edges"];
      return {
        ...parameters({ chip: chip.value, line: line.value, direction: direction.value, edges: watched }),
        rights: direction.value === "in" ? ["read", ...watching] : ["read", "write"],
      };
    },
  ),
  resource(
    "uart",
    "one serial line",
    {
      device: required(
        text("the path of a device below /dev, such as /dev/ttyAMA0", {
          pattern: "^/dev/[A-Za-z0-9/:_.-]+$",
          refuse: refusePath,
        }),
        "path of the device",
      ),
      baud: required(integer(50, 4_000_000, "bits a second"), "bits a second"),
      format: optional(
        text("a format such as 8N1", { pattern: "^[5-8][NEO][12]$" }),
        "data bits, parity, stop bits; default 8N1",
      ),
    },
    ({ device, baud, format }) =>
      parameters({ device: device.value, baud: baud.value, format: format?.value ?? DEFAULTS.uartFormat }),
  ),
  resource(
    "onewire",
    "one device on the 1-Wire bus",
    {
      device: required(
        text("a w1 device id such as 28-000005e2fdc3", { pattern: "^[0-9a-f]{2}-[0-9a-f]{12}$" }),
        "w1 device id",
      ),
    },
    ({ device }) => parameters({ device: device.value }),
  ),
  resource(
    "mqtt",
    "topics of the broker",
    {
      publish: optional(list(topicFilter, 1, 64), "topic filters it may publish to"),
      subscribe: optional(list(topicFilter, 1, 64), "topic filters whose messages it receives"),
    },
    ({ publish, subscribe }) => ({
      ...parameters({
        publish: publish?.value.map(({ value }) => value),
        subscribe: subscribe?.value.map(({ value }) => value),
      }),
      rights: [...(publish ? ["publish"] : []), ...(subscribe ? ["subscribe"] : [])],
    }),
  ),
  resource(
    "http",
    "requests to one origin",
    {
      origin: required(
        text("an origin such as https://api.example:8443", { refuse: refuseOrigin }),
        "scheme, host and port",
      ),
    },
    ({ origin }) => parameters({ origin: origin.value }),
  ),
];

/** By interface, in the order of the interface table. */
export const GRANT_SHAPES: ReadonlyMap<string, Shape<GrantDraft>> = new Map([
  ["endpoint", endpointShape],
  ...RESOURCES,
]);

export const grantShape: Shape<Variant<GrantDraft>> = variant("a grant", GRANT_SHAPES);

/** Slots of one module. */
export const MAXIMUM_GRANTS = LIMITS.slots;
