/** Renumbers the function indices of a name section, so that stack traces keep naming the right functions. */

import { Refusal } from "../errors.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";

const FUNCTION_NAMES = 1;
const LOCAL_NAMES = 2;
const LABEL_NAMES = 3;

/**
 * The content of a name section with every function index mapped, or undefined where it is malformed: a custom
 * section's errors do not make a module invalid (core specification 2.0, 7.4), so it is dropped.
 */
export function renumberNames(content: Uint8Array, map: (index: number) => number): ByteWriter | undefined {
  try {
    return renumber(new ByteReader(content, 0, content.length), map);
  } catch (error) {
    if (error instanceof Refusal) return undefined;
    throw error;
  }
}

function renumber(reader: ByteReader, map: (index: number) => number): ByteWriter {
  const out = new ByteWriter(reader.end + 64);
  while (reader.at < reader.end) {
    const id = reader.byte();
    const size = reader.count("bytes of a name subsection");
    const subsection = new ByteReader(reader.bytes, reader.at, reader.at + size);
    reader.skip(size);
    const renumbered = new ByteWriter(size + 16);
    if (id === FUNCTION_NAMES) renumberMap(subsection, renumbered, map, copyName);
    else if (id === LOCAL_NAMES || id === LABEL_NAMES) renumberMap(subsection, renumbered, map, copyNames);
    else renumbered.slice(subsection.bytes, subsection.at, subsection.end);
    out.byte(id).u32(renumbered.length).append(renumbered);
  }
  return out;
}

function renumberMap(
  reader: ByteReader,
  out: ByteWriter,
  map: (index: number) => number,
  copy: (reader: ByteReader, out: ByteWriter) => void,
): void {
  const count = reader.count("names");
  out.u32(count);
  for (let entry = 0; entry < count; entry += 1) {
    out.u32(map(reader.u32()));
    copy(reader, out);
  }
  reader.finish("a name subsection");
}

function copyName(reader: ByteReader, out: ByteWriter): void {
  const length = reader.count("bytes of a name");
  out.u32(length).slice(reader.bytes, reader.at, reader.at + length);
  reader.skip(length);
}

function copyNames(reader: ByteReader, out: ByteWriter): void {
  const count = reader.count("names");
  out.u32(count);
  for (let entry = 0; entry < count; entry += 1) {
    out.u32(reader.u32());
    copyName(reader, out);
  }
}
