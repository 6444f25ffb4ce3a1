/** Watches one gateway through its signed reports; what its key did not sign is counted and otherwise ignored. */

import { Refusal } from "../../kernel/index.ts";
import { decodeEvent, decodeReport, openReport } from "../../gateway/wire/update-report.ts";
import type { GatewayReport, ResultCode, UpdateEvent } from "../../gateway/wire/update-report.ts";

/** Bytes of a report at most: more is not even decoded. */
const REPORT_BYTES = 256 * 1024;

/** Codes after which a gateway tries again by itself decide nothing. */
const TRIED_AGAIN: readonly ResultCode[] = ["E_STORE", "E_TIMEOUT", "E_BUSY", "E_ROOT_GAP"];

export class GatewayWatch {
  readonly gatewayId: string;
  readonly #publicKey: Uint8Array;
  #reported: GatewayReport | undefined;
  #eventCounter = -1;
  #forged = 0;
  #changed = Promise.withResolvers<undefined>();
  #events: UpdateEvent[] = [];
  /** `online`, `offline` or, before anything was said, undefined. Not signed: a hint for people. */
  presence: string | undefined;

  constructor(gatewayId: string, publicKey: Uint8Array) {
    this.gatewayId = gatewayId;
    this.#publicKey = publicKey;
  }

  /** The newest report. Older ones, which a broker may replay, never replace it. */
  get reported(): GatewayReport | undefined {
    return this.#reported;
  }

  /** Messages on the gateway's topics that its key did not sign. */
  get forged(): number {
    return this.#forged;
  }

  /** How this plan ended, as the newest report has it; undefined where nothing final is said of it. */
  resultOf(plan: string): { readonly code: ResultCode; readonly reason: string } | undefined {
    const reported = this.#reported;
    if (reported?.plan?.digest === plan) return { code: "OK", reason: "" };
    return reported?.last?.plan === plan && !TRIED_AGAIN.includes(reported.last.code) ? reported.last : undefined;
  }

  takeReported(payload: Uint8Array): void {
    const report = this.#open(payload, "reported", decodeReport);
    if (report === undefined || report.counter <= (this.#reported?.counter ?? -1)) return;
    this.#reported = report;
    this.#wake();
  }

  takeEvent(payload: Uint8Array): void {
    const event = this.#open(payload, "event", decodeEvent);
    if (event === undefined || event.counter <= this.#eventCounter) return;
    this.#eventCounter = event.counter;
    this.#events.push(event);
    this.#wake();
  }

  takePresence(payload: Uint8Array): void {
    const text = new TextDecoder().decode(payload.subarray(0, 16));
    if (text !== "online" && text !== "offline") return;
    this.presence = text;
    this.#wake();
  }

  /** Events that came since this was last called. */
  takeEvents(): UpdateEvent[] {
    return this.#events.splice(0);
  }

  /** Resolves when there is something new, or after so long at most; false for the latter. */
  async changed(milliseconds: number, signal?: AbortSignal): Promise<boolean> {
    const late = Promise.withResolvers<false>();
    const timer = setTimeout(() => {
      late.resolve(false);
    }, milliseconds);
    const onAbort = () => {
      late.resolve(false);
    };
    signal?.addEventListener("abort", onAbort);
    try {
      return await Promise.race([this.#changed.promise.then(() => true), late.promise]);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #wake(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers();
    resolve(undefined);
  }

  #open<Report extends { readonly gateway: string }>(
    payload: Uint8Array,
    kind: "event" | "reported",
    decode: (bytes: Uint8Array) => Report,
  ): Report | undefined {
    // A cleared retained message.
    if (payload.length === 0) return undefined;
    try {
      if (payload.length > REPORT_BYTES) throw new Refusal("E_SIZE", "a report is too large");
      const report = decode(openReport(payload, kind, this.#publicKey));
      if (report.gateway !== this.gatewayId) throw new Refusal("E_TARGET", "a report of another gateway");
      return report;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#forged++;
      return undefined;
    }
  }
}
