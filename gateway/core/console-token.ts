/** The token that opens the console: from the operator's file, or a random one that is made once and shown once. */
import { createHash, randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Refusal } from "../../kernel/index.ts";

const FILE = "console.token";
const RANDOM_BYTES = 24;
/** Fewer characters can be guessed. */
const SHORTEST = 20;
const LONGEST = 256;

export interface ConsoleToken {
  /** SHA-256: the link process can compare a token, and never tell it. */
  readonly digest: Uint8Array;
  readonly file: string;
  /** Only where it has just been made. */
  readonly shown: string | undefined;
}

/** @throws Refusal E_CONFIG for a file of the operator's that others can read, or that holds no good token; E_STORE */
export function consoleToken(file: string | null, dataFolder: string): ConsoleToken {
  const path = file ?? join(dataFolder, FILE);
  const made = file === null ? make(path) : undefined;
  const token = made ?? read(path);
  const digest = new Uint8Array(createHash("sha256").update(token).digest());
  return { digest, file: path, shown: made };
}

/** That the token which is there is a good one; where none is, a start makes it. @throws Refusal E_CONFIG */
export function checkConsoleToken(file: string | null, dataFolder: string): void {
  const path = file ?? join(dataFolder, FILE);
  if (file !== null || existsSync(path)) read(path);
}

/** Whole or not at all, for half a token would keep the gateway from starting. @returns undefined where there is one already */
function make(path: string): string | undefined {
  if (existsSync(path)) return undefined;
  const token = randomBytes(RANDOM_BYTES).toString("base64url");
  const temporary = `${path}.new`;
  try {
    rmSync(temporary, { force: true });
    writeFileSync(temporary, `${token}\n`, { flag: "wx", mode: 0o600, flush: true });
    renameSync(temporary, path);
    return token;
  } catch (error) {
    const found = error instanceof Error ? error.message : "";
    throw new Refusal("E_STORE", `the console's token cannot be written to ${path}`, { found });
  }
}

function read(path: string): string {
  let text: string;
  try {
    const descriptor = openSync(path, constants.O_RDONLY);
    try {
      const { mode } = fstatSync(descriptor);
      if ((mode & 0o077) !== 0) {
        throw new Refusal("E_CONFIG", `${path} can be read by others`, {
          expected: "mode 0600",
          found: `mode 0${(mode & 0o777).toString(8)}`,
          hint: `chmod 600 ${path}, and take a new token if others may have read it`,
        });
      }
      text = readFileSync(descriptor, "utf8").trim();
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if (error instanceof Refusal) throw error;
    const found = error instanceof Error ? error.message : "";
    throw new Refusal("E_CONFIG", `the console's token ${path} cannot be read`, { found, hint: "check token-file" });
  }
  if (/^[\x21-\x7e]+$/.test(text) && text.length >= SHORTEST && text.length <= LONGEST) return text;
  throw new Refusal("E_CONFIG", `${path} holds no token for the console`, {
    expected: `one line of ${SHORTEST} to ${LONGEST} printable characters without spaces`,
    hint: "`openssl rand -base64 24` makes one",
  });
}
