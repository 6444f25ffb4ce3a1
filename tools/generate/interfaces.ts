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

const DENIALS = "denials, at most ten a second and module, the rest counted";

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

function section(name: InterfaceName): string {
  const { rights, binding, eventRight, answeredBy } = interfaceDefinition(name);
  const texts: InterfaceTexts = INTERFACE_TEXTS[name];
  const audited = EVERY_USE_AUDITED.has(name) ? "every use, and denials" : DENIALS;
  const keys = binding.map((key) => `- ${code(key)}: ${texts.binding[key]}`);
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
    keys.length === 0
      ? `A grant names the rights (${rights.map(code).join(", ")}) and nothing else.`
      : `A grant names the rights (${rights.map(code).join(", ")}) and binds the slot to one resource:\n\n${keys.join("\n")}`,
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
