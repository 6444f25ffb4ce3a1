/** Makes docs/gateway-schema.json from the shape that reads gateway.yaml. */
import { gatewaySchema } from "../../gateway/config/json-schema.ts";

const WIDTH = 120;

/** JSON as the formatter of this repository writes it: a list stands on one line where it fits, a map never does. */
function print(value: unknown, indent: string, used: number): string {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const deeper = `${indent}  `;
  if (!Array.isArray(value)) {
    const entries = Object.entries(value).filter(([, entry]) => entry !== undefined);
    if (entries.length === 0) return "{}";
    const lines = entries.map(([key, entry]) => {
      const name = `${deeper}${JSON.stringify(key)}: `;
      return `${name}${print(entry, deeper, name.length + 1)}`;
    });
    return `{\n${lines.join(",\n")}\n${indent}}`;
  }
  const items = value.map((item) => print(item, deeper, deeper.length));
  const inline = `[${items.join(", ")}]`;
  if (!inline.includes("\n") && used + inline.length <= WIDTH) return inline;
  return `[\n${items.map((item) => `${deeper}${item}`).join(",\n")}\n${indent}]`;
}

export const path = "docs/gateway-schema.json";

export function generate(): string {
  return `${print(gatewaySchema(), "", 0)}\n`;
}
