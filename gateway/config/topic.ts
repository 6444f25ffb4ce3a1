/** MQTT topic filters (MQTT 5.0, section 4.7) as grants may name them. */
export { filterMatches } from "../../kernel/index.ts";

/** Topics of the update protocol start with this level; no module publishes or listens there. */
export const RESERVED_TOPIC = "bulkhead";

/** The longest filter that is accepted; the standard's 65,535 bytes are of no use to people. */
const FILTER_BYTES = 512;

/** Why this is no filter of MQTT topics for a module, wherever it reaches; or undefined where it is one. */
export function malformedFilter(filter: string): string | undefined {
  if (Buffer.byteLength(filter) > FILTER_BYTES) return `a topic filter has at most ${FILTER_BYTES} bytes`;
  if (filter === "" || filter.includes("\0") || !filter.isWellFormed()) {
    return "a topic filter is a text that is not empty and has no NUL";
  }
  const levels = filter.split("/");
  const hash = levels.findIndex((level) => level.includes("#"));
  if (hash >= 0 && (levels[hash] !== "#" || hash !== levels.length - 1)) {
    return "'#' stands alone, as the last level of a filter";
  }
  if (levels.some((level) => level.includes("+") && level !== "+")) return "'+' stands alone in its level";
  if (filter.startsWith("$")) return "topics that start with '$' are the broker's own (shared subscriptions too)";
  return undefined;
}

/** Why a module may not be bound to this filter, or undefined where it may. */
export function refuseFilter(filter: string): string | undefined {
  const fault = malformedFilter(filter);
  if (fault !== undefined) return fault;
  const [first = ""] = filter.split("/");
  if (first === RESERVED_TOPIC || first === "#" || first === "+") {
    return `this filter reaches '${RESERVED_TOPIC}/', where the gateway's updates travel`;
  }
  return undefined;
}

/** True where every topic that `inner` matches is matched by `outer` too. */
export function filterCovers(outer: string, inner: string): boolean {
  const [outerLevels, innerLevels] = [outer.split("/"), inner.split("/")];
  for (const [index, level] of outerLevels.entries()) {
    if (level === "#") return true;
    const other = innerLevels[index];
    if (other === undefined || other === "#") return false;
    if (level !== "+" && level !== other) return false;
  }
  // `a/#` matches `a` too, so `a` does not cover it; the loop has seen to that by the missing level.
  return outerLevels.length === innerLevels.length;
}

/** True where some topic is matched by both. */
export function filtersOverlap(left: string, right: string): boolean {
  const [a, b] = [left.split("/"), right.split("/")];
  for (let index = 0; index < Math.max(a.length, b.length); index += 1) {
    const [one, other] = [a[index], b[index]];
    if (one === "#" || other === "#") return true;
    if (one === undefined || other === undefined) return false;
    if (one !== "+" && other !== "+" && one !== other) return false;
  }
  return true;
}
