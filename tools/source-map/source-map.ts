/** Reads a source map (version 3) of a Wasm binary, in which a column is a byte offset and there is one line. */

/** A place in a source file; line and column count from 1. */
export interface SourcePlace {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

interface Mapping extends SourcePlace {
  /** Byte offset in the binary from which this place holds. */
  readonly offset: number;
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Base64 VLQ: five bits a digit, the sixth says that more follow, the lowest of all is the sign. */
function decodeFields(segment: string): number[] {
  const fields: number[] = [];
  let value = 0;
  let shift = 0;
  for (const digit of segment) {
    const bits = DIGITS.indexOf(digit);
    if (bits < 0) throw new TypeError(`not a source map: ${JSON.stringify(digit)} in its mappings`);
    value += (bits & 31) * 2 ** shift;
    shift += 5;
    if (bits >= 32) continue;
    fields.push(value % 2 === 0 ? value / 2 : -(value - 1) / 2);
    value = 0;
    shift = 0;
  }
  return fields;
}

function decodeMappings(mappings: string, sources: readonly string[]): Mapping[] {
  const found: Mapping[] = [];
  let [offset, source, line, column] = [0, 0, 0, 0];
  for (const segment of mappings.replaceAll(";", "").split(",")) {
    const [byOffset = 0, bySource, byLine = 0, byColumn = 0] = decodeFields(segment);
    offset += byOffset;
    if (bySource === undefined) continue;
    source += bySource;
    line += byLine;
    column += byColumn;
    found.push({ offset, file: sources[source] ?? "?", line: line + 1, column: column + 1 });
  }
  return found.sort((a, b) => a.offset - b.offset);
}

export class SourceMap {
  readonly #mappings: readonly Mapping[];

  /** @throws TypeError or SyntaxError on text that is not a source map. */
  constructor(text: string) {
    const { mappings, sources } = JSON.parse(text) as { readonly mappings: unknown; readonly sources: unknown };
    if (typeof mappings !== "string" || !Array.isArray(sources)) throw new TypeError("not a source map");
    this.#mappings = decodeMappings(mappings, sources.map(String));
  }

  /** The place that holds at `offset`, if one is noted from `start`, where the function begins, on. */
  find(offset: number, start: number): SourcePlace | undefined {
    const index = this.#mappings.findLastIndex((mapping) => mapping.offset <= offset);
    const mapping = this.#mappings[index];
    if (mapping === undefined || mapping.offset < start) return undefined;
    return { file: mapping.file, line: mapping.line, column: mapping.column };
  }
}
