/** Generated from modules/interfaces/*.cddl; edit those. The messages of the contracts, as decoded maps. */

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
