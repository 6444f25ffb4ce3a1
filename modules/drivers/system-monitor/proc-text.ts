/** Reads numbers from the text files of `/proc`, where they lie. */

import { Bytes, isText } from "bulkhead/sdk";

const ZERO: u8 = 48;
const NINE: u8 = 57;
const DOT: u8 = 46;
const LINE_FEED: u8 = 10;

export class ProcText {
  private at: usize = 0;
  private start: usize = 0;
  private end: usize = 0;
  /** False once something looked for was not there. */
  ok: bool = true;

  open(buffer: Bytes, length: i32): void {
    this.start = buffer.address;
    this.at = this.start;
    this.end = this.start + min(length, buffer.length);
    this.ok = true;
  }

  /** The next decimal number on this line; 0, and not `ok`, where there is none. */
  number(): f64 {
    while (this.at < this.end && !isDigit(load<u8>(this.at)) && load<u8>(this.at) != LINE_FEED) this.at++;
    if (this.at >= this.end || load<u8>(this.at) == LINE_FEED) {
      this.ok = false;
      return 0;
    }
    const whole = this.digits();
    if (this.at >= this.end || load<u8>(this.at) != DOT) return whole;
    this.at++;
    const from = this.at;
    let fraction = this.digits();
    for (let digits = this.at - from; digits > 0; digits--) fraction /= 10;
    return whole + fraction;
  }

  private digits(): f64 {
    let value: f64 = 0;
    while (this.at < this.end && isDigit(load<u8>(this.at))) {
      value = value * 10 + <f64>(load<u8>(this.at) - ZERO);
      this.at++;
    }
    return value;
  }

  /** Moves to just after this word at the start of a line. */
  after(word: string): void {
    const length = word.length;
    for (let line = this.start; line + length <= this.end; line = nextLine(line, this.end)) {
      if (!isText(line, length, word)) continue;
      this.at = line + length;
      return;
    }
    this.ok = false;
    this.at = this.end;
  }

  numberAfter(word: string): f64 {
    this.after(word);
    return this.number();
  }
}

function nextLine(from: usize, end: usize): usize {
  let at = from;
  while (at < end && load<u8>(at) != LINE_FEED) at++;
  return at + 1;
}

function isDigit(character: u8): bool {
  return character >= ZERO && character <= NINE;
}
