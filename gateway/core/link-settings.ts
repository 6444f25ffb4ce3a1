/** What the link process is told: the core reads certificates and passwords, so that the exposed process opens no files. */
import { readFileSync } from "node:fs";
import type { CborInput } from "../../kernel/index.ts";
import { Refusal } from "../../kernel/index.ts";
import type { BrokerSettings, ConsoleSettings, GatewayConfiguration } from "../config/index.ts";
import { checkConsoleToken } from "./console-token.ts";

export interface Will {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly retain: boolean;
}

/** Without a broker the link carries requests over HTTP, and the console. */
export function linkSettingsAlone(clientId: string): { readonly [key: string]: CborInput } {
  return { broker: null, clientId };
}

/** @throws Refusal E_CONFIG for a file that cannot be read. */
export function linkSettings(
  broker: BrokerSettings,
  will: Will,
  storePath: string,
): { readonly [key: string]: CborInput } {
  const { url, clientId, username, keepAliveMs, bufferBytes } = broker;
  const tls = {
    ca: readSecret(broker.caFile),
    cert: readSecret(broker.certificateFile),
    key: readSecret(broker.keyFile),
  };
  const password = readSecret(broker.passwordFile)?.trimEnd() ?? null;
  return {
    broker: { url, username, password, tls, keepAliveMs },
    clientId,
    will: { ...will },
    store: { path: storePath, bytes: bufferBytes },
  };
}

/** @throws Refusal E_CONFIG for a file that cannot be read. */
export function consoleSettings(console: ConsoleSettings, tokenDigest: Uint8Array): CborInput {
  const { address, port, certificateFile, keyFile } = console;
  return { address, port, tokenDigest, tls: { cert: readSecret(certificateFile), key: readSecret(keyFile) } };
}

/** Reads what the link process would be given at a start, and makes nothing. @throws Refusal E_CONFIG */
export function checkLinkFiles({ broker, console, dataFolder }: GatewayConfiguration): void {
  if (broker !== null) linkSettings(broker, { topic: "", payload: new Uint8Array(), retain: false }, "");
  if (console === null) return;
  checkConsoleToken(console.tokenFile, dataFolder);
  consoleSettings(console, new Uint8Array());
}

function readSecret(path: string | null): string | null {
  if (path === null) return null;
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new Refusal("E_CONFIG", `${path} cannot be read`, {
      found: error instanceof Error ? error.message : "",
      hint: "check the path and its permissions",
    });
  }
}
