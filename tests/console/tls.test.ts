/** The page over TLS: its cookie never leaves it, and what is no TLS gets no answer. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request as requestPlain } from "node:http";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startWeb, TOKEN } from "./support.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;

test.skipIf(!hasOpenssl)(
  "the cookie is Secure and bound to the host, and browsers are told to stay with TLS",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "bulkhead-tls-"));
    const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    spawnSync("openssl", ["req", "-x509", ...curve, "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", cert]);
    const web = await startWeb({ cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") });
    try {
      expect(web.url).toMatch(/^https:/);
      const headers = { origin: web.url.slice(0, -1), "x-bulkhead": "1", "content-type": "application/json" };
      const answer = await new Promise<{ status: number; headers: NodeJS.Dict<string | string[]> }>(
        (resolve, reject) => {
          const options = { method: "POST", headers, rejectUnauthorized: false };
          const sending = request(`${web.url}api/login`, options, (response) => {
            response.resume();
            resolve({ status: response.statusCode ?? 0, headers: response.headers });
          });
          sending.on("error", reject).end(JSON.stringify({ token: TOKEN }));
        },
      );
      expect(answer.status).toBe(204);
      expect(String(answer.headers["set-cookie"])).toMatch(
        /^__Host-bulkhead=[A-Za-z0-9_-]{32}; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Strict; Secure$/,
      );
      expect(answer.headers["strict-transport-security"]).toMatch(/^max-age=/);
      const plain = await new Promise<string>((resolve) => {
        const sending = requestPlain({ port: web.port, host: "127.0.0.1" }, () => {
          resolve("an answer");
        });
        sending.on("error", () => {
          resolve("none");
        });
        sending.end();
      });
      expect(plain).toBe("none");
    } finally {
      await web.stop();
      rmSync(folder, { recursive: true });
    }
  },
);
