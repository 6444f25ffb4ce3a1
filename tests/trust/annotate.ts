/** Writes CBOR out byte by byte with what each stretch means: the annotated example of the documentation. */

import { checkCbor } from "../../kernel/index.ts";

/** What stands at a path such as `3/20`, in words. Paths name map keys and array positions; nested byte strings go on. */
export type Labels = Readonly<Record<string, string>>;

const BYTES_PER_LINE = 16;
const HEX_WIDTH = BYTES_PER_LINE * 2 + 2;

/** Lines of `offset  hex  ; meaning`. Byte strings that hold CBOR are opened where a label is deeper than they are. */
export function annotate(bytes: Uint8Array, labels: Labels): string {
  return new Annotator(bytes, labels).run().join("\n");
}

class Annotator {
  readonly #bytes: Uint8Array;
  readonly #labels: Labels;
  readonly #lines: string[] = [];
  #at = 0;

  constructor(bytes: Uint8Array, labels: Labels) {
    this.#bytes = bytes;
    this.#labels = labels;
  }

  run(): readonly string[] {
    this.#item("", 0, this.#labels[""]);
    return this.#lines;
  }

  /** One item at `path`, which means `label`. */
  #item(path: string, depth: number, label: string | undefined): void {
    const start = this.#at;
    const { major, argument } = this.#head();
    const says = (what: string) => (label === undefined ? what : `${what} (${label})`);
    if (major <= 1) this.#line(start, depth, says(String(major === 0 ? argument : -1 - argument)));
    else if (major === 2) this.#byteString(start, path, depth, argument, says);
    else if (major === 3) {
      this.#at += argument;
      this.#line(
        start,
        depth,
        says(JSON.stringify(Buffer.from(this.#bytes.subarray(this.#at - argument, this.#at)).toString())),
      );
    } else if (major === 4) {
      this.#line(start, depth, says(`array of ${argument}`));
      for (let index = 0; index < argument; index += 1) this.#child(path, String(index), depth + 1);
    } else if (major === 5) {
      this.#line(start, depth, says(`map of ${argument}`));
      for (let index = 0; index < argument; index += 1) this.#entry(path, depth + 1);
    } else if (major === 6) {
      this.#line(start, depth, says(`tag ${argument}`));
      this.#child(path, `tag${argument}`, depth + 1);
    } else this.#line(start, depth, says("null"));
  }

  #child(path: string, part: string, depth: number): void {
    const child = path === "" ? part : `${path}/${part}`;
    this.#item(child, depth, this.#labels[child]);
  }

  #entry(path: string, depth: number): void {
    const start = this.#at;
    const { major, argument } = this.#head();
    if (major === 3) this.#at += argument;
    const text = Buffer.from(this.#bytes.subarray(this.#at - argument, this.#at)).toString();
    const key = major === 3 ? JSON.stringify(text) : String(major === 0 ? argument : -1 - argument);
    this.#line(start, depth, `key ${key}:`);
    this.#child(path, key, depth + 1);
  }

  #byteString(start: number, path: string, depth: number, length: number, says: (what: string) => string): void {
    const isOpened = Object.keys(this.#labels).some((deeper) => deeper.startsWith(`${path}/`));
    const content = this.#bytes.subarray(this.#at, this.#at + length);
    if (!isOpened) {
      this.#at += length;
      this.#line(start, depth, says(`${length} bytes`));
      return;
    }
    const limits = { maxBytes: length, maxDepth: 8, maxItems: 100, tags: [18], deterministic: true };
    if (!checkCbor(content, limits).ok) throw new Error(`${path} is not CBOR`);
    this.#line(start, depth, says(`${length} bytes that hold:`));
    this.#item(path, depth + 1, undefined);
  }

  #head(): { readonly major: number; readonly argument: number } {
    const initial = this.#bytes[this.#at] ?? 0;
    const information = initial & 31;
    this.#at += 1;
    if (information < 24) return { major: initial >> 5, argument: information };
    const length = 1 << (information - 24);
    const argument = Buffer.from(this.#bytes.subarray(this.#at, this.#at + length)).readUIntBE(0, length);
    this.#at += length;
    return { major: initial >> 5, argument };
  }

  #line(start: number, depth: number, meaning: string): void {
    for (let at = start; at < this.#at; at += BYTES_PER_LINE) {
      const hex = Buffer.from(this.#bytes.subarray(at, Math.min(this.#at, at + BYTES_PER_LINE))).toString("hex");
      const text = at === start ? `; ${"  ".repeat(depth)}${meaning}` : "";
      this.#lines.push(`${String(at).padStart(3)}  ${hex.padEnd(HEX_WIDTH)}${text}`.trimEnd());
    }
  }
}
