/** What a gateway had to say in a soak: each kind of remark once, with how often and when it came first. */
import type { GatewayEvent } from "../../gateway/core/index.ts";
import { eventText, isWarning } from "../../gateway/core/index.ts";

export interface Remark {
  /** The first of its kind, word for word. */
  readonly text: string;
  /** Milliseconds since the start. */
  readonly firstMs: number;
  count: number;
}

/** More kinds than this tell no more. */
const KINDS = 100;

/** Remarks by kind: two that differ in their numbers only are of one kind. */
export class Said {
  readonly #remarks = new Map<string, Remark>();
  readonly #since = performance.now();

  take(event: GatewayEvent): void {
    if (!isRemark(event)) return;
    const text = eventText(event);
    const kind = text.replaceAll(/\d+/g, "#");
    const known = this.#remarks.get(kind);
    if (known !== undefined) known.count++;
    else if (this.#remarks.size < KINDS) {
      this.#remarks.set(kind, { text, firstMs: Math.round(performance.now() - this.#since), count: 1 });
    }
  }

  remarks(): Remark[] {
    return [...this.#remarks.values()];
  }
}

/** Faults are what the soak makes, and counts. */
function isRemark(event: GatewayEvent): boolean {
  return event.type === "host" || (isWarning(event) && event.type !== "fault");
}
