/** Makes docs/abi.md, the guest ABI as a module author reads it, from kernel/abi.ts, kernel/interfaces.ts and their texts. */
import {
  ABI_EXPORTS,
  ABORT_RECORD,
  ABI_VERSION,
  ENDPOINT_RIGHT,
  FIRST_MODULE_ERROR,
  HANDLE_COPY,
  HANDLES_SLOT,
  HEADER,
  type InterfaceDefinition,
  type InterfaceName,
  INTERFACES,
  interfaceDefinition,
  KERNEL_PORT,
  KIND,
  LIMITS,
  MANIFEST_SECTION,
  MAXIMUM_HANDLES,
  NOTICE,
  type Operation,
  operationType,
  RESERVED_PREFIX,
  RESULT_CODES,
  STATE_EXPORTS,
} from "../../kernel/index.ts";
import { EXPORT_TEXTS, INTERFACE_TEXTS, type InterfaceTexts } from "./texts/abi.ts";

export const path = "docs/abi.md";

/** Type and meaning of each header field; offsets come from the kernel's table. */
const HEADER_FIELDS: Readonly<Record<Exclude<keyof typeof HEADER, "size">, readonly [type: string, meaning: string]>> =
  {
    version: ["u16", `ABI version: ${ABI_VERSION}`],
    kind: ["u8", "kind of message"],
    handles: ["u8", `number of handles, 0 to ${MAXIMUM_HANDLES}`],
    length: ["u32", "payload length; the payload follows the header"],
    senderModule: ["u32", "sender: module id; 0 for the kernel"],
    senderGeneration: ["u32", "sender: generation; 0 for the kernel"],
    badge: ["u32", "the number that the operator's grant put on this route"],
    correlation: ["u32", "of the request that a reply or notice answers"],
    lost: ["u32", "messages lost on this port since the last one delivered"],
    reserved: ["u32", "0"],
    handleList: [`u32 × ${MAXIMUM_HANDLES}`, "handles received, valid for this module only"],
  };

const NOTICE_PAYLOADS: Readonly<Record<keyof typeof NOTICE, string>> = {
  start:
    "`[1, restored (bool)]`: first after every instantiation; `[1, restored, settings]` where the operator's configuration has " +
    `settings for the module, any CBOR of at most ${LIMITS.settingsBytes} bytes`,
  peerLost: '`[2, slot]`: the module behind the slot is gone; `[2, "handles", handle]`: the one that a handle leads to',
  peerBack: "`[3, slot]`: it is there again",
  safeState:
    "`[4]`: the last message, when the gateway stops, the operator holds the module, or a plan leaves it out; the state has been " +
    "saved, nothing follows, and after half a second the module is ended. None comes at a swap, before the start, or where the module has failed",
};

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

const code = (text: string | number): string => `\`${text}\``;
const hexadecimal = (number: number): string => code(`0x${number.toString(16)}`);
const numbered = (values: Readonly<Record<string, number>>): string =>
  Object.entries(values)
    .map(([name, value]) => `${code(name)} ${value}`)
    .join(", ");

function exportRows(): string[][] {
  return ABI_EXPORTS.map(({ name, type, required }) => [
    code(name),
    code(type),
    required ? "required" : "optional",
    EXPORT_TEXTS[name] ?? "",
  ]);
}

function headerRows(): string[][] {
  return Object.entries(HEADER_FIELDS).map(([name, [type, meaning]]) => [
    String(HEADER[name as keyof typeof HEADER_FIELDS]),
    type,
    code(name),
    meaning,
  ]);
}

function operationRow(name: string, operation: Operation, meaning: string): string[] {
  const parameters = operation.parameters.map((parameter) => `${parameter.name}: ${parameter.kind}`).join(", ");
  const blocking = operation.blocking ? "blocks" : "";
  return [code(name), parameters, code(operationType(operation)), operation.right, blocking, meaning];
}

function interfaceSection(name: InterfaceName): string {
  const definition: InterfaceDefinition = interfaceDefinition(name);
  const texts: InterfaceTexts = INTERFACE_TEXTS[name];
  const binding = definition.binding.map((key) => `${code(key)} (${texts.binding[key]})`);
  const operations = Object.entries(definition.operations).map(([operation, rules]) =>
    operationRow(operation, rules, texts.operations[operation] ?? ""),
  );
  return [
    `### ${name}`,
    "",
    `Rights: ${definition.rights.map(code).join(", ")}. ` +
      `The grant binds it by: ${binding.length === 0 ? "nothing" : binding.join(", ")}. ` +
      `Answered by: ${definition.answeredBy}. ` +
      `Event payload: ${texts.event ?? "none"}.`,
    "",
    table(["operation", "parameters", "Wasm type", "right", "", "meaning and result"], operations),
  ].join("\n");
}

function interfaceSections(): string {
  return (Object.keys(INTERFACES) as InterfaceName[]).map(interfaceSection).join("\n\n");
}

export function generate(): string {
  return `<!-- Generated from kernel/abi.ts, kernel/interfaces.ts and tools/generate/texts/abi.ts by \`npm run generate\`: edit those. -->

# The guest ABI, version ${ABI_VERSION}

What a WebAssembly module must export, may import, and finds in its inbox. Any language that compiles to a core
WebAssembly module can meet it. Everything is little-endian. \`bytes\` is a pair (address, length) that the host reads,
\`buffer\` a pair (address, capacity) that the host writes, \`handles\` a pair (address, count) of u32; the rest is itself.

## Exports

${table(["export", "type", "", "meaning"], exportRows())}

${STATE_EXPORTS.map(code).join(", ")} come together or not at all. The binary carries its manifest as CBOR in the custom
section ${code(MANIFEST_SECTION)}.

## The header

The kernel writes ${HEADER.size} bytes at the start of the inbox; the payload, at most ${LIMITS.payloadBytes} bytes,
follows at +${HEADER.size}. Nothing in the header can be forged.

${table(["offset", "type", "field", "meaning"], headerRows())}

Kinds: ${numbered(KIND)}.

## The last words of a module

A module that gives up may leave why in the ${ABORT_RECORD.size} bytes before its inbox, and then trap: the letters \`BKAB\`, a line,
a column and a length (u32 each), then so many bytes of UTF-8: \`file: message\`. With a column of 0 the text is a message alone
and the line a code. The kernel reads it after a trap only, believes none of it, and tells it with the fault; the SDK writes it
for \`abort\`, \`throw\` and \`assert\`.

## Notices

Messages of kind \`notice\` on port ${KERNEL_PORT} (${hexadecimal(KERNEL_PORT)}) come from the kernel; the payload is a CBOR array. A module
reads past notices and elements that it does not know.

${table(
  ["number", "notice", "payload"],
  Object.entries(NOTICE).map(([name, number]) => [
    String(number),
    code(name),
    NOTICE_PAYLOADS[name as keyof typeof NOTICE],
  ]),
)}

## Result codes

0 and above are success. -1 to ${FIRST_MODULE_ERROR + 1} come from the kernel only: a handler that returns one is itself at fault.
A module's own errors are ${FIRST_MODULE_ERROR} and below.

${table(
  ["code", "name", "meaning"],
  RESULT_CODES.map(({ code: number, name, meaning }) => [String(number), code(name), meaning]),
)}

## Imports

An import is ("slot", "operation"), and nothing else is linked: a module that was granted nothing imports nothing. The
slot's interface decides its operations; the operator's grant decides the resource and the rights. Slots named
${code(RESERVED_PREFIX)}… are the kernel's own. The slot ${code(HANDLES_SLOT)} works on handles that came in messages.
A message carries at most ${MAXIMUM_HANDLES} handles; one with bit ${hexadecimal(HANDLE_COPY)} set is copied, without it the handle moves.
A handle that is received as 0 was closed: the receiver has no slot ${code(HANDLES_SLOT)}, or ${LIMITS.handles / 2} handles already.
Rights of an endpoint are bits: ${numbered(ENDPOINT_RIGHT)}.

${interfaceSections()}
`;
}
