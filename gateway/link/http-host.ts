/** The interface host of `http`: requests to the one origin of a binding, bounded in size and time, redirects not followed. */
import { request as requestHttp } from "node:http";
import type { IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import {
  decodeCbor,
  encodeCbor,
  expectArray,
  expectBytes,
  expectMap,
  expectText,
  LIMITS,
  Refusal,
} from "../../kernel/index.ts";
import type { CborLimits } from "../../kernel/index.ts";
import { failed } from "../wire/host-process.ts";
import type { HostAnswer, HostRequest, InterfaceHost } from "../wire/host-process.ts";
import type { HostBinding } from "../wire/protocol.ts";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/** Those that frame the message or name the peer: this process writes them itself (RFC 9110 section 7.6.1, RFC 9112). */
const OWN_HEADERS = [
  "connection",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];
/** RFC 9110 section 5.6.2 and 5.5: a token; visible characters, spaces and tabs. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/;
const HEADER_VALUE = /^[\t\x20-\x7e\u0080-\u00ff]{0,4096}$/;
const HEADERS = 32;
const PATH_CHARACTERS = 4096;
const RESPONSE_HEADER_BYTES = 16 * 1024;
const MAXIMUM_MS = 60_000;

const REQUEST_CBOR: CborLimits = {
  maxBytes: LIMITS.payloadBytes,
  maxDepth: 2,
  maxItems: 8 + 2 * HEADERS,
  tags: [],
  deterministic: false,
};

/** A request as a module asked for it, checked. */
interface OutgoingRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export class HttpHost implements InterfaceHost {
  bind({ parameters }: HostBinding): void {
    const { origin } = parameters;
    const url = typeof origin === "string" && URL.canParse(origin) ? new URL(origin) : undefined;
    if (url?.origin === origin && /^https?:$/.test(url?.protocol ?? "")) return;
    throw new Refusal("E_CONFIG", "not an http or https origin", { found: String(origin) });
  }

  unbind(): void {
    // Connections are not kept between requests.
  }

  async request({ binding, numbers, bytes, capacity, signal }: HostRequest): Promise<HostAnswer> {
    const [timeoutMs = 0] = numbers;
    if (timeoutMs < 1) return failed("invalid");
    const request = parseRequest(bytes[0] ?? new Uint8Array(), String(binding.parameters["origin"]));
    const limit = AbortSignal.timeout(Math.min(timeoutMs, MAXIMUM_MS));
    try {
      const response = await send(request, AbortSignal.any([signal, limit]));
      const answer = await collect(response, capacity);
      return answer === undefined ? failed("too-large") : { result: answer.length, bytes: answer };
    } catch {
      return failed(signal.aborted ? "cancelled" : limit.aborted ? "timeout" : "io");
    }
  }
}

/** `[method, path, {header: value}, body]`. @throws Refusal */
function parseRequest(bytes: Uint8Array, origin: string): OutgoingRequest {
  const [method, path, headers, body] = expectArray(decodeCbor(bytes, REQUEST_CBOR), "request", 4);
  const url = new URL(origin);
  const target = expectText(path, "path", PATH_CHARACTERS);
  const resolved = URL.canParse(target, origin) ? new URL(target, origin) : url;
  const isWithin = target.startsWith("/") && !target.startsWith("//") && resolved.origin === origin;
  if (!isWithin) throw new Refusal("E_CAP", "the path leads out of the origin", { found: JSON.stringify(target) });
  return {
    method: parseMethod(expectText(method, "method")),
    url: resolved,
    headers: parseHeaders(headers),
    body: expectBytes(body, "body"),
  };
}

function parseMethod(method: string): string {
  if (METHODS.includes(method)) return method;
  throw new Refusal("E_CBOR", "not a method that modules may use", {
    expected: METHODS.join(", "),
    found: JSON.stringify(method),
  });
}

function parseHeaders(value: Parameters<typeof expectMap>[0]): Readonly<Record<string, string>> {
  const entries = Array.from(expectMap(value, "headers"), ([key, text]) => {
    const name = expectText(key, "header name").toLowerCase();
    const content = expectText(text, "header value");
    if (!HEADER_NAME.test(name) || !HEADER_VALUE.test(content)) throw new Refusal("E_CBOR", "a header is malformed");
    if (OWN_HEADERS.includes(name)) throw new Refusal("E_CBOR", `the header ${name} is not for modules to set`);
    return [name, content] as const;
  });
  if (entries.length > HEADERS) throw new Refusal("E_SIZE", `a request has at most ${HEADERS} headers`);
  return Object.fromEntries(entries);
}

function send({ method, url, headers, body }: OutgoingRequest, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = url.protocol === "https:" ? requestHttps : requestHttp;
    const outgoing = request(url, {
      method,
      headers: { ...headers, ...(body.length > 0 ? { "content-length": String(body.length) } : {}) },
      agent: false,
      signal,
      maxHeaderSize: RESPONSE_HEADER_BYTES,
    });
    outgoing.on("response", resolve).on("error", reject);
    outgoing.end(body);
  });
}

/** `[status, {header: value}, body]` as CBOR; undefined where it does not fit, and then the rest is not waited for. */
async function collect(response: IncomingMessage, capacity: number): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > capacity) {
      response.destroy();
      return undefined;
    }
    chunks.push(chunk);
  }
  const headers = Object.entries(response.headers).map(
    ([name, value]) => [name, String(value ?? "").toWellFormed()] as const,
  );
  const answer = encodeCbor([response.statusCode ?? 0, new Map(headers), Buffer.concat(chunks)]);
  return answer.length > capacity ? undefined : answer;
}
