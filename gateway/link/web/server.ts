/** The page's server: what a browser, Prometheus and a service manager may ask of a gateway, and what a stranger may not. */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { LIMITS, Refusal } from "../../../kernel/index.ts";
import type { HostPort } from "../../wire/host-process.ts";
import { ACTIONS } from "../../wire/operator.ts";
import type { ConsoleSettings } from "../settings.ts";
import { Feed } from "./feed.ts";
import type { PageFile } from "./files.ts";
import { pageFiles } from "./files.ts";
import { WEB_LIMITS } from "./limits.ts";
import type { LinkNumbers } from "./metrics.ts";
import { METRICS_TYPE, metricsText } from "./metrics.ts";
import { Sessions } from "./session.ts";
import { Streams } from "./streams.ts";

/** Headers of every answer. Scripts and styles come from here only, nothing is framed, nothing is told to other sites. */
const HEADERS = Object.freeze({
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=(), usb=()",
  "cache-control": "no-store",
});
/** A page of another site cannot send it without asking first, and is never allowed to. */
const OWN_HEADER = "x-bulkhead";
const LOOPBACK_NAMES: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);
const AUDIT_ENTRIES = 200;
const AUDIT_CHARACTERS = 64;
const MODULE_ACTION = new RegExp(`^/api/modules/([A-Za-z0-9._-]{1,${LIMITS.nameLength}})/(${ACTIONS.join("|")})$`);

type Answer = (request: IncomingMessage, response: ServerResponse, url: URL) => unknown;

export class Web {
  readonly #settings: ConsoleSettings;
  readonly #port: Pick<HostPort, "ask" | "log">;
  readonly #numbers: () => Pick<LinkNumbers, "outboxMessages" | "outboxBytes" | "outboxDropped">;
  readonly #feed: Feed;
  readonly #streams: Streams;
  readonly #sessions: Sessions;
  readonly #files: ReadonlyMap<string, PageFile>;
  readonly #server: Server;
  readonly #isSecure: boolean;
  readonly #gets: ReadonlyMap<string, Answer>;
  readonly #posts: ReadonlyMap<string, Answer>;

  constructor(
    settings: ConsoleSettings,
    port: Pick<HostPort, "ask" | "log">,
    numbers: () => Pick<LinkNumbers, "outboxMessages" | "outboxBytes" | "outboxDropped">,
  ) {
    this.#settings = settings;
    this.#port = port;
    this.#numbers = numbers;
    this.#feed = new Feed(port);
    this.#streams = new Streams(this.#feed);
    this.#sessions = new Sessions(settings.tokenDigest);
    this.#files = pageFiles((file) => {
      port.log(1, `the console does without ${file}: it is not installed`);
    });
    this.#gets = new Map<string, Answer>([
      ["/healthz", this.#healthz],
      ["/readyz", this.#readyz],
      ["/metrics", this.#metrics],
      ["/api/session", this.#session],
      ["/api/snapshot", this.#snapshot],
      ["/api/audit", this.#audit],
      ["/api/stream", this.#stream],
    ]);
    this.#posts = new Map<string, Answer>([
      ["/api/login", this.#login],
      ["/api/logout", this.#logout],
    ]);
    const { cert, key } = settings.tls;
    this.#isSecure = cert !== undefined && key !== undefined;
    const options = {
      maxHeaderSize: WEB_LIMITS.headerBytes,
      headersTimeout: WEB_LIMITS.headersMs,
      requestTimeout: WEB_LIMITS.requestMs,
      keepAliveTimeout: WEB_LIMITS.keepAliveMs,
      connectionsCheckingInterval: 1000,
    };
    const secure = { ...settings.tls, minVersion: "TLSv1.2", handshakeTimeout: WEB_LIMITS.handshakeMs } as const;
    const answer = (request: IncomingMessage, response: ServerResponse): void => void this.#answer(request, response);
    this.#server = this.#isSecure
      ? createSecureServer({ ...options, ...secure }, answer)
      : createServer(options, answer);
    this.#server.timeout = WEB_LIMITS.stalledMs;
    this.#server.maxConnections = WEB_LIMITS.connections;
    this.#server.maxHeadersCount = WEB_LIMITS.headers;
    this.#server.on("clientError", (_, socket) => {
      // Whoever does not speak HTTP gets no answer that he could use.
      socket.destroy();
    });
    for (const kind of ["upgrade", "connect"] as const) this.#server.on(kind, (_, socket) => socket.destroy());
  }

  /** @throws Refusal E_CONFIG where the address cannot be had */
  async listen(): Promise<void> {
    const { address, port } = this.#settings;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("listening", resolve).once("error", (error) => {
        const hint = "another program has the port, or this host has no such address: change console: in gateway.yaml";
        reject(new Refusal("E_CONFIG", `the console cannot be at ${address}:${port}`, { found: error.message, hint }));
      });
      this.#server.listen(port, address);
    });
    this.#server.on("error", () => undefined);
    this.#port.log(2, `console at ${this.#origin()}`);
  }

  async stop(): Promise<void> {
    this.#streams.stop();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  #origin(): string {
    // SAFETY: it listens on an address, not on a path.
    const { address, port, family } = this.#server.address() as AddressInfo;
    const host = family === "IPv6" ? `[${address}]` : address;
    return `${this.#isSecure ? "https" : "http"}://${host}:${port}/`;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    if (this.#isSecure) response.setHeader("strict-transport-security", "max-age=31536000");
    response.on("error", () => undefined);
    request.on("error", () => undefined);
    try {
      await this.#route(request, response);
    } catch (error) {
      if (!(error instanceof Refusal)) this.#port.log(0, `the console failed: ${String(error)}`);
      if (response.headersSent) response.destroy();
      else refuse(response, statusOf(error), error instanceof Refusal ? error.describe() : "the console failed");
    }
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
    const { method = "", url: target = "" } = request;
    if (!this.#isOwnName(request.headers.host)) return refuse(response, 421, "this is another host's name");
    if (!target.startsWith("/") || target.length > 1024 || !URL.canParse(`http://host${target}`)) {
      return refuse(response, 400, "that is no path");
    }
    const url = new URL(`http://host${target}`);
    if (method === "POST") return await this.#post(request, response, url);
    if (method !== "GET" && method !== "HEAD") return refuse(response, 405, "GET, HEAD and POST only");
    // The path as it was sent: what a parser would make of its dots is nobody's file.
    const path = target.split("?", 1)[0] ?? "";
    const file = this.#files.get(path);
    if (file !== undefined) return send(response, 200, file.type, file.content);
    const get = this.#gets.get(path);
    if (get === undefined) return refuse(response, 404, "there is nothing here");
    return await get(request, response, url);
  }

  /** State changes by POST only, from this page only. */
  async #post(request: IncomingMessage, response: ServerResponse, url: URL): Promise<unknown> {
    const { origin, host = "", "sec-fetch-site": site = "same-origin" } = request.headers;
    const own = `${this.#isSecure ? "https" : "http"}://${host}`;
    if (origin !== own || site !== "same-origin" || request.headers[OWN_HEADER] !== "1") {
      return refuse(response, 403, "requests that change something come from the page itself");
    }
    const post = this.#posts.get(url.pathname);
    if (post !== undefined) return await post(request, response, url);
    const [, module, name] = MODULE_ACTION.exec(url.pathname) ?? [];
    const action = ACTIONS.find((candidate) => candidate === name);
    if (module === undefined || action === undefined) return refuse(response, 404, "there is nothing here");
    if (!this.#isLoggedIn(request)) return refuse(response, 401, "log in first");
    const by = addressOf(request);
    await this.#port.ask({ kind: "act", action, module, by });
    return response.writeHead(204).end();
  }

  /** A name that is not ours was pointed here by somebody else's name server: such a page must not read us. */
  #isOwnName(host: string | undefined): boolean {
    if (host === undefined) return false;
    if (this.#isSecure) return true;
    return LOOPBACK_NAMES.has(host.replace(/:\d{1,5}$/, "").toLowerCase());
  }

  #cookieName(): string {
    return this.#isSecure ? "__Host-bulkhead" : "bulkhead";
  }

  #sessionOf({ headers: { cookie = "" } }: IncomingMessage): string | undefined {
    const name = `${this.#cookieName()}=`;
    const found = cookie.split(/; */).find((pair) => pair.startsWith(name));
    return found?.slice(name.length);
  }

  #isLoggedIn(request: IncomingMessage): boolean {
    const session = this.#sessionOf(request);
    return session !== undefined && this.#sessions.isOpen(session);
  }

  /** A program shows the token itself. */
  #mayRead(request: IncomingMessage): boolean {
    if (this.#isLoggedIn(request)) return true;
    const [, token] = /^Bearer ([\x21-\x7e]{1,256})$/.exec(request.headers.authorization ?? "") ?? [];
    return token !== undefined && this.#sessions.admits(token, addressOf(request));
  }

  readonly #login: Answer = async (request, response) => {
    const token = tokenOf(await readBody(request));
    if (token === undefined) return refuse(response, 400, 'send { "token": "…" }');
    const address = addressOf(request);
    const login = this.#sessions.login(token, address);
    if (login === undefined) {
      this.#port.log(1, `the console was shown a wrong token from ${address}`);
      return refuse(response, 401, "that is not the token");
    }
    if ("retryAfterSeconds" in login) {
      response.setHeader("retry-after", String(login.retryAfterSeconds));
      return refuse(response, 429, `too many wrong tokens: wait ${login.retryAfterSeconds} s`);
    }
    this.#setCookie(response, login.session, Math.floor(WEB_LIMITS.sessionMs / 1000));
    return response.writeHead(204).end();
  };

  readonly #logout: Answer = (request, response) => {
    const session = this.#sessionOf(request);
    if (session !== undefined) this.#sessions.close(session);
    this.#setCookie(response, "", 0);
    return response.writeHead(204).end();
  };

  #setCookie(response: ServerResponse, value: string, seconds: number): void {
    const secure = this.#isSecure ? "; Secure" : "";
    const cookie = `${this.#cookieName()}=${value}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Strict${secure}`;
    response.setHeader("set-cookie", cookie);
  }

  readonly #session: Answer = (request, response) => {
    return json(response, { isLoggedIn: this.#isLoggedIn(request) });
  };

  readonly #snapshot: Answer = async (request, response) => {
    if (!this.#mayRead(request)) return unauthorized(response);
    return json(response, await this.#feed.snapshot());
  };

  readonly #audit: Answer = async (request, response, url) => {
    if (!this.#mayRead(request)) return unauthorized(response);
    const about = (url.searchParams.get("about") ?? "").slice(0, AUDIT_CHARACTERS).toWellFormed();
    return json(response, await this.#feed.audit(AUDIT_ENTRIES, about));
  };

  readonly #stream: Answer = (request, response) => {
    if (!this.#isLoggedIn(request)) return unauthorized(response);
    if (this.#streams.isFull) {
      response.setHeader("retry-after", "10");
      return refuse(response, 503, "enough people look on; try again later");
    }
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no" });
    response.write("retry: 2000\n\n");
    this.#streams.add(response, () => this.#isLoggedIn(request));
    return response;
  };

  readonly #metrics: Answer = async (request, response) => {
    if (!this.#mayRead(request)) return unauthorized(response);
    const [snapshot, health] = [await this.#feed.snapshot(), await this.#feed.health()];
    const { chain } = await this.#feed.audit(1, "");
    const link = { ...this.#numbers(), streams: this.#streams.count, loginFailures: this.#sessions.failures };
    return send(response, 200, METRICS_TYPE, metricsText({ snapshot, health, chain, link }));
  };

  readonly #healthz: Answer = async (request, response) => {
    const { live, reasons } = await this.#feed.health();
    this.#tellHealth(request, response, live, reasons);
  };

  readonly #readyz: Answer = async (request, response) => {
    const { ready, reasons } = await this.#feed.health();
    this.#tellHealth(request, response, ready, reasons);
  };

  /** Whoever shows nothing is told yes or no; the reasons name modules. */
  #tellHealth(request: IncomingMessage, response: ServerResponse, isWell: boolean, reasons: readonly string[]): void {
    const told = isWell || !this.#mayRead(request) ? [] : reasons;
    const type = "text/plain; charset=utf-8";
    send(response, isWell ? 200 : 503, type, `${[isWell ? "ok" : "not ok", ...told].join("\n")}\n`);
  }
}

function addressOf({ socket }: IncomingMessage): string {
  return (socket.remoteAddress ?? "gone").slice(0, 64);
}

function tokenOf(body: string): string | undefined {
  try {
    const value: unknown = JSON.parse(body);
    const token = typeof value === "object" && value !== null && "token" in value ? value.token : undefined;
    return typeof token === "string" ? token : undefined;
  } catch {
    return undefined;
  }
}

/** @throws Refusal E_SIZE */
async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > WEB_LIMITS.bodyBytes) throw new Refusal("E_SIZE", "the body is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function statusOf(error: unknown): number {
  if (!(error instanceof Refusal)) return 500;
  const statuses: Readonly<Record<string, number>> = { E_UNKNOWN: 404, E_BUSY: 409, E_SIZE: 413, E_TIMEOUT: 504 };
  return statuses[error.code] ?? 400;
}

function unauthorized(response: ServerResponse): ServerResponse {
  response.setHeader("www-authenticate", "Bearer");
  return refuse(response, 401, "log in first");
}

function refuse(response: ServerResponse, status: number, text: string): ServerResponse {
  // What is left of the request is not read.
  response.setHeader("connection", "close");
  return send(response, status, "text/plain; charset=utf-8", `${text}\n`);
}

function json(response: ServerResponse, value: unknown): ServerResponse {
  return send(response, 200, "application/json; charset=utf-8", JSON.stringify(value));
}

function send(response: ServerResponse, status: number, type: string, content: string | Uint8Array): ServerResponse {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  response.writeHead(status, { "content-type": type, "content-length": bytes.length });
  return response.end(response.req.method === "HEAD" ? undefined : bytes);
}
