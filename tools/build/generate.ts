/** Writes the AssemblyScript that a module gets from its manifest: its slots, its ports, and the ABI's exports. */
import { interfaceDefinition, operationType } from "../../kernel/index.ts";
import type { InterfaceName, Operation } from "../../kernel/index.ts";
import type { ManifestDocument, SlotManifest } from "./module-file.ts";

const BANNER = "Generated from module.yaml by `bulkhead build`; edit that.";

/** The SDK's class for each interface. */
export const SLOT_CLASSES: Readonly<Record<InterfaceName, string>> = {
  endpoint: "Endpoint",
  handles: "Handles",
  timer: "Timer",
  clock: "Clock",
  random: "Random",
  log: "Log",
  store: "Store",
  file: "File",
  "i2c-device": "I2cDevice",
  "spi-device": "SpiDevice",
  "gpio-line": "GpioLine",
  uart: "Uart",
  onewire: "OneWire",
  mqtt: "Mqtt",
  http: "Http",
};

/** `generated/slots.ts`: one typed object for each slot, with the operations that its rights allow. */
export function generateSlots(manifest: ManifestDocument): string {
  const slots = Object.entries(manifest.slots);
  const classes = [...new Set(slots.map(([, slot]) => SLOT_CLASSES[slot.interface]))].sort();
  const imports = classes.length === 0 ? [] : [`import { ${classes.join(", ")} } from "bulkhead/sdk";`, ""];
  const ports = manifest.ports.map(({ name }, index) => `  export const ${variable(name)}: i32 = ${index};`);
  return [
    `/** ${BANNER} The slots and ports of this module. */`,
    "",
    ...imports,
    "/** The name and version of this module. */",
    `export const MODULE_NAME: string = ${JSON.stringify(manifest.name)};`,
    "// @ts-ignore: decorator",
    "@lazy",
    `export const MODULE_VERSION: string = ${JSON.stringify(manifest.version)};`,
    "",
    "/** The ports, as `message` gets them. */",
    "export namespace Port {",
    ...ports,
    "}",
    "",
    ...slots.flatMap(([name, slot]) => slotSource(name, slot)),
  ].join("\n");
}

function slotSource(name: string, slot: SlotManifest): string[] {
  const operations = Object.entries(interfaceDefinition(slot.interface).operations).filter(([, { right }]) =>
    // The right `pass` comes with any right to an endpoint that may be derived from.
    slot.rights.includes(right),
  );
  const raw = `${pascal(name)}Imports`;
  return [
    ...operations.flatMap(([operation, definition]) => importSource(name, operation, definition)),
    "@unmanaged",
    `class ${raw} {`,
    ...operations.flatMap(([operation, definition]) => methodSource(name, operation, definition)),
    "}",
    "",
    `/** ${slot.interface}: ${slot.rights.join(", ")}${slot.port === null ? "" : `; events on port ${slot.port}`}. */`,
    `export const ${variable(name)} = changetype<${SLOT_CLASSES[slot.interface]}<${raw}>>(<usize>0);`,
    "",
  ];
}

function importSource(slot: string, name: string, operation: Operation): string[] {
  return [
    "// @ts-ignore: decorator",
    `@external(${JSON.stringify(slot)}, ${JSON.stringify(name)})`,
    `declare function ${importName(slot, name)}(${parameters(operation)}): ${operation.result};`,
    "",
  ];
}

function methodSource(slot: string, name: string, operation: Operation): string[] {
  const passed = operationTypes(operation).map((_, index) => `a${index}`);
  return [
    "  @inline",
    `  ${camel(name)}(${parameters(operation)}): ${operation.result} {`,
    `    return ${importName(slot, name)}(${passed.join(", ")});`,
    "  }",
  ];
}

function importName(slot: string, operation: string): string {
  return `${camel(slot)}_${camel(operation)}`;
}

function operationTypes(operation: Operation): string[] {
  const [inside = ""] = operationType(operation).slice(1).split(")->");
  return inside === "" ? [] : inside.split(",");
}

/** Addresses are `usize` in AssemblyScript, which is an i32 in the binary; the first of a pair is one. */
function parameters(operation: Operation): string {
  const types = operation.parameters.flatMap(({ kind }) =>
    kind === "i32" || kind === "i64" ? [kind] : ["usize", "i32"],
  );
  return types.map((type, index) => `a${index}: ${type}`).join(", ");
}

/** `generated/entry.ts`: the exports of the ABI over the SDK, and the places in memory that they need. */
export function generateEntry(manifest: ManifestDocument, entry: string): string {
  const { inbox, state } = manifest;
  const hasSettings = manifest.settings !== undefined;
  const place = `../${entry.replace(/\.ts$/, "")}`;
  return [
    `/** ${BANNER} The exports of the ABI. */`,
    "",
    'import { ABORT_RECORD_BYTES, abort, placeAbortRecord } from "bulkhead/sdk/abort";',
    'import { placeInbox } from "bulkhead/sdk/message";',
    `import { handle, health${hasSettings ? ", openSettings" : ""}${state > 0 ? ", restore, save" : ""} } from "bulkhead/sdk/module";`,
    ...(state > 0 ? ['import { Writer } from "bulkhead/sdk/writer";'] : []),
    ...(hasSettings ? ['import { takeSettings } from "./settings";'] : []),
    `import ${JSON.stringify(place)};`,
    "",
    `const INBOX_BYTES: usize = ${inbox};`,
    "/** The abort record, then the inbox. */",
    `const area = memory.data(${256 + inbox}, 8);`,
    "placeAbortRecord(area);",
    "placeInbox(area + ABORT_RECORD_BYTES);",
    "",
    "export function bulkhead_inbox(): usize {",
    "  return area + ABORT_RECORD_BYTES;",
    "}",
    "",
    "export function bulkhead_handle(port: i32, length: i32): i64 {",
    ...(hasSettings
      ? ["  const settings = openSettings(port);", "  if (settings !== null) takeSettings(settings);"]
      : []),
    "  return handle(port, length);",
    "}",
    "",
    "export function bulkhead_health(): i32 {",
    "  return health();",
    "}",
    "",
    ...(state > 0 ? stateExports(state) : []),
  ].join("\n");
}

function stateExports(state: number): string[] {
  return [
    `const STATE_BYTES: i32 = ${state};`,
    `const stateArea = memory.data(${state}, 8);`,
    "const stateWriter = Writer.over(stateArea, STATE_BYTES);",
    "",
    "export function bulkhead_save(): i64 {",
    "  return save(stateWriter);",
    "}",
    "",
    "export function bulkhead_state(length: i32): i32 {",
    "  return <u32>length <= <u32>STATE_BYTES ? <i32>stateArea : -1;",
    "}",
    "",
    "export function bulkhead_restore(length: i32, schema: i32): i32 {",
    "  return restore(stateArea, length, schema);",
    "}",
    "",
  ];
}

/** Names of slots and ports that no variable can have. */
const RESERVED_WORDS = new Set(
  (
    "abstract as async await boolean break case catch class const continue debugger declare default delete do else enum " +
    "export extends false finally for from function get if implements import in instanceof interface is keyof let module " +
    "namespace new null number of override package private protected public readonly return set static string super " +
    "switch symbol this throw true try type typeof undefined unknown var void while with yield"
  ).split(" "),
);

/** The variable of a slot or port: `write-read` becomes `writeRead`, and a word of the language gets a `_` behind it. */
export function variable(name: string): string {
  const joined = camel(name);
  return RESERVED_WORDS.has(joined) ? `${joined}_` : joined;
}

/** `write-read` becomes `writeRead`. */
function camel(name: string): string {
  return name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function pascal(name: string): string {
  const inner = camel(name);
  return inner.charAt(0).toUpperCase() + inner.slice(1);
}
