/** Says where in its source a module trapped: from V8's stack trace of the rewritten binary, the binary and its source map. */

import { meter, type MeterOptions } from "../../kernel/index.ts";
import { type SourcePlace, SourceMap } from "./source-map.ts";
import { type BinaryOutline, type BodySpan, outline } from "./sections.ts";

/** A frame of a guest's stack, the innermost first. */
export interface GuestFrame {
  /** Index of the function in the binary as it was compiled. */
  readonly functionIndex: number;
  /** From the binary's name section; undefined where it has none (asc writes one with `--debug`). */
  readonly functionName: string | undefined;
  /** Byte offset in the binary as it was compiled. */
  readonly offset: number;
  /** Undefined without a source map, or where it notes nothing for this code. */
  readonly place: SourcePlace | undefined;
  /** Where that place is a library's: the last one of the module's own before it, into which the compiler has inlined it. */
  readonly near: SourcePlace | undefined;
}

export interface LocatorInput {
  /** The binary as it was compiled, manifest or not. */
  readonly binary: Uint8Array;
  /** The quotas with which it was rewritten, for a module that was admitted `meterOptions(manifest)`: offsets depend on them. */
  readonly options: MeterOptions;
  /** Content of the `.wasm.map` that the build puts beside the binary. */
  readonly sourceMap?: string | undefined;
  /** Put before the paths of the source map: the module's folder. */
  readonly folder?: string | undefined;
}

interface Copy {
  /** Offset in the rewritten body at which `binary` bytes [from, to) stand. */
  readonly at: number;
  readonly from: number;
  readonly to: number;
}

/** A frame of V8's: `wasm://wasm/3b06857a:wasm-function[8]:0x214`. */
const FRAME = /(wasm:\/\/wasm\/[^:\s]*):wasm-function\[(\d+)\]:0x([0-9a-f]+)/g;

/** Rewrites the binary once more to see what went where; after that each look-up is cheap. */
export class Locator {
  readonly #original: BinaryOutline;
  readonly #rewritten: BinaryOutline;
  readonly #copies = new Map<number, Copy[]>();
  readonly #map: SourceMap | undefined;
  readonly #folder: string;

  /** @throws Refusal where the binary is refused by the meter; TypeError or SyntaxError on a broken source map. */
  constructor({ binary, options, sourceMap, folder }: LocatorInput) {
    const rewritten = meter(binary, options, (functionIndex, at, from, to) => {
      const copies = this.#copies.get(functionIndex) ?? [];
      copies.push({ at, from, to });
      this.#copies.set(functionIndex, copies);
    });
    this.#original = outline(binary);
    this.#rewritten = outline(rewritten);
    this.#map = sourceMap === undefined ? undefined : new SourceMap(sourceMap);
    this.#folder = folder === undefined ? "" : `${folder.replace(/\/$/, "")}/`;
  }

  /** The guest's frames of a stack trace (`error.stack`): those of the module in which it begins. */
  frames(stack: string): GuestFrame[] {
    const found = [...stack.matchAll(FRAME)];
    const guest = found.filter(([, url]) => url === found[0]?.[1]);
    return guest.flatMap(([, , index, offset]) => this.locate(Number(index), Number.parseInt(offset ?? "", 16)) ?? []);
  }

  /** A function and byte offset of the rewritten binary; undefined where that is not the guest's code. */
  locate(functionIndex: number, offset: number): GuestFrame | undefined {
    const copies = this.#copies.get(functionIndex);
    const body = this.#rewritten.bodies[functionIndex - this.#rewritten.importedFunctions];
    if (copies === undefined || body === undefined || offset < body.at || offset >= body.end) return undefined;
    const inside = offset - body.at;
    const copy = copies.findLast(({ at }) => at <= inside) ?? copies[0];
    // What stands behind a copy was put there for the instruction that follows it.
    return copy && this.#describe(Math.min(copy.from + Math.max(inside - copy.at, 0), copy.to));
  }

  #describe(offset: number): GuestFrame | undefined {
    const { bodies, importedFunctions, names } = this.#original;
    const holds = (body: BodySpan): boolean => offset >= body.at && offset < body.end;
    const index = bodies.findIndex(holds);
    const body = bodies[index];
    if (body === undefined) return undefined;
    const functionIndex = importedFunctions + index;
    const place = this.#map?.find(offset, body.at);
    return {
      functionIndex,
      functionName: names.get(functionIndex),
      offset,
      place: this.#inFolder(place),
      near: place?.file.startsWith("~lib/") === true ? this.#inFolder(this.#ownBefore(offset, body)) : undefined,
    };
  }

  /** What belongs to a statement comes before what was inlined into it: its operands. */
  #ownBefore(offset: number, body: BodySpan): SourcePlace | undefined {
    for (let at = offset; at >= body.at; at--) {
      const place = this.#map?.find(at, body.at);
      if (place !== undefined && !/^(~lib|generated)\//.test(place.file)) return place;
    }
    return undefined;
  }

  #inFolder(place: SourcePlace | undefined): SourcePlace | undefined {
    return place && { ...place, file: place.file.startsWith("~lib/") ? place.file : `${this.#folder}${place.file}` };
  }
}

/**
 * `step (modules/x/index.ts:42:7)`; the function by its index where it has no name, the offset where there is no place. What was
 * inlined into the module's own source says where: `(~lib/bulkhead/sdk/bytes.ts:105:51, inlined at modules/x/index.ts:42:7)`.
 */
export function describeFrame({ functionIndex, functionName, offset, place, near }: GuestFrame): string {
  const name = functionName ?? `function ${functionIndex}`;
  if (place === undefined) return `${name} (byte ${offset})`;
  return `${name} (${describePlace(place)}${near === undefined ? "" : `, inlined at ${describePlace(near)}`})`;
}

function describePlace({ file, line, column }: SourcePlace): string {
  return `${file}:${line}:${column}`;
}
