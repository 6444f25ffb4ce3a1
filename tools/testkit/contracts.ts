/** Generated from modules/interfaces/*.cddl; edit that. The messages of the contracts, as decoded maps, and their checks. */
import { compileFields, type MessageCheck } from "../../kernel/index.ts";

/** The contract `alarms`. */
export interface Alarm {
  readonly sensor: string;
  readonly quantity: string;
  readonly state: "raised" | "cleared" | "active" | "takeover";
  readonly value: number;
  readonly limit: number;
  /** how often this alarm was raised since the service was first started */
  readonly count: number;
  /** of the reading */
  readonly time: number | bigint;
  readonly severity?: "warning" | "critical";
}

/** The contract `points`. */
export interface Point {
  readonly name: string;
  /** in the unit of its readings; of a coil, 0 is off and all else on */
  readonly value: number;
}

/** The contract `readings`. */
export interface Reading {
  /** the module that measured */
  readonly sensor: string;
  /** from 0, over all quantities of the sensor */
  readonly sequence: number;
  /** temperature, pressure, ... */
  readonly quantity: string;
  readonly value: number;
  /** UCUM: Cel, Pa, %, ... */
  readonly unit: string;
  /** milliseconds since 1970-01-01T00:00:00Z */
  readonly time: number | bigint;
}

/** The contract `settings`. */
export interface Settings {
  /** only for this module; without it for every module that receives it */
  readonly module?: string;
  /** milliseconds between two readings */
  readonly period?: number;
  /** of `high` and `clear` */
  readonly quantity?: string;
  /** an alarm is raised above */
  readonly high?: number;
  /** and cleared below */
  readonly clear?: number;
}

/** The contract `switches`. */
export interface Switch {
  readonly on: boolean;
  /** only for this module; without it for every module that receives it */
  readonly module?: string;
}

/** The contract `windows`. */
export interface Window {
  readonly sensor: string;
  readonly quantity: string;
  readonly unit: string;
  /** readings in the window, 1 or more */
  readonly count: number;
  readonly least: number;
  readonly greatest: number;
  readonly mean: number;
  /** standard deviation of the readings, 0 for one */
  readonly deviation: number;
  /** time of the first reading, milliseconds since 1970-01-01T00:00:00Z */
  readonly begin: number | bigint;
  /** and of the last */
  readonly end: number | bigint;
}

/** By rule: what is wrong with an encoded message, or undefined. */
export const CHECKS = Object.freeze({
  alarm: compileFields([
    {
      name: "sensor",
      isOptional: false,
      kind: "text",
      arguments: [1, 48],
    },
    {
      name: "quantity",
      isOptional: false,
      kind: "text",
      arguments: [1, 32],
    },
    {
      name: "state",
      isOptional: false,
      kind: "choice",
      arguments: ["raised", "cleared", "active", "takeover"],
    },
    {
      name: "value",
      isOptional: false,
      kind: "number",
      arguments: [],
    },
    {
      name: "limit",
      isOptional: false,
      kind: "number",
      arguments: [],
    },
    {
      name: "count",
      isOptional: false,
      kind: "unsigned",
      arguments: [32],
    },
    {
      name: "time",
      isOptional: false,
      kind: "unsigned",
      arguments: [64],
    },
    {
      name: "severity",
      isOptional: true,
      kind: "choice",
      arguments: ["warning", "critical"],
    },
  ]),
  point: compileFields([
    {
      name: "name",
      isOptional: false,
      kind: "text",
      arguments: [1, 32],
    },
    {
      name: "value",
      isOptional: false,
      kind: "number",
      arguments: [],
    },
  ]),
  reading: compileFields([
    {
      name: "sensor",
      isOptional: false,
      kind: "text",
      arguments: [1, 48],
    },
    {
      name: "sequence",
      isOptional: false,
      kind: "unsigned",
      arguments: [32],
    },
    {
      name: "quantity",
      isOptional: false,
      kind: "text",
      arguments: [1, 32],
    },
    {
      name: "value",
      isOptional: false,
      kind: "number",
      arguments: [],
    },
    {
      name: "unit",
      isOptional: false,
      kind: "text",
      arguments: [1, 16],
    },
    {
      name: "time",
      isOptional: false,
      kind: "unsigned",
      arguments: [64],
    },
  ]),
  settings: compileFields([
    {
      name: "module",
      isOptional: true,
      kind: "text",
      arguments: [1, 48],
    },
    {
      name: "period",
      isOptional: true,
      kind: "range",
      arguments: [10, 3600000],
    },
    {
      name: "quantity",
      isOptional: true,
      kind: "text",
      arguments: [1, 32],
    },
    {
      name: "high",
      isOptional: true,
      kind: "number",
      arguments: [],
    },
    {
      name: "clear",
      isOptional: true,
      kind: "number",
      arguments: [],
    },
  ]),
  switch: compileFields([
    {
      name: "on",
      isOptional: false,
      kind: "boolean",
      arguments: [],
    },
    {
      name: "module",
      isOptional: true,
      kind: "text",
      arguments: [1, 48],
    },
  ]),
  window: compileFields([
    {
      name: "sensor",
      isOptional: false,
      kind: "text",
      arguments: [1, 48],
    },
    {
      name: "quantity",
      isOptional: false,
      kind: "text",
      arguments: [1, 32],
    },
    {
      name: "unit",
      isOptional: false,
      kind: "text",
      arguments: [1, 16],
    },
    {
      name: "count",
      isOptional: false,
      kind: "unsigned",
      arguments: [32],
    },
    {
      name: "least",
      isOptional: false,
      kind: "number",
      arguments: [],
    },
    {
      name: "greatest",
      isOptional: false,
      kind: "number",
      arguments: [],
    },
    {
      name: "mean",
      isOptional: false,
      kind: "number",
      arguments: [],
    },
    {
      name: "deviation",
      isOptional: false,
      kind: "number",
      arguments: [],
    },
    {
      name: "begin",
      isOptional: false,
      kind: "unsigned",
      arguments: [64],
    },
    {
      name: "end",
      isOptional: false,
      kind: "unsigned",
      arguments: [64],
    },
  ]),
} satisfies Record<string, MessageCheck>);
