/** The kernel's coded refusals: one class, one table; every error says what was expected, what was found and what to do next. */

/**
 * Every code a refusal can carry, with its one meaning.
 * Those of docs/updates.md are also the result codes that a gateway reports; the rest concern loading and policy.
 */
export const REFUSAL_CODES = Object.freeze({
  E_CBOR: "bytes are not the strict CBOR that is accepted here",
  E_SIG: "a signature does not verify",
  E_KEY: "a key is unknown, malformed, revoked, or not of the role that this document needs",
  E_THRESHOLD: "fewer distinct valid signatures than the role's threshold",
  E_ROOT_GAP: "a root document skips a version",
  E_ROLLBACK: "a version or sequence number is below what is already trusted",
  E_EXPIRED: "a document's expiry lies in the past",
  E_TARGET: "a document is meant for another gateway, vendor or class",
  E_ABI: "a module speaks another ABI, or its exports do not fit the ABI",
  E_CAP: "a module asks for or imports what it was not granted",
  E_SIZE: "something is larger or smaller than allowed or signed",
  E_DIGEST: "bytes do not have the signed digest",
  E_WASM: "a binary is malformed or uses a WebAssembly feature that is not accepted",
  E_STORE: "the disk refused: full, read-only or failing",
  E_TIMEOUT: "something did not arrive or answer in time",
  E_PROBATION: "the new module failed while on probation",
  E_REVOKED: "a key or digest has been revoked by the root",
  E_ABORTED: "the operation was superseded or stopped",
  E_MANIFEST: "a module's manifest is malformed or contradicts its binary",
  E_CONTRACT: "the two ends of a route have contracts that do not fit",
  E_STATE: "a module refused the state that was handed to it",
  E_CONFIG: "the configuration is not valid",
  E_UNKNOWN: "a name does not exist here",
  E_BUSY: "the kernel is doing something that excludes this",
} as const);

export type RefusalCode = keyof typeof REFUSAL_CODES;

/** What a refusal says beyond its code. `at` is a byte offset in the refused bytes. */
export interface RefusalDetail {
  readonly expected?: string;
  readonly found?: string;
  readonly hint?: string;
  readonly at?: number;
}

/** The only error that kernel code throws on wrong input. A stack trace is never part of what the user sees. */
export class Refusal extends Error {
  readonly code: RefusalCode;
  readonly detail: RefusalDetail;

  constructor(code: RefusalCode, message: string, detail: RefusalDetail = {}) {
    super(message);
    this.name = "Refusal";
    this.code = code;
    this.detail = detail;
  }

  /** One line for people: code, message, expectation, finding, offset, next step. */
  describe(): string {
    const { expected, found, hint, at } = this.detail;
    return [
      `${this.code}: ${this.message}`,
      expected === undefined ? "" : `expected ${expected}`,
      found === undefined ? "" : `found ${found}`,
      at === undefined ? "" : `at byte ${at}`,
      hint ?? "",
    ]
      .filter((part) => part !== "")
      .join("; ");
  }
}

/** Refuses what is over a bound. */
export function refuseSize(message: string, most: string, found: number, detail: RefusalDetail = {}): never {
  throw new Refusal("E_SIZE", message, { expected: `at most ${most}`, found: `${found}`, ...detail });
}
