/** The demo's heat meter: a Modbus RTU slave of its own at the far end of a real pseudo-terminal, which the gateway opens. */
import { createReadStream, writeSync } from "node:fs";
import { dlopen, toString } from "node:ffi";

/** What the meter is asked for, by the number of the input register: tenths of a degree and of a litre a minute. */
const REGISTERS = [
  { base: 652, swing: 30 },
  { base: 418, swing: 20 },
  { base: 124, swing: 40 },
] as const;
const STATION = 7;
const READ_INPUT = 4;
const ILLEGAL_FUNCTION = 1;
const ILLEGAL_ADDRESS = 2;
/** A request is station, function, address, count and CRC: eight bytes. */
const REQUEST_BYTES = 8;
const SWING_MS = 10_000;
/** Read and write, and not this process's own terminal. */
const O_RDWR_NOCTTY = 0o402;

const LIBC = {
  posix_openpt: { arguments: ["i32"], return: "i32" },
  grantpt: { arguments: ["i32"], return: "i32" },
  unlockpt: { arguments: ["i32"], return: "i32" },
  ptsname: { arguments: ["i32"], return: "pointer" },
  open: { arguments: ["string", "i32", "i32"], return: "i32" },
  close: { arguments: ["i32"], return: "i32" },
} as const;

/** Where the meter is plugged in, and how it is unplugged. */
export interface Meter {
  readonly path: string;
  close(): void;
}

/** Undefined where this host gives no pseudo-terminal: the demo's line is a simulated one then. */
export function plugMeter(): Meter | undefined {
  const { functions } = dlopen(null, LIBC);
  const master = functions.posix_openpt(O_RDWR_NOCTTY);
  if (master < 0) return undefined;
  if (functions.grantpt(master) !== 0 || functions.unlockpt(master) !== 0) {
    functions.close(master);
    return undefined;
  }
  const path = toString(functions.ptsname(master)) ?? "";
  // Held open, so that the line does not read as hung up before the gateway opens it; closing it ends the reading.
  const slave = functions.open(path, O_RDWR_NOCTTY, 0);
  let received = Buffer.alloc(0);
  const stream = createReadStream("", { fd: master });
  stream.on("data", (chunk) => {
    received = Buffer.concat([received, Buffer.from(chunk)]);
    const { answer, rest } = serve(received, Date.now());
    received = rest;
    if (answer.length > 0) writeSync(master, answer);
  });
  stream.on("error", () => undefined);
  return {
    path,
    close() {
      functions.close(slave);
    },
  };
}

/** Answers the requests in what has come. Bytes before a request that is whole and for this station are dropped. */
export function serve(received: Uint8Array, now: number): { answer: Uint8Array; rest: Buffer<ArrayBuffer> } {
  const answers: Uint8Array[] = [];
  let at = 0;
  while (received.length - at >= REQUEST_BYTES) {
    const request = received.subarray(at, at + REQUEST_BYTES);
    if (request[0] !== STATION || crc(request) !== 0) {
      at++;
      continue;
    }
    answers.push(withCrc(answerTo(request, now)));
    at += REQUEST_BYTES;
  }
  return { answer: Buffer.concat(answers), rest: Buffer.from(received.subarray(at)) };
}

/** MODBUS application protocol V1.1b3, section 6.4, and exceptions of section 7. */
function answerTo(request: Uint8Array, now: number): number[] {
  const [, code = 0, , address = 0, , count = 0] = request;
  if (code !== READ_INPUT) return [STATION, code | 0x80, ILLEGAL_FUNCTION];
  const asked = REGISTERS.slice(address, address + count);
  if (request[2] !== 0 || request[4] !== 0 || count === 0 || asked.length < count) {
    return [STATION, code | 0x80, ILLEGAL_ADDRESS];
  }
  const phase = Math.sin((2 * Math.PI * now) / SWING_MS);
  const words = asked.map(({ base, swing }) => Math.round(base + swing * phase));
  return [STATION, code, 2 * count, ...words.flatMap((word) => [word >> 8, word & 0xff])];
}

function withCrc(bytes: readonly number[]): Uint8Array {
  const check = crc(bytes);
  return Uint8Array.from([...bytes, check & 0xff, check >> 8]);
}

/** CRC-16 of MODBUS over serial line V1.02, section 6.2.2; 0 over bytes that end with their own. */
function crc(bytes: Iterable<number>): number {
  let check = 0xffff;
  for (const byte of bytes) {
    check ^= byte;
    for (let bit = 0; bit < 8; bit++) check = (check & 1) === 1 ? (check >> 1) ^ 0xa001 : check >> 1;
  }
  return check;
}
