/** The file of a rollout: which releases go to which gateways, in which waves, and when to stop. */

import { dirname, resolve } from "node:path";
import { parseDocument } from "yaml";
import { Refusal } from "../../kernel/index.ts";

/** Paths are absolute, times in milliseconds, shares from 0 to 1. */
export interface RolloutPlan {
  readonly id: string;
  /** When the rollout was decided, in seconds since 1970: all plans carry it, so that a resumed rollout makes the same ones. */
  readonly issued: number;
  readonly expires: number;
  /** The version that every gateway's plan gets. */
  readonly version: number;
  readonly envelopes: readonly string[];
  readonly configuration: string | undefined;
  /** Modules that the plans leave out, which only a configuration lets them do. */
  readonly without: readonly string[];
  readonly gateways: readonly { readonly id: string; readonly key: string }[];
  /** Cumulative shares of the fleet, rising, the last one 1. */
  readonly waves: readonly number[];
  /** How long a wave must have been well before the next begins. */
  readonly soakMs: number;
  /** How long a gateway that is online may take. */
  readonly timeoutMs: number;
  /** The rollout stops when more than this share of the gateways of a wave have failed. */
  readonly abortShare: number;
}

const KEYS = [
  "rollout",
  "issued",
  "valid",
  "version",
  "modules",
  "configuration",
  "without",
  "gateways",
  "keys",
  "waves",
  "soak",
  "timeout",
  "abort",
];
const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$/;

/**
 * Reads a rollout file. Gateway keys are `<keys>/<id>.pub`.
 * @throws Refusal E_CONFIG with line and column, naming the field
 */
export function readRolloutPlan(text: string, path: string): RolloutPlan {
  const document = parseDocument(text, { prettyErrors: true });
  const [problem] = document.errors;
  if (problem !== undefined)
    throw new Refusal("E_CONFIG", `${path} is not YAML`, { found: problem.message.split("\n")[0] ?? "" });
  const value: unknown = document.toJS();
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Refusal("E_CONFIG", `${path} is not a map`, { expected: KEYS.join(", ") });
  }
  return new RolloutReader(value as Readonly<Record<string, unknown>>, path).read();
}

class RolloutReader {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #path: string;

  constructor(fields: Readonly<Record<string, unknown>>, path: string) {
    this.#fields = fields;
    this.#path = path;
  }

  read(): RolloutPlan {
    for (const key of Object.keys(this.#fields)) if (!KEYS.includes(key)) this.#refuse(key, "no field of this name");
    const issued = this.#issued();
    const folder = dirname(resolve(this.#path));
    const keys = resolve(folder, this.#text("keys"));
    const configuration = this.#fields["configuration"];
    return {
      id: this.#identifier(this.#text("rollout"), "rollout"),
      issued,
      expires: issued + Math.ceil(this.#duration("valid", "168h") / 1000),
      version: this.#version(issued),
      envelopes: this.#list("modules").map((name) => resolve(folder, name)),
      configuration: configuration === undefined ? undefined : resolve(folder, this.#text("configuration")),
      without: this.#without(configuration !== undefined),
      gateways: this.#gateways(keys),
      waves: this.#waves(),
      soakMs: this.#duration("soak", "10m"),
      timeoutMs: this.#duration("timeout", "10m"),
      abortShare: this.#share(this.#fields["abort"] ?? "5%", "abort"),
    };
  }

  #without(hasConfiguration: boolean): readonly string[] {
    if (this.#fields["without"] === undefined) return [];
    if (!hasConfiguration) this.#refuse("without", "a 'configuration' beside it: only one takes a module away");
    return this.#list("without");
  }

  #gateways(keys: string): RolloutPlan["gateways"] {
    const ids = this.#list("gateways").map((id) => this.#identifier(id, "gateways"));
    const twice = ids.find((id, index) => ids.indexOf(id) !== index);
    if (twice !== undefined) this.#refuse("gateways", `${twice} only once`);
    return ids.map((id) => ({ id, key: resolve(keys, `${id}.pub`) }));
  }

  #issued(): number {
    const value = this.#fields["issued"];
    const milliseconds =
      value instanceof Date ? value.getTime() : typeof value === "string" ? Date.parse(value) : Number.NaN;
    if (Number.isNaN(milliseconds)) this.#refuse("issued", "a date such as 2026-11-21T10:00:00Z");
    return Math.floor(milliseconds / 1000);
  }

  #version(issued: number): number {
    const value = this.#fields["version"] ?? issued;
    if (!Number.isSafeInteger(value) || (value as number) < 1) this.#refuse("version", "a whole number from 1");
    return value as number;
  }

  #waves(): readonly number[] {
    const list = this.#fields["waves"] ?? ["1%", "10%", "50%", "100%"];
    if (!Array.isArray(list) || list.length === 0)
      return this.#refuse("waves", "a list of shares such as [1%, 10%, 100%]");
    const waves = list.map((share: unknown) => this.#share(share, "waves"));
    const isRising = waves.every((share, index) => share > (waves[index - 1] ?? 0));
    if (!isRising || waves.at(-1) !== 1) this.#refuse("waves", "shares that rise to 100%");
    return waves;
  }

  #share(value: unknown, field: string): number {
    const percent = /^(\d{1,3}(?:\.\d{1,3})?)%$/.exec(String(value))?.[1];
    if (percent === undefined || Number(percent) > 100) return this.#refuse(field, "a share from 0% to 100%");
    return Number(percent) / 100;
  }

  #duration(field: string, otherwise: string): number {
    const value = this.#fields[field] ?? otherwise;
    const match = typeof value === "string" ? /^(\d{1,7})(ms|s|m|h)$/.exec(value) : null;
    const factors: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
    const factor = factors[match?.[2] ?? ""];
    return factor === undefined ? this.#refuse(field, "a time such as 90s, 10m or 2h") : Number(match?.[1]) * factor;
  }

  #text(field: string): string {
    const value = this.#fields[field];
    return typeof value === "string" && value !== "" ? value : this.#refuse(field, "a text");
  }

  #list(field: string): readonly string[] {
    const value = this.#fields[field];
    if (!Array.isArray(value) || value.length === 0 || !value.every((item) => typeof item === "string")) {
      return this.#refuse(field, "a list of texts, at least one");
    }
    return value;
  }

  #identifier(value: string, field: string): string {
    return ID.test(value) ? value : this.#refuse(field, "letters, digits, dot, underscore and -, at most 48");
  }

  #refuse(field: string, expected: string): never {
    const value = this.#fields[field];
    const found = value === undefined ? "nothing" : JSON.stringify(value);
    throw new Refusal("E_CONFIG", `${this.#path}: ${field} is not right`, { expected, found: found.slice(0, 80) });
  }
}
