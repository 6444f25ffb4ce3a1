/** Makes docs/interfaces.md, the interfaces as an operator grants them and an author uses them, from the kernel's table. */
import { EVERY_USE_AUDITED } from "../../gateway/config/grants.ts";
import {
  findOperation,
  type InterfaceName,
  INTERFACES,
  interfaceDefinition,
  type Operation,
  operationType,
} from "../../kernel/index.ts";
import { INTERFACE_TEXTS, type InterfaceTexts } from "./texts/abi.ts";

export const path = "docs/interfaces.md";

const ANSWERED_BY: Readonly<Record<string, string>> = {
  partition: "the partition itself, without leaving its thread",
  trust: "the trust worker, on disk",
  device: "the device process",
  link: "the link process",
};

const DENIALS = "denials, within [the log's bounds](audit.md#bounds)";

const code = (text: string): string => `\`${text}\``;
const cell = (text: string): string => text.replaceAll("|", "\\|");
const row = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [row(head), row(head.map(() => "---")), ...rows.map(row)].join("\n");
}

function operationsOf(name: InterfaceName): [string, Operation][] {
  return Object.keys(interfaceDefinition(name).operations).flatMap((operationName) => {
    const operation = findOperation(name, operationName);
    return operation === undefined ? [] : [[operationName, operation]];
  });
}

function overview(): string {
  const rows = (Object.keys(INTERFACES) as InterfaceName[]).map((name) => {
    const { rights, answeredBy } = interfaceDefinition(name);
    const operations = operationsOf(name).map(([operation]) => code(operation));
    return [`[${code(name)}](#${name})`, operations.join(", "), rights.map(code).join(", "), answeredBy];
  });
  return table(["interface", "operations", "rights", "answered by"], rows);
}

/** What a grant without `rights` gives, where that is not all that the interface has. */
const WITHOUT_RIGHTS: Partial<Readonly<Record<InterfaceName, string>>> = {
  endpoint: "`send`",
  file: "`read`",
  "gpio-line": "those of its direction: `read`, and `edges` where it asks for some, or `read` and `write`",
};

/** What a grant says of rights: nothing where there is one only, or where what binds it says it. */
function rightsOf(name: InterfaceName, rights: readonly string[]): string {
  const all = rights.map(code).join(", ");
  if (name === "mqtt") return "names no rights, for they follow from its lists";
  if (rights.length === 1) return `names no rights, for there is only ${all}`;
  return `may name its rights, of ${all} (without: ${WITHOUT_RIGHTS[name] ?? "all"})`;
}

/** Of the grants that can ask to be told of the other end's failures. */
const NOTIFY: Partial<Readonly<Record<InterfaceName, string>>> = {
  endpoint: "\n\nWith `notify: true` the module is told when the other end fails, and when it is back.",
  handles: " With `notify: true` the module is told when what a handle leads to fails, and when it is back.",
};

function section(name: InterfaceName): string {
  const { rights, binding, eventRight, answeredBy } = interfaceDefinition(name);
  const texts: InterfaceTexts = INTERFACE_TEXTS[name];
  const audited = EVERY_USE_AUDITED.has(name) ? "every use, and denials" : DENIALS;
  const keys = binding.map((key) => `- ${code(key)}: ${texts.binding[key]}`);
  const bound = keys.length === 0 ? "." : `, and binds the slot to one resource:\n\n${keys.join("\n")}`;
  const operations = operationsOf(name).map(([operationName, operation]) => [
    code(operationName),
    code(operationType(operation)),
    code(operation.right),
    operation.blocking ? "yes" : "no",
    texts.operations[operationName] ?? "",
  ]);
  return [
    `## ${name}`,
    "",
    `Answered by ${ANSWERED_BY[answeredBy] ?? answeredBy}. Audited: ${audited}.`,
    "",
    `A grant ${rightsOf(name, rights)}${bound}${NOTIFY[name] ?? ""}`,
    "",
    table(["operation", "Wasm type", "right", "blocks", "meaning and result"], operations),
    ...(eventRight === null
      ? []
      : ["", `Events come to the slot's port, with the right ${code(eventRight)}. Payload: ${texts.event}.`]),
  ].join("\n");
}

export function generate(): string {
  const names = Object.keys(INTERFACES) as InterfaceName[];
  return `<!-- Generated from kernel/interfaces.ts and tools/generate/texts/abi.ts by \`npm run generate\`: edit those. -->

# Interfaces

What a slot can be, one section each. A module asks for a slot in its manifest with an interface and rights; the
operator's grant binds it to one resource. A module that imports an operation which blocks is a blocking module: it is
set aside while it waits. Parameters, header and result codes are in [the ABI](abi.md).

${overview()}

${names.map(section).join("\n\n")}
`;
}
