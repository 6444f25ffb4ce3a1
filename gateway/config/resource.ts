/** The text that names what a grant reaches: `threshold.readings`, `i2c-device:1/0x76`, `mqtt:site/7/#`. */
import type { EndpointGrant, Grant, GrantParameter, PortAddress, ResourceGrant } from "../../kernel/index.ts";

/** One thing that a grant reaches, and the rights it has there. */
export interface Target {
  /** `module.port`, or `interface:resource`. */
  readonly text: string;
  readonly rights: readonly string[];
}

export function portText({ module, port }: PortAddress): string {
  return `${module}.${port}`;
}

function parameter(grant: ResourceGrant, name: string): GrantParameter | undefined {
  return Object.hasOwn(grant.parameters, name) ? grant.parameters[name] : undefined;
}

function hexadecimal(value: GrantParameter | undefined): string {
  return typeof value === "number" ? `0x${value.toString(16).padStart(2, "0")}` : String(value);
}

function resourceText(grant: ResourceGrant): string {
  const of = (name: string): string => String(parameter(grant, name) ?? "");
  switch (grant.interface) {
    case "i2c-device":
      return `${of("bus")}/${hexadecimal(parameter(grant, "address"))}`;
    case "spi-device":
      return `${of("bus")}/${of("chip")}`;
    case "gpio-line":
      return `${of("chip")}/${of("line")}`;
    case "uart":
    case "onewire":
      return of("device");
    case "file":
      return of("path");
    case "store":
      return of("prefix");
    case "http":
      return of("origin");
    default:
      return "";
  }
}

function filters(grant: ResourceGrant, right: string): readonly Target[] {
  const list = parameter(grant, right);
  if (!Array.isArray(list) || !grant.rights.includes(right)) return [];
  return list.map((filter: string) => ({ text: `mqtt:${filter}`, rights: [right] }));
}

/** What a route asks of its messages, or nothing. */
export function termsText({ check, require }: EndpointGrant): string {
  const fields = (require ?? []).map(({ field }) => field);
  return [
    ...(check === true ? ["checked against the contract"] : []),
    ...(fields.length === 0 ? [] : [`with ${fields.join(", ")} as required`]),
  ].join(", ");
}

/** Everything that the grant reaches. */
export function grantTargets(grant: Grant): readonly Target[] {
  if (grant.interface === "endpoint") return grant.to.map((to) => ({ text: portText(to), rights: grant.rights }));
  if (grant.interface === "mqtt") return [...filters(grant, "publish"), ...filters(grant, "subscribe")];
  return [{ text: `${grant.interface}:${resourceText(grant)}`, rights: grant.rights }];
}

/** All that a grant reaches in one line: `i2c-device:1/0x76 (read, write)`, `clock (use)`. */
export function reachText(grant: Grant): string {
  const one = ({ text, rights }: Target): string => `${text.replace(/:$/, "")} (${rights.join(", ")})`;
  return grantTargets(grant).map(one).join("; ");
}
