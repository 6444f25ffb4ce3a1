/** The `http` interface: requests to the bound origin, what modules may not ask, and servers that misbehave. */
import { createServer } from "node:http";
import type { Server as HttpServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import type { Server, Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FRAME_CBOR } from "../../gateway/wire/frames.ts";
import type { HostBinding } from "../../gateway/wire/protocol.ts";
import { decodeCbor, encodeCbor, RESULT } from "../../kernel/index.ts";
import type { CborInput, CborMap } from "../../kernel/index.ts";
import { Link, listen } from "./fixtures.ts";

const seen: { method: string; url: string; headers: Record<string, unknown>; body: string }[] = [];
const sockets = new Set<Socket>();
let server: HttpServer;
let raw: Server;
let link: Link;
/** What the raw server says to whoever connects. */
let rawAnswer = "";

function bind(id: number, port: number): HostBinding {
  return {
    id,
    interface: "http",
    owner: `test.${id}`,
    rights: ["request"],
    parameters: { origin: `http://127.0.0.1:${port}` },
  };
}

beforeAll(async () => {
  server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => {
      body += chunk;
    });
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      seen.push({ method, url, headers, body });
      if (url === "/slow") return;
      if (url === "/large") return void response.end(Buffer.alloc(100_000));
      if (url === "/endless") return void setInterval(() => response.write(Buffer.alloc(10_000)), 1).unref();
      if (url === "/redirect") return void response.writeHead(302, { location: "http://127.0.0.1:1/elsewhere" }).end();
      response.writeHead(201, { "x-answer": "42", "set-cookie": ["a=1", "b=2"] }).end(`you said ${body}`);
    });
  });
  raw = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined).resume();
    socket.end(rawAnswer);
  });
  const [port, rawPort] = [await listen(server), await listen(raw)];
  link = new Link({ broker: null });
  const bad = { ...bind(3, 1), parameters: { origin: "file:///etc/passwd" } };
  await link.host.start([bind(1, port), bind(2, rawPort), bad]);
});

afterAll(async () => {
  await link.stop();
  server.closeAllConnections();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  await new Promise((resolve) => raw.close(resolve));
});

async function ask(request: CborInput, { binding = 1, capacity = 8192, timeoutMs = 5000 } = {}) {
  const { result, bytes } = await link.host.request({
    binding,
    operation: "request",
    numbers: [timeoutMs],
    bytes: [request instanceof Uint8Array ? request : encodeCbor(request)],
    capacity,
    timeoutMs: 10_000,
  });
  if (result < 0) return { result };
  const [status, headers, body] = decodeCbor(bytes, FRAME_CBOR) as [number, CborMap, Uint8Array];
  return { result, status, headers, body: Buffer.from(body).toString() };
}

const none = new Uint8Array();
const get = (path: string): CborInput => ["GET", path, {}, none];

describe("a request", () => {
  it("reaches the origin and brings back status, headers and body", async () => {
    const answer = await ask(["POST", "/a?b=c", { "content-type": "text/plain", "X-Mine": "1" }, Buffer.from("hello")]);
    expect(answer).toMatchObject({ status: 201, body: "you said hello" });
    expect(answer.headers?.get("x-answer")).toBe("42");
    expect(answer.headers?.get("set-cookie")).toBe("a=1,b=2");
    expect(seen.at(-1)).toMatchObject({ method: "POST", url: "/a?b=c", body: "hello", headers: { "x-mine": "1" } });
  });

  it("follows no redirect", async () => {
    expect(await ask(get("/redirect"))).toMatchObject({ status: 302 });
  });

  it("cannot leave its origin", async () => {
    const count = seen.length;
    const paths = [
      "http://127.0.0.1:1/",
      "//127.0.0.1:1/",
      "/\\127.0.0.1:1/",
      "@127.0.0.1/",
      "",
      "a",
      "/\t/x.example/",
    ];
    for (const path of paths) {
      const { result, status } = await ask(get(path));
      if (status === undefined) expect(result, path).toBe(RESULT.denied);
    }
    for (const { url } of seen.slice(count)) expect(url.startsWith("/")).toBe(true);
    expect((await ask(get("/"), { binding: 3 })).result).toBe(RESULT["not-found"]);
  });

  it("cannot frame messages itself, split headers, or use other methods", async () => {
    const headers = [
      { host: "x" },
      { "Content-Length": "5" },
      { "transfer-encoding": "chunked" },
      { a: "b\r\nc: d" },
      { "a b": "c" },
      { a: "\0" },
    ];
    for (const header of headers) expect((await ask(["GET", "/", header, none])).result).toBe(RESULT.invalid);
    for (const method of ["CONNECT", "TRACE", "get", "GET / HTTP/1.1\r\nx:"]) {
      expect((await ask([method, "/", {}, none])).result).toBe(RESULT.invalid);
    }
    for (const request of [
      1,
      [],
      ["GET", "/", {}],
      ["GET", "/", {}, "text"],
      Uint8Array.of(0x9f, 0xff),
      new Uint8Array(70_000),
    ]) {
      expect((await ask(request)).result).toBe(RESULT.invalid);
    }
  });

  it("ends in time, and with what fits", async () => {
    expect((await ask(get("/slow"), { timeoutMs: 50 })).result).toBe(RESULT.timeout);
    expect((await ask(get("/large"))).result).toBe(RESULT["too-large"]);
    expect((await ask(get("/endless"))).result).toBe(RESULT["too-large"]);
    expect((await ask(get("/x"), { capacity: 10 })).result).toBe(RESULT["too-large"]);
    expect((await ask(get("/x"), { timeoutMs: 0 })).result).toBe(RESULT.invalid);
  });
});

describe("a server that misbehaves", () => {
  it.each([
    ["says nothing", ""],
    ["speaks no HTTP", "220 mail.example\r\n"],
    ["sends headers without end", `HTTP/1.1 200 OK\r\nx: ${"a".repeat(40_000)}`],
    ["cuts its body off", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"],
    ["smuggles", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nzzz"],
  ])("and %s is answered with io", async (_, answer) => {
    rawAnswer = answer;
    expect((await ask(get("/"), { binding: 2 })).result).toBe(RESULT.io);
    expect(link.host.restarts).toBe(0);
  });
});
