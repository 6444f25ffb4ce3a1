/** The link process's settings, checked once more: the broker, who the gateway is there, and the store for bad times. */
import { Refusal } from "../../kernel/index.ts";

/** Certificates and keys as PEM text: the link opens no files but its store. */
export interface TlsSettings {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface WillSettings {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly retain: boolean;
}

export interface BrokerSettings {
  readonly url: URL;
  readonly username?: string;
  readonly password?: string;
  readonly tls: TlsSettings;
  readonly keepAliveSeconds: number;
}

/** Messages that wait for the broker: at most so many bytes, none older than `ageMs`. */
export interface StoreSettings {
  /** Null keeps them in memory. */
  readonly path: string | null;
  readonly bytes: number;
  readonly ageMs: number;
}

export interface LinkSettings {
  /** Null: the gateway works alone, and publishing fails with `not-found`. */
  readonly broker: BrokerSettings | null;
  readonly clientId: string;
  readonly will: WillSettings | null;
  readonly store: StoreSettings;
  readonly console: ConsoleSettings | null;
}

/** The page: where it is served, and to whoever shows a token of this SHA-256. */
export interface ConsoleSettings {
  readonly address: string;
  readonly port: number;
  readonly tokenDigest: Uint8Array;
  readonly tls: TlsSettings;
}

type Fields = Readonly<Record<string, unknown>>;

const MiB = 1024 * 1024;
const DAY_MS = 24 * 60 * 60 * 1000;

/** @throws Refusal E_CONFIG */
export function parseLinkSettings(value: unknown): LinkSettings {
  const settings = fields(value, "settings", ["broker", "clientId", "will", "store", "console"]);
  const { broker = null, clientId, will = null, store = {}, console = null } = settings;
  return {
    broker: broker === null ? null : parseBroker(fields(broker, "broker", BROKER_FIELDS)),
    clientId: text(clientId, "clientId"),
    will: will === null ? null : parseWill(fields(will, "will", ["topic", "payload", "retain"])),
    store: parseStore(fields(store, "store", ["path", "bytes", "ageMs"])),
    console: console === null ? null : parseConsole(fields(console, "console", CONSOLE_FIELDS)),
  };
}

const BROKER_FIELDS = ["url", "username", "password", "tls", "keepAliveMs"];

function parseBroker(broker: Fields): BrokerSettings {
  const url = text(broker["url"], "broker.url");
  if (!URL.canParse(url)) throw bad("broker.url is not an address");
  const parsed = new URL(url);
  if (parsed.protocol !== "mqtt:" && parsed.protocol !== "mqtts:") {
    throw bad("broker.url is neither mqtt:// nor mqtts://");
  }
  return {
    url: parsed,
    ...texts(broker, "broker", ["username", "password"]),
    tls: texts(fields(broker["tls"] ?? {}, "broker.tls", ["ca", "cert", "key"]), "broker.tls", ["ca", "cert", "key"]),
    keepAliveSeconds: Math.ceil(integer(broker["keepAliveMs"] ?? 30_000, "broker.keepAliveMs", 1000, 3_600_000) / 1000),
  };
}

function parseWill(will: Fields): WillSettings {
  const { payload, retain } = will;
  if (!(payload instanceof Uint8Array)) throw bad("will.payload is not a byte string");
  if (typeof retain !== "boolean") throw bad("will.retain is neither true nor false");
  return { topic: text(will["topic"], "will.topic"), payload, retain };
}

const CONSOLE_FIELDS = ["address", "port", "tokenDigest", "tls"];
const DIGEST_BYTES = 32;

function parseConsole({ address, port, tokenDigest, tls }: Fields): ConsoleSettings {
  if (!(tokenDigest instanceof Uint8Array) || tokenDigest.length !== DIGEST_BYTES) {
    throw bad("console.tokenDigest is not a SHA-256");
  }
  return {
    address: text(address, "console.address"),
    port: integer(port, "console.port", 0, 65_535),
    tokenDigest,
    tls: texts(fields(tls ?? {}, "console.tls", ["cert", "key"]), "console.tls", ["cert", "key"]),
  };
}

function parseStore(store: Fields): StoreSettings {
  const { path = null, bytes = 64 * MiB, ageMs = 7 * DAY_MS } = store;
  return {
    path: path === null ? null : text(path, "store.path"),
    bytes: integer(bytes, "store.bytes", 1024, Number.MAX_SAFE_INTEGER),
    ageMs: integer(ageMs, "store.ageMs", 1, Number.MAX_SAFE_INTEGER),
  };
}

function fields(value: unknown, field: string, known: readonly string[]): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw bad(`${field} is not a map`);
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined) throw bad(`${field} has no '${unknown}'`);
  return value as Fields;
}

/** Texts that may be absent, or null. */
function texts<Key extends string>(source: Fields, field: string, keys: readonly Key[]): Partial<Record<Key, string>> {
  const present = keys.filter((key) => source[key] !== undefined && source[key] !== null);
  return Object.fromEntries(present.map((key) => [key, text(source[key], `${field}.${key}`)])) as Partial<
    Record<Key, string>
  >;
}

function text(value: unknown, field: string): string {
  if (typeof value !== "string" || value === "") throw bad(`${field} is not a text`);
  return value;
}

function integer(value: unknown, field: string, minimum: number, maximum: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= minimum && value <= maximum) return value;
  throw bad(`${field} is not an integer from ${minimum} to ${maximum}`);
}

function bad(message: string): Refusal {
  return new Refusal("E_CONFIG", message);
}
