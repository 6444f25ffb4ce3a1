/** Writes the TypeScript of contracts: the types of their messages, and the checks that the kernel compiles from them. */
import { className } from "./assembly-script.ts";
import { type ContractData, contractData } from "./describe.ts";
import type { Contract, Field, FieldType } from "./model.ts";

/** One file for all contracts. `source` is what the reader edits, `kernel` where the compiler of checks comes from. */
export function typescriptOf(contracts: readonly Contract[], source: string, kernel: string): string {
  return [
    `/** Generated from ${source}; edit that. The messages of the contracts, as decoded maps, and their checks. */`,
    `import { compileFields, type MessageCheck } from "${kernel}";`,
    ...contracts.flatMap(({ name, rule, fields, reply }) => [
      "",
      ...interfaceOf(name, rule, fields),
      ...(reply === undefined ? [] : ["", ...interfaceOf(name, `${rule}-reply`, reply)]),
    ]),
    "",
    "/** By rule: what is wrong with an encoded message, or undefined. */",
    "export const CHECKS = Object.freeze({",
    ...contracts.flatMap((contract) => checks(contract.rule, contractData(contract))),
    "} satisfies Record<string, MessageCheck>);",
    "",
  ].join("\n");
}

function interfaceOf(name: string, rule: string, fields: readonly Field[]): string[] {
  return [
    `/** The contract \`${name}\`. */`,
    `export interface ${className(rule)} {`,
    ...fields.flatMap(declaration),
    "}",
  ];
}

function checks(rule: string, { message, reply }: ContractData): string[] {
  const of = (name: string, fields: ContractData["message"]): string[] => [
    `  ${/^[a-z]\w*$/.test(name) ? name : JSON.stringify(name)}: compileFields([`,
    ...fields.flatMap(fieldOf),
    "  ]),",
  ];
  return [...of(rule, message), ...(reply === undefined ? [] : of(`${rule}-reply`, reply))];
}

function fieldOf([name, isOptional, kind, ...rest]: ContractData["message"][number]): string[] {
  return [
    "    {",
    `      name: ${JSON.stringify(name)},`,
    `      isOptional: ${isOptional},`,
    `      kind: ${JSON.stringify(kind)},`,
    `      arguments: [${rest.map((item) => JSON.stringify(item)).join(", ")}],`,
    "    },",
  ];
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
