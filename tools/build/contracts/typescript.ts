/** Writes the TypeScript types of contracts, for tests and tools that decode a module's messages. */
import { className } from "./assembly-script.ts";
import type { Contract, Field, FieldType } from "./model.ts";

/** One file for all contracts. */
export function typescriptOf(contracts: readonly Contract[]): string {
  return [
    "/** Generated from modules/interfaces/*.cddl; edit those. The messages of the contracts, as decoded maps. */",
    ...contracts.flatMap(({ name, rule, fields }) => [
      "",
      `/** The contract \`${name}\`. */`,
      `export interface ${className(rule)} {`,
      ...fields.flatMap(declaration),
      "}",
    ]),
    "",
  ].join("\n");
}

function declaration({ name, isOptional, type, comment }: Field): string[] {
  return [
    ...(comment === undefined ? [] : [`  /** ${comment} */`]),
    `  readonly ${name}${isOptional ? "?" : ""}: ${typeOf(type)};`,
  ];
}

function typeOf(type: FieldType): string {
  switch (type.kind) {
    case "text":
      return "string";
    case "bytes":
      return "Uint8Array";
    case "choice":
      return type.values.map((value) => JSON.stringify(value)).join(" | ");
    case "boolean":
      return "boolean";
    case "unsigned":
      return type.bits === 32 ? "number" : "number | bigint";
    case "integer":
      return "number | bigint";
    default:
      return "number";
  }
}
