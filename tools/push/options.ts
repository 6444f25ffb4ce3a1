/** The options that push, status and rollout share: the broker, and the gateways' own keys. */

import { createPublicKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Refusal } from "../../kernel/index.ts";
import type { Arguments } from "../keys/command-line.ts";
import { UsageError } from "../keys/command-line.ts";
import type { BrokerOptions } from "./broker.ts";

export const BROKER_OPTIONS = {
  broker: { type: "string" },
  username: { type: "string" },
  "password-file": { type: "string" },
  ca: { type: "string" },
  cert: { type: "string" },
  "cert-key": { type: "string" },
  mqtt5: { type: "boolean" },
} as const;

export const BROKER_HELP = `  --broker <url>            such as mqtts://broker.example:8883
  --username, --password-file <file>
  --ca, --cert, --cert-key <file>   PEM files for TLS and client certificates
  --mqtt5                   speak MQTT 5; MQTT 3.1.1 otherwise`;

export function brokerOptions(args: Arguments): BrokerOptions {
  const url = args.required("broker");
  if (!/^(mqtts?|tcp|tls|wss?):\/\/[^/]/.test(url)) {
    throw new UsageError(`--broker takes a URL such as mqtt://127.0.0.1:1883, not ${JSON.stringify(url)}`);
  }
  return {
    url,
    username: args.optional("username"),
    passwordFile: args.optional("password-file"),
    caFile: args.optional("ca"),
    certificateFile: args.optional("cert"),
    keyFile: args.optional("cert-key"),
    protocolVersion: args.has("mqtt5") ? 5 : 4,
  };
}

/** A gateway's public key from the gateway.pub that it wrote: SubjectPublicKeyInfo in PEM. 32 bytes. @throws Refusal E_KEY */
export async function readGatewayKey(path: string): Promise<Uint8Array> {
  const pem = await readFile(path);
  try {
    const { kty, crv, x } = createPublicKey(pem).export({ format: "jwk" });
    if (kty === "OKP" && crv === "Ed25519" && x !== undefined)
      return Uint8Array.fromBase64(x, { alphabet: "base64url" });
  } catch {
    // Said below: the parser's own words help nobody.
  }
  throw new Refusal("E_KEY", `${path} is not a gateway's public key`, {
    expected: "an Ed25519 public key in PEM",
    hint: "copy gateway.pub from the gateway's data folder",
  });
}

const DAY_MS = 86_400_000;

/** `90s`, `10m`, `2h`, or plain seconds, in milliseconds; a day at most, as timers overflow beyond 24. @throws UsageError */
export function parseDuration(text: string, name: string, mostMs = DAY_MS): number {
  const match = /^(\d{1,7})(ms|s|m|h)?$/.exec(text);
  if (match === null) throw new UsageError(`${name} takes a time such as 90s, 10m or 2h, not ${JSON.stringify(text)}`);
  const factors: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
  const time = Number(match[1]) * (factors[match[2] ?? "s"] ?? 1_000);
  if (time > mostMs) throw new UsageError(`${name} takes at most ${mostMs / 3_600_000}h, not ${text}`);
  return time;
}
