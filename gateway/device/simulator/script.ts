/** Values over time for simulated devices: constants, waves and polylines, with reproducible noise, settable live. */
import { Refusal } from "../../../kernel/index.ts";

/** A quantity over time, in the device's unit; times in seconds since the device process started. */
export type ValueScript =
  | number
  | {
      readonly base: number;
      /** Half the height of a sine around `base`. */
      readonly swing?: number;
      readonly period?: number;
      /** Largest deviation of uniform noise. */
      readonly noise?: number;
    }
  /** `[seconds, value]` corners joined by straight lines, repeated for ever. */
  | readonly (readonly [number, number])[];

export interface Range {
  readonly minimum: number;
  readonly maximum: number;
}

/** Evaluates a script; always within the range of what the chip can measure. */
export class ScriptedValue {
  readonly #range: Range;
  #script: ValueScript;
  #seed = 0x2545_f491;

  constructor(script: ValueScript, range: Range) {
    this.#script = script;
    this.#range = range;
  }

  /** Replaces the script: what `bulkhead sim` does. */
  set(script: ValueScript): void {
    this.#script = script;
  }

  at(seconds: number): number {
    return Math.min(Math.max(this.#raw(seconds), this.#range.minimum), this.#range.maximum);
  }

  #raw(seconds: number): number {
    const script = this.#script;
    if (typeof script === "number") return script;
    if (isPolyline(script)) return onPolyline(script, seconds);
    const { base, swing = 0, period = 60, noise = 0 } = script;
    return base + swing * Math.sin((2 * Math.PI * seconds) / period) + noise * this.#uniform();
  }

  /** -1 to 1, from a xorshift generator of its own: two runs give the same series. */
  #uniform(): number {
    let seed = this.#seed;
    seed ^= seed << 13;
    seed ^= seed >>> 17;
    seed ^= seed << 5;
    this.#seed = seed;
    return seed / 0x8000_0000;
  }
}

function isPolyline(script: object): script is readonly (readonly [number, number])[] {
  return Array.isArray(script);
}

function onPolyline(corners: readonly (readonly [number, number])[], seconds: number): number {
  const last = corners.at(-1);
  if (last === undefined) return 0;
  const time = last[0] > 0 ? seconds % last[0] : 0;
  let [fromTime, fromValue] = corners[0] ?? last;
  for (const [toTime, toValue] of corners) {
    if (time < toTime) {
      const share = toTime === fromTime ? 1 : (time - fromTime) / (toTime - fromTime);
      return fromValue + (toValue - fromValue) * Math.max(share, 0);
    }
    [fromTime, fromValue] = [toTime, toValue];
  }
  return fromValue;
}

/** @throws Refusal E_CONFIG */
export function parseValueScript(value: unknown, field: string): ValueScript {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (Array.isArray(value)) return parsePolyline(value, field);
  if (typeof value !== "object" || value === null) throw badScript(field);
  const entries = Object.entries(value);
  const isKnown = ([key, item]: [string, unknown]) =>
    ["base", "swing", "period", "noise"].includes(key) && typeof item === "number" && Number.isFinite(item);
  if (!entries.every(isKnown) || !Object.hasOwn(value, "base")) throw badScript(field);
  const script = value as Exclude<ValueScript, number | readonly unknown[]>;
  if (script.period !== undefined && script.period <= 0) throw badScript(field);
  return script;
}

function parsePolyline(value: readonly unknown[], field: string): readonly (readonly [number, number])[] {
  let before = -1;
  return value.map((corner) => {
    if (!Array.isArray(corner) || corner.length !== 2 || !corner.every((item) => Number.isFinite(item))) {
      throw badScript(field);
    }
    const [time, level] = corner as [number, number];
    if (time < 0 || time <= before) throw badScript(field);
    before = time;
    return [time, level] as const;
  });
}

function badScript(field: string): Refusal {
  return new Refusal("E_CONFIG", `${field} is not a value over time`, {
    expected: "a number, { base, swing, period, noise }, or [[seconds, value], …] with rising seconds",
  });
}
