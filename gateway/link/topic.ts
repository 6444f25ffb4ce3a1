/** Topic names that modules give and brokers send: what they may be, and which slot they concern. */
import { filterMatches, RESERVED_TOPIC } from "../config/topic.ts";

/** MQTT 5.0 section 1.5.4: a UTF-8 string has at most so many bytes. */
const TOPIC_BYTES = 65_535;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The topic name, or undefined for bytes that are none (MQTT 5.0 sections 1.5.4 and 4.7.3: no wildcards, no NUL). */
export function decodeTopic(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0 || bytes.length > TOPIC_BYTES) return undefined;
  try {
    const topic = utf8.decode(bytes);
    return /[#+\0\uFEFF]/.test(topic) ? undefined : topic;
  } catch {
    return undefined;
  }
}

/** True for topics of the update protocol, which no module reads or writes. */
export function isReserved(topic: string): boolean {
  return topic === RESERVED_TOPIC || topic.startsWith(`${RESERVED_TOPIC}/`);
}

/** True where one of the filters matches the topic, and it is not reserved unless the binding may have those too. */
export function isWithin(filters: readonly string[], topic: string, mayReserved: boolean): boolean {
  return (mayReserved || !isReserved(topic)) && filters.some((filter) => filterMatches(filter, topic));
}
