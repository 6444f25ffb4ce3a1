/** The newest messages that modules publish, for the operator's eyes: kept as bytes, and read only when somebody looks. */
import { decodeCbor } from "../../kernel/index.ts";
import type { CborValue } from "../../kernel/index.ts";
import { printable } from "../wire/parse.ts";
import type { ReadingView } from "../wire/operator.ts";

/** Topics that are remembered; the one that was silent the longest makes room. */
const TOPICS = 256;
/** Messages of a topic: a sensor sends one for each of its quantities. */
const MESSAGES = 8;
/** A longer message is no reading. */
const MESSAGE_BYTES = 1024;
const TOPIC_BYTES = 256;
const TEXT_CHARACTERS = 160;
/** Of all that is shown, so that it fits in a frame beside the modules; the newest come first. */
const VIEW_CHARACTERS = 120_000;
/** Of a reading beside its texts. */
const READING_CHARACTERS = 120;
const CBOR = { maxBytes: MESSAGE_BYTES, maxDepth: 4, maxItems: 64, tags: [], deterministic: false };
const utf8 = new TextDecoder();

interface Published {
  readonly time: number;
  readonly module: string;
  readonly payload: Uint8Array;
}

export class Readings {
  readonly #topics = new Map<string, Published[]>();

  /** Called for each message that a module publishes. */
  published(module: string, topicBytes: Uint8Array, payload: Uint8Array): void {
    if (topicBytes.length > TOPIC_BYTES || payload.length > MESSAGE_BYTES) return;
    const topic = utf8.decode(topicBytes);
    const messages = this.#topics.get(topic) ?? [];
    // Last in the map is who spoke last.
    this.#topics.delete(topic);
    this.#topics.set(topic, messages);
    messages.push({ time: Date.now(), module, payload });
    if (messages.length > MESSAGES) messages.shift();
    if (this.#topics.size <= TOPICS) return;
    for (const oldest of this.#topics.keys()) {
      this.#topics.delete(oldest);
      return;
    }
  }

  /** The newest of each topic and quantity, in the order of their names. */
  view(): ReadingView[] {
    const views = new Map<string, ReadingView>();
    for (const [topic, messages] of this.#topics) {
      for (const { time, module, payload } of messages) {
        const view = { topic: printable(topic), module, time, ...read(payload) };
        views.set(`${topic}\n${view.quantity}`, view);
      }
    }
    let size = 0;
    const shown = [...views.values()]
      .sort((a, b) => b.time - a.time)
      .filter(({ topic, quantity, unit, text }) => {
        size += topic.length + quantity.length + unit.length + text.length + READING_CHARACTERS;
        return size <= VIEW_CHARACTERS;
      });
    return shown.sort((a, b) => compare(a.topic, b.topic) || compare(a.quantity, b.quantity));
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

type Content = Pick<ReadingView, "quantity" | "value" | "unit" | "text">;

/** A number, or a map with `value`, as CBOR or as JSON; anything else is shown as text. */
function read(payload: Uint8Array): Content {
  const item = parsed(payload);
  if (typeof item === "number") return { quantity: "", value: finite(item), unit: "", text: String(item) };
  if (typeof item !== "object" || item === null || item instanceof Uint8Array) {
    return { quantity: "", value: null, unit: "", text: short(typeof item === "string" ? item : undefined, payload) };
  }
  const fields = new Map<unknown, unknown>(item instanceof Map ? item : Object.entries(item));
  const word = (name: string): string => {
    const value = fields.get(name);
    return typeof value === "string" ? cut(value, 48) : "";
  };
  const text = short(JSON.stringify(Object.fromEntries(fields), shown), payload);
  return { quantity: word("quantity"), value: finite(fields.get("value")), unit: word("unit"), text };
}

function parsed(payload: Uint8Array): CborValue | undefined {
  const text = utf8.decode(payload);
  try {
    // Digits and braces are CBOR as well, of numbers that nobody meant.
    return JSON.parse(text) as CborValue;
  } catch {
    try {
      return decodeCbor(payload, CBOR);
    } catch {
      return payload.every((byte) => byte >= 0x20 && byte !== 0x7f) ? text : undefined;
    }
  }
}

function finite(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function shown(_: string, value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries(value);
  return value instanceof Uint8Array || typeof value === "bigint" ? String(value) : value;
}

function short(text: string | undefined, payload: Uint8Array): string {
  return cut(text ?? `${payload.length} bytes`, TEXT_CHARACTERS);
}

/** Half a character, of which JSON can speak and a cut may leave one, has no form in a frame. */
function cut(text: string, characters: number): string {
  return printable(text).slice(0, characters).toWellFormed();
}
