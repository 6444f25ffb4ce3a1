/** The page's server against clients that mean ill: each is refused, cut off or counted, and others are served meanwhile. */
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { WEB_LIMITS } from "../../gateway/link/web/limits.ts";
import { Sessions } from "../../gateway/link/web/session.ts";
import type { TestWeb } from "./support.ts";
import { startWeb, TOKEN, TOKEN_DIGEST } from "./support.ts";

let web: TestWeb;
const sockets: Socket[] = [];
beforeEach(async () => {
  web = await startWeb();
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await web.stop();
});

/** Sends this, and gives what came back when the server has hung up. */
function raw(text: string | Uint8Array): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(web.port, "127.0.0.1", () => socket.write(text));
    sockets.push(socket);
    socket.setEncoding("latin1").on("data", (chunk: string) => (answer += chunk));
    socket
      .on("error", () => undefined)
      .on("close", () => {
        resolve(answer);
      });
  });
}

interface Sent {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/** A path goes out as it is written, and headers as they are given. */
function send(method: string, path: string, headers: Record<string, string> = {}, body = ""): Promise<Sent> {
  return new Promise((resolve, reject) => {
    const options = { port: web.port, host: "127.0.0.1", method, path, headers: { connection: "close", ...headers } };
    const sending = request(options, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text });
      });
    });
    sending.on("error", reject).end(body);
  });
}

const own = (): Record<string, string> => ({
  origin: `http://127.0.0.1:${web.port}`,
  "x-bulkhead": "1",
  "content-type": "application/json",
});

async function logIn(): Promise<string> {
  const { status, headers } = await send("POST", "/api/login", own(), JSON.stringify({ token: TOKEN }));
  expect(status).toBe(204);
  return headers["set-cookie"]?.[0]?.split(";")[0] ?? "";
}

describe("a path", () => {
  test.each([
    "/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2fpackage.json",
    "/console.js/../../main.ts",
    "/./console.js",
    "//console.js",
    "/console.js%00.html",
    "/\\..\\settings.ts",
    "/console/console.js",
    "/uplot/dist/uPlot.cjs.js",
    "/constructor",
    "/__proto__",
  ])("%s leads to no file", async (path) => {
    const { status, body } = await send("GET", path);
    expect([400, 404]).toContain(status);
    expect(body).not.toMatch(/root:|import |"name"/);
  });
});

describe("a request that is malformed or too large is cut off, and costs the core no question", () => {
  test.each<[string, string | Uint8Array]>([
    ["noise", Uint8Array.of(0x16, 0x03, 0x01, 0x00, 0xff, 0x00, 0x0d, 0x0a, 0x0d, 0x0a)],
    ["a header of 20 KB", `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(20_000)}\r\n\r\n`],
    ["a path of 20 KB", `GET /${"x".repeat(20_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`],
    [
      "two lengths",
      "POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    ],
    [
      "a length and chunks",
      "POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ["a folded header", "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b: c\r\n\r\n"],
    ["an upgrade", "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"],
    ["a tunnel", "CONNECT 10.0.0.1:22 HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    ["an absolute address", "GET http://10.0.0.1/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"],
    ["no host", "GET / HTTP/1.0\r\n\r\n"],
  ])("%s", async (_, text) => {
    const answer = await raw(text);
    expect(answer).toMatch(/^$|^HTTP\/1\.1 4\d\d /);
    expect(web.core.asked).toBe(0);
    expect((await send("GET", "/healthz")).status).toBe(200);
  });

  test("a body that never ends", async () => {
    const { status } = await send("POST", "/api/login", own(), `{"token":"${"x".repeat(100_000)}"}`).catch(() => ({
      status: 413,
    }));
    expect(status).toBe(413);
  });

  test.each(["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])("the method %s", async (method) => {
    expect((await send(method, "/")).status).toBe(405);
  });
});

describe("another site", () => {
  const path = "/api/modules/bme280/restart";

  test.each<[string, (headers: Record<string, string>) => Record<string, string>]>([
    ["another origin", (headers) => ({ ...headers, origin: "http://evil.example" })],
    ["an origin of another port", (headers) => ({ ...headers, origin: "http://127.0.0.1:1" })],
    ["the origin null", (headers) => ({ ...headers, origin: "null" })],
    ["no origin", ({ origin: _, ...headers }) => headers],
    ["no header of the page's own", ({ "x-bulkhead": _, ...headers }) => headers],
    ["a browser that says cross-site", (headers) => ({ ...headers, "sec-fetch-site": "cross-site" })],
  ])("can change nothing with the operator's cookie and %s", async (_, change) => {
    const cookie = await logIn();
    expect((await send("POST", path, change({ ...own(), cookie }), "{}")).status).toBe(403);
    expect(web.core.acts).toEqual([]);
    expect((await send("POST", path, { ...own(), cookie }, "{}")).status).toBe(204);
    expect(web.core.acts).toHaveLength(1);
  });

  test.each(["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1"])(
    "whose name leads here (%s) reads nothing",
    async (host) => {
      const { status } = await send("GET", "/api/session", { host });
      expect([400, 421]).toContain(status);
    },
  );

  test("may neither frame nor read the page, and the page runs no script but its own", async () => {
    const { headers } = await send("GET", "/");
    expect(headers["content-security-policy"]).toMatch(
      /default-src 'none'; script-src 'self';.*frame-ancestors 'none'/,
    );
    expect(headers["content-security-policy"]).not.toMatch(/unsafe|\*/);
    expect(headers["access-control-allow-origin"]).toBeUndefined();
    expect(headers).toMatchObject({ "x-content-type-options": "nosniff", "x-frame-options": "DENY" });
  });
});

describe("a stranger", () => {
  test.each(["/api/snapshot", "/api/audit", "/api/stream", "/metrics"])("reads nothing at %s", async (path) => {
    for (const cookie of ["", "bulkhead=", "bulkhead=0", `bulkhead=${TOKEN}`, "bulkhead=__proto__"]) {
      expect((await send("GET", path, { cookie })).status).toBe(401);
    }
    expect(web.core.asked).toBe(0);
  });

  test("does nothing, and nothing is done by GET", async () => {
    const path = "/api/modules/bme280/hold";
    expect((await send("POST", path, own(), "{}")).status).toBe(401);
    const cookie = await logIn();
    expect((await send("GET", path, { ...own(), cookie })).status).toBe(404);
    expect((await send("POST", "/api/modules/bme280/unload", { ...own(), cookie })).status).toBe(404);
    expect(web.core.acts).toEqual([]);
  });

  test("who guesses is made to wait, and the right token with him", async () => {
    const guess = (token: string): Promise<Sent> => send("POST", "/api/login", own(), JSON.stringify({ token }));
    const statuses: number[] = [];
    for (let index = 0; index < 7; index++) statuses.push((await guess(`guess-${index}`)).status);
    expect(statuses).toEqual([401, 401, 401, 401, 401, 429, 429]);
    const right = await guess(TOKEN);
    expect([right.status, right.headers["retry-after"]]).toEqual([429, expect.stringMatching(/^[1-5]$/)]);
    expect((await send("GET", "/metrics", { authorization: `Bearer ${TOKEN}` })).status).toBe(401);
  });

  test.each(["", "{", "[]", '{"token":7}', '{"token":{"length":1}}', '"token"'])(
    "whose login is %s is refused",
    async (body) => {
      expect((await send("POST", "/api/login", own(), body)).status).toBe(400);
    },
  );
});

describe("sessions", () => {
  test("end by time, are bounded in number, and addresses are counted apart", () => {
    let now = 0;
    const sessions = new Sessions(TOKEN_DIGEST, () => now);
    const open = (address: string): string => {
      const login = sessions.login(TOKEN, address);
      return login !== undefined && "session" in login ? login.session : "";
    };
    const first = open("a");
    expect(first).toMatch(/^[A-Za-z0-9_-]{32}$/);
    now += 1;
    const others = Array.from({ length: WEB_LIMITS.sessions }, () => {
      now += 1;
      return open("a");
    });
    expect([sessions.isOpen(first), others.every((session) => sessions.isOpen(session))]).toEqual([false, true]);
    now += WEB_LIMITS.sessionMs + 1;
    expect(others.some((session) => sessions.isOpen(session))).toBe(false);
    for (let index = 0; index < 5; index++) expect(sessions.login("x", "a")).toBeUndefined();
    expect([open("a"), open("b").length]).toEqual(["", 32]);
    for (let index = 0; index < 1000; index++) sessions.login("x", `address-${index}`);
    now += WEB_LIMITS.guessMs;
    expect(open("a").length).toBe(32);
  });
});

test("a live view ends with the session that it was opened by", async () => {
  const cookie = await logIn();
  const ended = raw(`GET /api/stream HTTP/1.1\r\nHost: localhost\r\nCookie: ${cookie}\r\n\r\n`);
  await vi.waitFor(() => {
    expect(web.core.asked).toBeGreaterThan(0);
  });
  expect((await send("POST", "/api/logout", { ...own(), cookie }, "{}")).status).toBe(204);
  expect(await ended).toMatch(/^HTTP\/1\.1 200 .*event: snapshot/s);
}, 30_000);

describe("who is slow or many", () => {
  test("and takes none of the answers that he asks for loses his connections to others", async () => {
    const asks = "GET /uplot.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(400);
    const closed = Array.from({ length: WEB_LIMITS.connections }, () => {
      const socket = connect(web.port, "127.0.0.1", () => socket.write(asks)).on("error", () => undefined);
      sockets.push(socket);
      return new Promise((resolve) => socket.once("connect", resolve).once("close", resolve));
    });
    await Promise.all(closed);
    await vi.waitFor(
      async () => {
        expect((await send("GET", "/healthz")).status).toBe(200);
      },
      { timeout: 60_000, interval: 500 },
    );
  }, 90_000);

  test("is cut off within the limits while others are served", async () => {
    const began = performance.now();
    const slow = [
      "GET / HTTP/1.1\r\nHost: localhost\r\n",
      "POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    ];
    const ends = await Promise.all(slow.map((text) => raw(text)));
    expect(ends.every((answer) => answer === "" || answer.startsWith("HTTP/1.1 4"))).toBe(true);
    expect(performance.now() - began).toBeLessThan(60_000);
    expect((await send("GET", "/healthz")).status).toBe(200);
  }, 90_000);

  test("gets no more than so many live views; the core is asked once for all of them", async () => {
    const cookie = await logIn();
    const open = (): Promise<number> =>
      new Promise((resolve) => {
        const options = { port: web.port, host: "127.0.0.1", path: "/api/stream", headers: { cookie } };
        const opening = request(options, (response) => {
          sockets.push(response.socket);
          response.resume();
          resolve(response.statusCode ?? 0);
        });
        opening.on("error", () => {
          resolve(0);
        });
        opening.end();
      });
    const statuses = await Promise.all(Array.from({ length: WEB_LIMITS.streams + 20 }, open));
    expect(statuses.filter((status) => status === 200)).toHaveLength(WEB_LIMITS.streams);
    expect(statuses.filter((status) => status === 503)).toHaveLength(20);
    const before = web.core.asked;
    await new Promise((resolve) => setTimeout(resolve, 2500));
    // A look, the chain, and each one's history, a second.
    expect(web.core.asked - before).toBeLessThanOrEqual(4 * (2 + WEB_LIMITS.streams));
    for (const socket of sockets.splice(0)) socket.destroy();
    await vi.waitFor(async () => {
      const asked = web.core.asked;
      await new Promise((resolve) => setTimeout(resolve, 1500));
      expect(web.core.asked).toBe(asked);
    }, 10_000);
  }, 60_000);

  test("a thousand connections are held to their number, and whoever comes after them is served", async () => {
    const many = Array.from({ length: 1000 }, () => {
      const socket = connect(web.port, "127.0.0.1").on("error", () => undefined);
      sockets.push(socket);
      return new Promise((resolve) => socket.once("connect", resolve).once("close", resolve));
    });
    await Promise.all(many);
    for (const socket of sockets.splice(0)) socket.destroy();
    await vi.waitFor(async () => {
      expect((await send("GET", "/healthz")).status).toBe(200);
    }, 20_000);
  }, 60_000);
});
