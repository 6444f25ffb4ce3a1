/** The update agent's states as one table: what is done in each, where it leads, and where its failure leads. */

import type { RefusalCode } from "../../kernel/index.ts";
import type { UpdateState } from "../wire/update-report.ts";

/** What is done in a state. The agent has one function for each. */
export type Step =
  | "verifyPlan"
  | "verifyDocuments"
  | "checkPolicy"
  | "makeRoom"
  | "fetchBlobs"
  | "stage"
  | "swap"
  | "prove"
  | "none";

export interface StateRow {
  readonly step: Step;
  /** The state after the step; itself for an end. */
  readonly next: UpdateState;
  /** The end to which a refusal in this state leads. */
  readonly failure: UpdateState;
}

export const STATE_TABLE: Readonly<Record<UpdateState, StateRow>> = Object.freeze({
  idle: { step: "verifyPlan", next: "plan-verified", failure: "rejected" },
  "plan-verified": { step: "verifyDocuments", next: "manifest-verified", failure: "rejected" },
  "manifest-verified": { step: "checkPolicy", next: "policy-ok", failure: "rejected" },
  "policy-ok": { step: "makeRoom", next: "fetching", failure: "rejected" },
  fetching: { step: "fetchBlobs", next: "digest-ok", failure: "rejected" },
  "digest-ok": { step: "stage", next: "staged", failure: "rejected" },
  staged: { step: "swap", next: "probation", failure: "rolled-back" },
  probation: { step: "prove", next: "committed", failure: "rolled-back" },
  committed: { step: "none", next: "committed", failure: "committed" },
  "rolled-back": { step: "none", next: "rolled-back", failure: "rolled-back" },
  rejected: { step: "none", next: "rejected", failure: "rejected" },
});

/** What a refusal does to its plan. */
export type Aftermath =
  /** Refused for good; remembered across restarts where it was found out late. */
  | "remember"
  /** Tried again by itself, with backoff. */
  | "retry"
  /** Refused as things are now; the same plan may be taken when they have changed. */
  | "drop";

const AFTERMATHS: Partial<Record<RefusalCode, Aftermath>> = {
  E_STORE: "retry",
  E_TIMEOUT: "retry",
  E_BUSY: "retry",
  // A new root, or a clock that is set, changes these.
  E_ROOT_GAP: "drop",
  E_EXPIRED: "drop",
  E_ABORTED: "drop",
};

export function aftermath(code: RefusalCode): Aftermath {
  return AFTERMATHS[code] ?? "remember";
}
