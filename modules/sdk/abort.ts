/** The end of an activation that cannot go on: text, file and line are left where the kernel finds them. */

import { encodeText } from "./text";

/**
 * The abort record lies in the 256 bytes before the inbox, so that it needs no import:
 *
 *      0        4        8        12       16                  256
 *      +--------+--------+--------+--------+-------------------+
 *      | "BKAB" | line   | column | length | text, UTF-8       |
 *      +--------+--------+--------+--------+-------------------+
 *
 * The text is `file: message`. The kernel reads it after a trap, where the four letters are there.
 */
export const ABORT_RECORD_BYTES: usize = 256;
const MAGIC: u32 = 0x42414b42;
const TEXT_OFFSET: usize = 16;

let record: usize = 0;

/** Tells where the record is: the generated entry file calls it once. */
export function placeAbortRecord(address: usize): void {
  record = address;
}

/** What AssemblyScript calls for `throw`, `assert` and failed bounds checks; the build maps `abort` to it. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  leave(file, message, line, column);
  unreachable();
}

/** Ends the activation with a text and the code that led to it, which stands in the record as the line. */
export function trap(message: string, code: i32): void {
  leave(null, message, <u32>code, 0);
  unreachable();
}

function leave(file: string | null, message: string | null, line: u32, column: u32): void {
  if (record == 0) return;
  const start = record + TEXT_OFFSET;
  const end = record + ABORT_RECORD_BYTES;
  let at = start;
  if (file !== null) {
    at += encodeText(file, at, <i32>(end - at));
    at += encodeText(": ", at, <i32>(end - at));
  }
  if (message !== null) at += encodeText(message, at, <i32>(end - at));
  store<u32>(record, MAGIC);
  store<u32>(record, line, 4);
  store<u32>(record, column, 8);
  store<u32>(record, <u32>(at - start), 12);
}
