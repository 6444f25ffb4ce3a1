/** The gateway's own key: made once, readable by nobody else, replaced where the disk has damaged it. */

import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { nodeFileSystem } from "../../gateway/trust/file-system.ts";
import { openGatewayKey, PRIVATE_KEY_FILE, PUBLIC_KEY_FILE } from "../../gateway/trust/gateway-key.ts";
import { decodeReport, encodeReport, openReport, REPORT_CONTENT_TYPES } from "../../gateway/wire/update-report.ts";
import { isSoundPublicKey } from "../../gateway/envelopes/index.ts";
import { readGatewayKey } from "../../tools/push/options.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-key-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const report = {
  gateway: "gw-7",
  counter: 3,
  rootVersion: 2,
  plan: { digest: "ab".repeat(32), version: 9 },
  configuration: "cd".repeat(32),
  modules: new Map([["threshold", { sequence: 4, envelope: "ef".repeat(32), version: "1.2.3" }]]),
  last: { code: "E_CAP", reason: "slot north is not granted", plan: "ab".repeat(32) },
} as const;

describe("the gateway's key", () => {
  it("is made at the first start with mode 0600, and is the same at the next", () => {
    const first = openGatewayKey(nodeFileSystem, folder);
    expect(statSync(join(folder, PRIVATE_KEY_FILE)).mode & 0o777).toBe(0o600);
    expect(isSoundPublicKey(first.publicKey)).toBe(true);
    expect(openGatewayKey(nodeFileSystem, folder).publicKey).toEqual(first.publicKey);
  });

  it("has a public half that tools read", async () => {
    const { publicKey } = openGatewayKey(nodeFileSystem, folder);
    expect(await readGatewayKey(join(folder, PUBLIC_KEY_FILE))).toEqual(publicKey);
    await expect(readGatewayKey(join(folder, PRIVATE_KEY_FILE))).resolves.toEqual(publicKey);
    writeFileSync(join(folder, "other.pub"), "not a key");
    await expect(readGatewayKey(join(folder, "other.pub"))).rejects.toMatchObject({ code: "E_KEY" });
  });

  it("is made anew where its file is damaged, so that the gateway runs", () => {
    const first = openGatewayKey(nodeFileSystem, folder);
    writeFileSync(join(folder, PRIVATE_KEY_FILE), "-----BEGIN PRIVATE KEY-----\n");
    expect(openGatewayKey(nodeFileSystem, folder).publicKey).not.toEqual(first.publicKey);
  });

  it("signs reports that come back as they were, and that no other bytes pass for", () => {
    const key = openGatewayKey(nodeFileSystem, folder);
    const signed = key.sign(REPORT_CONTENT_TYPES.reported, encodeReport(report));
    expect(decodeReport(openReport(signed, "reported", key.publicKey))).toEqual(report);
    expect(() => openReport(signed, "event", key.publicKey)).toThrow("not a report of kind event");
    for (let at = 0; at < signed.length; at++) {
      const forged = signed.slice();
      forged[at] = (forged[at] ?? 0) ^ 0x04;
      expect(() => openReport(forged, "reported", key.publicKey), `byte ${at}`).toThrow();
    }
  });
});
