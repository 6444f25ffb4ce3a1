/** Writes the AssemblyScript of a contract: a class that decodes and encodes its messages without the heap. */
import type { Contract, Field, FieldType } from "./model.ts";

/** The class of a rule: `reading` becomes `Reading`. */
export function className(rule: string): string {
  return rule
    .split("-")
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join("");
}

/** The source of `bulkhead/interfaces/<name>`. */
export function assemblyScriptOf({ name, rule, fields, reply }: Contract): string {
  return [
    `/** Generated from modules/interfaces/${name}.cddl; edit that. The contract \`${name}\`. */`,
    "",
    'import { Bytes, Fault, Reader, Writer } from "bulkhead/sdk";',
    'import { key } from "bulkhead/sdk/reader";',
    "",
    ...classOf(rule, fields),
    "",
    ...(reply === undefined ? [] : [...classOf(`${rule}-reply`, reply), ""]),
  ].join("\n");
}

function classOf(rule: string, fields: readonly Field[]): string[] {
  return [
    `/** A \`${rule}\`. Make it once and use it for every message; what is decoded are views of the message. */`,
    `export class ${className(rule)} {`,
    ...fields.flatMap(declarations),
    "",
    ...decoder(rule, fields),
    "",
    ...entryReader(fields),
    "",
    ...encoder(fields),
    "}",
  ];
}

function declarations({ name, isOptional, type, comment }: Field): string[] {
  return [
    ...(comment === undefined ? [] : [`  /** ${comment} */`]),
    `  ${name}: ${declared(type)};`,
    ...(isOptional ? [`  ${presence(name)}: bool = false;`] : []),
  ];
}

function declared(type: FieldType): string {
  switch (type.kind) {
    case "text":
    case "bytes":
    case "choice":
      return "Bytes = new Bytes()";
    case "unsigned":
      return `u${type.bits} = 0`;
    case "range":
      return `i64 = ${type.least}`;
    case "integer":
      return "i64 = 0";
    case "number":
      return "f64 = 0";
    case "boolean":
      return "bool = false";
  }
}

function presence(name: string): string {
  return `has${className(name)}`;
}

function decoder(rule: string, fields: readonly Field[]): string[] {
  const required = fields.reduce((mask, { isOptional }, index) => (isOptional ? mask : mask | (1 << index)), 0) >>> 0;
  const check = required === 0 ? [] : [`    if ((seen & ${required}) != ${required}) reader.fail(Fault.contract);`];
  return [
    `  /** Reads one; false, and the reader's fault set, where the bytes are not exactly a \`${rule}\`. */`,
    "  decode(reader: Reader): bool {",
    "    let seen: u32 = 0;",
    "    for (let left = reader.map(); left > 0 && reader.ok; left--) {",
    "      reader.text(key);",
    "      seen = reader.once(seen, this.entry(reader));",
    "    }",
    ...check,
    ...fields.flatMap(({ name, isOptional }, index) =>
      isOptional ? [`    this.${presence(name)} = (seen & ${(1 << index) >>> 0}) != 0;`] : [],
    ),
    "    return reader.finish();",
    "  }",
  ];
}

/** Reads the value of the key just read. Its result is the key's bit, 0 for a key that the contract does not have. */
function entryReader(fields: readonly Field[]): string[] {
  return [
    "  private entry(reader: Reader): u32 {",
    ...fields.flatMap(({ name, type }, index) => [
      `    if (key.is(${JSON.stringify(name)})) {`,
      ...readStatements(name, type).map((statement) => `      ${statement}`),
      `      return ${(1 << index) >>> 0};`,
      "    }",
    ]),
    "    return 0;",
    "  }",
  ];
}

function readStatements(name: string, type: FieldType): string[] {
  switch (type.kind) {
    case "text":
    case "bytes":
      return [`reader.${type.kind}Within(this.${name}, ${type.least}, ${type.most});`];
    case "choice": {
      const tests = type.values.map((value) => `!this.${name}.is(${JSON.stringify(value)})`);
      return [`reader.text(this.${name});`, `if (${tests.join(" && ")}) reader.fail(Fault.contract);`];
    }
    case "unsigned":
      return [`this.${name} = reader.u${type.bits}();`];
    case "range":
      return [`this.${name} = reader.within(${type.least}, ${type.most});`];
    case "integer":
      return [`this.${name} = reader.i64();`];
    default:
      return [`this.${name} = reader.${type.kind}();`];
  }
}

/** Keys in the order of their encodings: shorter ones first, then bytewise (RFC 8949 section 4.2.1). */
function encoder(fields: readonly Field[]): string[] {
  const sorted = [...fields].sort((a, b) => a.name.length - b.name.length || (a.name < b.name ? -1 : 1));
  const optional = fields.filter(({ isOptional }) => isOptional);
  const counted = optional.map(({ name }) => ` + <u32>this.${presence(name)}`).join("");
  return [
    "  /** Writes one, keys in their deterministic order. @returns the writer. */",
    "  encode(writer: Writer): Writer {",
    `    writer.map(${fields.length - optional.length}${counted});`,
    ...sorted.map(({ name, isOptional, type }) => {
      const condition = isOptional ? `if (this.${presence(name)}) ` : "";
      return `    ${condition}writer.text(${JSON.stringify(name)}).${writeCall(name, type)};`;
    }),
    "    return writer;",
    "  }",
  ];
}

function writeCall(name: string, type: FieldType): string {
  switch (type.kind) {
    case "text":
    case "choice":
      return `textBytes(this.${name})`;
    case "range":
    case "integer":
      return `integer(this.${name})`;
    case "number":
      return `float(this.${name})`;
    default:
      return `${type.kind}(this.${name})`;
  }
}
