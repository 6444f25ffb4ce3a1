/** Writes the AssemblyScript of a module's settings: classes with their defaults, filled before the driver starts. */
import { className } from "./contracts/assembly-script.ts";
import { variable } from "./generate.ts";
import type { SettingsRule, SettingsRuleField, SettingsRuleType } from "./settings-file.ts";

/** Where the source lies, relative to the module's folder. */
export const SETTINGS_FILE = "generated/settings.ts";

/** The source of `generated/settings.ts`. */
export function settingsSource(settings: SettingsRule): string {
  const rules = collect(settings);
  const choices = rules.flatMap(({ rule, fields }) => fields.flatMap((field) => choiceEnum(rule, field)));
  const readsText = rules.some(({ fields }) => fields.some(({ type }) => isText(type)));
  return [
    "/** Generated from the settings of module.yaml by `bulkhead build`; edit those. What the operator has set. */",
    "",
    'import { Bytes, Fault, Reader } from "bulkhead/sdk";',
    'import { trap } from "bulkhead/sdk/abort";',
    'import { key } from "bulkhead/sdk/reader";',
    "",
    ...choices,
    ...rules.flatMap((rule) => [...classSource(rule), ""]),
    ...(readsText ? ["const text = new Bytes();", ""] : []),
    "/** The settings of this instance: complete when `start` is called, and never changed afterwards. */",
    `export const settings = new ${className(settings.rule)}();`,
    "",
    "/** Takes the settings of a start notice: the entry file calls it. */",
    "export function takeSettings(reader: Reader): void {",
    "  settings.decode(reader);",
    '  if (!reader.finish()) trap("settings", reader.fault);',
    "}",
    "",
  ].join("\n");
}

function isText(type: SettingsRuleType): boolean {
  return type.kind === "list" ? isText(type.of) : type.kind === "text" || type.kind === "choice";
}

/** Every rule that is used, once, the innermost first. */
function collect(rule: SettingsRule, found: SettingsRule[] = []): SettingsRule[] {
  for (const { type } of rule.fields) {
    const inner = type.kind === "list" ? type.of : type;
    if (inner.kind === "map") collect(inner, found);
  }
  if (!found.some((known) => known.rule === rule.rule)) found.push(rule);
  return found;
}

function choiceEnum(rule: string, { name, type }: SettingsRuleField): string[] {
  const inner = type.kind === "list" ? type.of : type;
  if (inner.kind !== "choice") return [];
  return [
    `/** What \`${name}\` may be. */`,
    `export enum ${className(rule)}${className(name)} {`,
    ...inner.values.map((value, index) => `  ${variable(value)} = ${index},`),
    "}",
    "",
  ];
}

function classSource({ rule, fields }: SettingsRule): string[] {
  const required = fields.reduce((mask, { isOptional }, index) => (isOptional ? mask : mask | (1 << index)), 0) >>> 0;
  const present = fields.flatMap((field, index) =>
    isTold(field) ? [`    this.has${className(field.name)} = (seen & ${(1 << index) >>> 0}) != 0;`] : [],
  );
  return [
    `export class ${className(rule)} {`,
    ...fields.flatMap((field) => declaration(field)),
    "",
    "  /** Reads one; the reader's fault is set where the bytes are not exactly one. */",
    "  decode(reader: Reader): void {",
    "    let seen: u32 = 0;",
    "    for (let left = reader.map(); left > 0 && reader.ok; left--) {",
    "      reader.text(key);",
    "      seen = reader.once(seen, this.entry(reader));",
    "    }",
    ...(required === 0 ? [] : [`    if ((seen & ${required}) != ${required}) reader.fail(Fault.contract);`]),
    ...present,
    "  }",
    "",
    "  private entry(reader: Reader): u32 {",
    ...fields.flatMap((field, index) => [
      `    if (key.is(${JSON.stringify(field.name)})) {`,
      ...reading(field).map((line) => `      ${line}`),
      `      return ${(1 << index) >>> 0};`,
      "    }",
    ]),
    "    return 0;",
    "  }",
    "}",
  ];
}

/** A list that is absent is empty, a map that is absent has its own defaults: only of the rest one must be told. */
function isTold({ isOptional, default: preset, type }: SettingsRuleField): boolean {
  return isOptional && preset === null && type.kind !== "list" && type.kind !== "map";
}

function declaration(field: SettingsRuleField): string[] {
  const { name, default: preset, type, comment } = field;
  return [
    ...(comment === undefined ? [] : [`  /** ${comment} */`]),
    `  ${variable(name)}: ${typeName(type)} = ${initial(type, preset)};`,
    ...(isTold(field) ? [`  has${className(name)}: bool = false;`] : []),
  ];
}

function typeName(type: SettingsRuleType): string {
  switch (type.kind) {
    case "text":
      return "Bytes";
    case "choice":
      return "i32";
    case "integer":
      return isShort(type) ? "i32" : "i64";
    case "number":
      return "f64";
    case "boolean":
      return "bool";
    case "list":
      return `Array<${typeName(type.of)}>`;
    case "map":
      return className(type.rule);
  }
}

function isShort({ least, most }: { readonly least: number; readonly most: number }): boolean {
  return least >= -(2 ** 31) && most < 2 ** 31;
}

function initial(type: SettingsRuleType, preset: string | number | boolean | null): string {
  switch (type.kind) {
    case "text":
      return preset === null ? "new Bytes()" : `Bytes.fromText(${JSON.stringify(preset)})`;
    case "choice":
      return String(Math.max(0, type.values.indexOf(String(preset))));
    case "integer":
    case "number":
      return String(preset ?? Math.max(type.least ?? 0, 0));
    case "boolean":
      return String(preset ?? false);
    case "list":
      return "[]";
    case "map":
      return `new ${className(type.rule)}()`;
  }
}

/** Statements that read the value of a field. */
function reading({ name, type }: SettingsRuleField): string[] {
  const field = `this.${variable(name)}`;
  if (type.kind === "map") return [`${field}.decode(reader);`];
  if (type.kind !== "list") return scalarReading(field, type);
  return [
    `${field} = new ${typeName(type)}();`,
    "const count = reader.array();",
    `if (${type.least === 0 ? "" : `count < ${type.least} || `}count > ${type.most}) reader.fail(Fault.contract);`,
    "for (let left = count; left > 0 && reader.ok; left--) {",
    ...itemReading(type.of).map((line) => `  ${line}`),
    `  ${field}.push(item);`,
    "}",
  ];
}

function itemReading(type: SettingsRuleType): string[] {
  if (type.kind === "map") return [`const item = new ${className(type.rule)}();`, "item.decode(reader);"];
  return [`let item: ${typeName(type)} = ${initial(type, null)};`, ...scalarReading("item", type)];
}

function scalarReading(target: string, type: SettingsRuleType): string[] {
  switch (type.kind) {
    case "text":
      return [`reader.textWithin(text, ${type.least}, ${type.most});`, `${target} = text.copy();`];
    case "choice":
      return [
        "reader.text(text);",
        ...type.values.map(
          (value, index) => `${index === 0 ? "" : "else "}if (text.is(${JSON.stringify(value)})) ${target} = ${index};`,
        ),
        "else reader.fail(Fault.contract);",
      ];
    case "integer":
      return [`${target} = ${isShort(type) ? "<i32>" : ""}reader.within(${type.least}, ${type.most});`];
    case "number": {
      const limits = [
        ...(type.least === null ? [] : [`${target} >= ${type.least}`]),
        ...(type.most === null ? [] : [`${target} <= ${type.most}`]),
      ];
      const check = limits.length === 0 ? [] : [`if (!(${limits.join(" && ")})) reader.fail(Fault.range);`];
      return [`${target} = reader.number();`, ...check];
    }
    default:
      return [`${target} = reader.boolean();`];
  }
}
