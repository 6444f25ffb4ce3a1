/** Is the broker there, and does it take this gateway? A short connection under a name of its own. */
import { readFileSync } from "node:fs";
import { connectAsync } from "mqtt";
import type { GatewayConfiguration } from "../../gateway/config/index.ts";
import type { Finding } from "./finding.ts";
import { failure, ok, warning } from "./finding.ts";

const CONNECT_MS = 5000;

export async function checkBroker({ broker }: GatewayConfiguration): Promise<Finding[]> {
  if (broker === null) return [ok("broker", "none is configured: the gateway works alone")];
  const { url, username } = broker;
  const isPlain = url.startsWith("mqtt://") || url.startsWith("tcp://");
  try {
    const client = await connectAsync(
      url,
      {
        // Another name than the gateway's: a broker ends the older of two connections under one name.
        clientId: `${broker.clientId}-doctor`,
        connectTimeout: CONNECT_MS,
        reconnectPeriod: 0,
        ...(username === null ? {} : { username }),
        ...credentials(broker),
      },
      false,
    );
    await client.endAsync(true);
  } catch (error) {
    const reason = error instanceof Error ? error.message || String((error as { code?: unknown }).code) : String(error);
    return [explain(url, reason)];
  }
  const isLocal = /\/\/(localhost|127\.|\[::1\])/.test(url);
  if (isPlain && !isLocal)
    return [
      warning(
        "broker",
        `${url} takes the gateway, without TLS`,
        "use mqtts:// and ca-file: readings and passwords are readable on the way",
      ),
    ];
  return [ok("broker", `${url} takes the gateway`)];
}

function credentials(broker: NonNullable<GatewayConfiguration["broker"]>) {
  const read = (key: "ca" | "cert" | "key", path: string | null) =>
    path === null ? {} : { [key]: readFileSync(path) };
  const { passwordFile, caFile, certificateFile, keyFile } = broker;
  const password = passwordFile === null ? {} : { password: readFileSync(passwordFile, "utf8").trimEnd() };
  return { ...password, ...read("ca", caFile), ...read("cert", certificateFile), ...read("key", keyFile) };
}

const REASONS: readonly (readonly [RegExp, string])[] = [
  [
    /not authori[sz]ed|bad user ?name or password/i,
    "check broker.username and the password file, and what the broker lets it do",
  ],
  [/ENOTFOUND|EAI_AGAIN/, "the name is not known: check broker.url, and the name server (resolvectl status)"],
  [/ECONNREFUSED/, "nobody listens there: check broker.url's port, and that the broker runs"],
  [
    /certificate|self.signed|unable to verify|altname|SSL|TLS/i,
    "check broker.ca-file, the certificate's name and dates, and this clock",
  ],
  [/ENOENT|EACCES/, "a file that the configuration names cannot be read: see the findings about it"],
];

function explain(url: string, reason: string): Finding {
  const remedy =
    REASONS.find(([pattern]) => pattern.test(reason))?.[1] ?? "check broker.url, cable, Wi-Fi and firewall";
  return failure(
    "broker",
    `${url} does not take the gateway: ${reason}`,
    `${remedy}; readings are kept on disk meanwhile`,
  );
}
