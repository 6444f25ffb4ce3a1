/** How a rule writes what a grant reaches. Written in another way it would match nothing, and a denial would deny nothing. */
import { interfaceDefinition, type InterfaceName } from "../../kernel/index.ts";
import { refuseOrigin, refusePath } from "./grants.ts";
import { malformedFilter } from "./topic.ts";

/** A resource as `grantTargets` writes it, what of it may stand before a trailing `*`, and an example. */
interface Form {
  readonly whole: RegExp;
  readonly begin: RegExp;
  readonly example: string;
}

const NUMBER = "(0|[1-9][0-9]*)";
const PAIR: Form = {
  whole: new RegExp(`^${NUMBER}/${NUMBER}$`),
  begin: new RegExp(`^(${NUMBER}(/${NUMBER}?)?)?$`),
  example: "0/17",
};

const FORMS: Readonly<Partial<Record<InterfaceName, Form>>> = {
  "i2c-device": {
    whole: new RegExp(`^${NUMBER}/0x[0-9a-f]{2}$`),
    begin: new RegExp(`^(${NUMBER}(/(0(x[0-9a-f]?)?)?)?)?$`),
    example: "1/0x76",
  },
  "spi-device": PAIR,
  "gpio-line": PAIR,
  onewire: {
    whole: /^[0-9a-f]{2}-[0-9a-f]{12}$/,
    begin: /^([0-9a-f]{0,2}|[0-9a-f]{2}-[0-9a-f]*)$/,
    example: "28-000005e2fdc3",
  },
  store: { whole: /^[A-Za-z0-9][A-Za-z0-9._/-]*$/, begin: /^[A-Za-z0-9._/-]*$/, example: "uplink/" },
};

/** Why `interface:resource` matches nothing that a grant can bind, or undefined where it may. */
export function refuseResource(name: InterfaceName, resource: string): string | undefined {
  if (resource === "*") return undefined;
  if (interfaceDefinition(name).binding.length === 0) return `${name} has no resources: write '${name}'`;
  if (name === "mqtt") return resource.endsWith("*") ? "the rest of a topic is '#'" : malformedFilter(resource);
  const isOpen = resource.endsWith("*");
  const text = isOpen ? resource.slice(0, -1) : resource;
  if (text.includes("*")) return "'*' stands at the end only";
  const form = FORMS[name];
  if (form !== undefined) {
    return (isOpen ? form.begin : form.whole).test(text) ? undefined : `it is written as ${name}:${form.example}`;
  }
  if (name === "http") return isOpen ? undefined : refuseOrigin(text);
  const path = isOpen ? text.replace(/\/$/, "") : text;
  return isOpen && path === "" ? undefined : refusePath(path);
}
