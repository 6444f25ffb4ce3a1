/** A partition that cannot be ended takes the process with it, so that systemd can start a whole one. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const SCRIPT = fileURLToPath(new URL("unkillable-process.ts", import.meta.url));

test("a partition in a native call that nothing interrupts ends the process by SIGKILL, after it was said", async () => {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", SCRIPT], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  expect({ code, signal }).toEqual({ code: null, signal: "SIGKILL" });
  expect(said.split("\n").filter((line) => line.startsWith("partition-"))).toEqual(
    expect.arrayContaining(["partition-lost", "partition-unkillable"]),
  );
}, 60_000);
