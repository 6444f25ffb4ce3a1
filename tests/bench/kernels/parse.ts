/** A recursive-descent pass over a JSON text: objects, arrays, strings, numbers, literals. */

const text =
  '{"site":"north-7","readings":[{"id":1,"t":21.5,"ok":true},{"id":2,"t":-3.25e1,"ok":false},{"id":3,"t":0,"ok":null}],' +
  '"tags":["alpha","beta","a longer tag with \\"quotes\\" in it",[],{}],"nested":{"a":{"b":{"c":[1,2,[3,[4,[5]]]]}}}}';
const bytes = Uint8Array.wrap(String.UTF8.encode(text));
let at = 0;
let hash: u32 = 0;

function peek(): i32 {
  return at < bytes.length ? <i32>bytes[at] : -1;
}

function skipSpace(): void {
  while (peek() == 0x20 || peek() == 0x0a) at++;
}

function parseString(): void {
  at++;
  while (peek() != 0x22) {
    if (peek() == 0x5c) at++;
    hash = hash * 31 + peek();
    at++;
  }
  at++;
}

function parseNumber(): void {
  let value: i32 = 0;
  for (;;) {
    const c = peek();
    if (c >= 0x30 && c <= 0x39) value = value * 10 + (c - 0x30);
    else if (c != 0x2d && c != 0x2b && c != 0x2e && c != 0x65) break;
    at++;
  }
  hash = hash * 33 + value;
}

function parseMembers(close: i32, keyed: bool): void {
  at++;
  skipSpace();
  while (peek() != close) {
    if (keyed) {
      parseString();
      skipSpace();
      at++;
    }
    parseValue();
    skipSpace();
    if (peek() == 0x2c) at++;
    skipSpace();
  }
  at++;
}

function parseValue(): void {
  skipSpace();
  switch (peek()) {
    case 0x7b:
      parseMembers(0x7d, true);
      break;
    case 0x5b:
      parseMembers(0x5d, false);
      break;
    case 0x22:
      parseString();
      break;
    case 0x74:
    case 0x6e:
      at += 4;
      break;
    case 0x66:
      at += 5;
      break;
    default:
      parseNumber();
  }
}

export function run(rounds: i32): i32 {
  hash = 0;
  for (let round = 0; round < rounds; round++) {
    at = 0;
    parseValue();
  }
  return <i32>hash;
}
