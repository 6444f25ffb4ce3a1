/** Makes docs/interfaces.md, the interfaces as an operator grants them and an author uses them, from the kernel's table. */
import {
  findOperation,
  type InterfaceName,
  INTERFACES,
  interfaceDefinition,
  type Operation,
  operationType,
} from "../../kernel/index.ts";

export const path = "docs/interfaces.md";

const ANSWERED_BY: Readonly<Record<string, string>> = {
  partition: "the partition itself, without leaving its thread",
  trust: "the trust worker, on disk",
  device: "the device process",
  link: "the link process",
};

const AUDITED: Readonly<Record<string, string>> = {
  denials: "denials, at most ten a second and module, the rest counted",
  "every-use": "every use, and denials",
};

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
  const { rights, binding, event, answeredBy, audited } = interfaceDefinition(name);
  const keys = Object.entries(binding).map(([key, meaning]) => `- ${code(key)}: ${meaning}`);
  const operations = operationsOf(name).map(([operationName, operation]) => [
    code(operationName),
    code(operationType(operation)),
    code(operation.right),
    operation.blocking ? "yes" : "no",
    operation.meaning,
  ]);
  return [
    `## ${name}`,
    "",
    `Answered by ${ANSWERED_BY[answeredBy] ?? answeredBy}. Audited: ${AUDITED[audited] ?? audited}.`,
    "",
    keys.length === 0
      ? `A grant names the rights (${rights.map(code).join(", ")}) and nothing else.`
      : `A grant names the rights (${rights.map(code).join(", ")}) and binds the slot to one resource:\n\n${keys.join("\n")}`,
    "",
    table(["operation", "Wasm type", "right", "blocks", "meaning and result"], operations),
    ...(event === null
      ? []
      : ["", `Events come to the slot's port, with the right ${code(event.right)}. Payload: ${event.payload}.`]),
  ].join("\n");
}

export function generate(): string {
  const names = Object.keys(INTERFACES) as InterfaceName[];
  return `<!-- Generated from kernel/interfaces.ts by \`npm run generate\`: edit that. -->

# Interfaces

What a slot can be, one section each. A module asks for a slot in its manifest with an interface and rights; the
operator's grant binds it to one resource. A module that imports an operation which blocks is a blocking module: it is
set aside while it waits. Parameters, header and result codes are in [the ABI](abi.md).

${overview()}

${names.map(section).join("\n\n")}
`;
}
