/** docs/deploy.md as an operator follows it: the commands that need no Pi, in their order, to a signed update on a gateway. */
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Aedes } from "aedes";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { COMMANDS } from "../../tools/verbs/table.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const page = readFileSync(path.join(ROOT, "docs/deploy.md"), "utf8");
const blocks = [...page.matchAll(/^```(\S*) ?(.*)\n([^]*?)^```$/gm)].map(([, language, kind, text]) => ({
  language,
  kind,
  text: String(text),
}));

const OVERLAY =
  "mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w && mount -t overlay o -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w /etc";
const isAllowed = spawnSync("unshare", ["-m", "sh", "-c", OVERLAY]).status === 0;

const BULKHEAD = `exec '${process.execPath}' --disable-warning=ExperimentalWarning '${path.join(ROOT, "tools/cli.ts")}'`;

/** Stand in for what the page's commands are given on a Pi. The service's probation is shorter than in the field. */
const STAND_INS: Readonly<Record<string, string>> = {
  bulkhead: `${BULKHEAD} "$@"`,
  sudo: 'exec "$@"',
  ssh: 'shift; exec "$@"',
  systemctl: `desk=$(dirname "$0")/..
case "$1" in
  restart)
    : >"$desk/gateway.log"
    bulkhead run /etc/bulkhead/gateway.yaml --json --probation-ms 500 >"$desk/gateway.log" 2>&1 &
    echo $! >"$desk/service.pid"
    for _ in $(seq 600); do ! grep -q '"state":"running"' "$desk/gateway.log" || exit 0; sleep 0.1; done
    cat "$desk/gateway.log"; exit 1 ;;
  is-active) kill -0 "$(cat "$desk/service.pid")" && echo active ;;
esac`,
};

test("every verb and option that the page names is one of the command's", async () => {
  const text = blocks.map((block) => block.text.replaceAll("\\\n", " ")).join("\n");
  for (const [, verb = "", rest = ""] of text.matchAll(/\bbulkhead ([a-z]+)([^\n|;]*)/g)) {
    if (!COMMANDS.has(verb)) continue;
    const { help } = (await COMMANDS.get(verb)?.()) ?? { help: "" };
    for (const [option] of rest.matchAll(/--[a-z][a-z-]*/g))
      expect(help, `bulkhead ${verb} ${option}`).toContain(option);
  }
  expect(text.match(/\bbulkhead (setup|doctor|push|status|sign|keygen|root|audit)\b/g)?.length).toBeGreaterThan(8);
});

describe.skipIf(!isAllowed)("docs/deploy.md", () => {
  const desk = mkdtempSync(path.join(tmpdir(), "bulkhead-deploy-"));
  const readings: string[] = [];
  /** On standard output; on standard error the commands themselves come too. */
  let said = "";
  let output = "";
  let status: number | null = null;

  beforeAll(async () => {
    const aedes = await Aedes.createBroker();
    aedes.on("publish", ({ topic }) => void readings.push(topic));
    const server = createServer((socket) => void aedes.handle(socket));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    for (const folder of ["bin", "work"]) mkdirSync(path.join(desk, folder));
    for (const [name, script] of Object.entries(STAND_INS)) {
      writeFileSync(path.join(desk, "bin", name), `#!/bin/bash\n${script}\n`);
      chmodSync(path.join(desk, "bin", name), 0o755);
    }
    copyFileSync(path.join(ROOT, "tools/package/files/gateway.yaml"), path.join(desk, "pristine.yaml"));
    symlinkSync(path.join(ROOT, "build"), path.join(desk, "work/build"));
    for (const { kind, text } of blocks.filter(({ language }) => language === "yaml")) {
      writeFileSync(path.join(desk, "work", String(kind)), text);
    }
    // `doctor` says that a broker without TLS and other things should be looked at: 3 is as good as 0 here.
    const commands = blocks
      .filter(({ language, kind }) => language === "sh" && kind === "run")
      .map(({ text }) => `set -x\n${text.replace(/^sudo bulkhead doctor$/m, "sudo bulkhead doctor || [ $? = 3 ]")}`);
    const script = path.join(desk, "commands.sh");
    writeFileSync(script, commands.join("\n").replaceAll("mqtts://broker.example:8883", `mqtt://127.0.0.1:${port}`));
    const host = spawn("unshare", [
      "-m",
      "bash",
      path.join(import.meta.dirname, "fixtures/gateway-host.sh"),
      desk,
      script,
    ]);
    for (const stream of [host.stdout, host.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => (output += text));
    host.stdout.on("data", (text: string) => (said += text));
    status = await new Promise<number | null>((resolve) => host.on("close", resolve));
    await new Promise<void>((resolve) => aedes.close(() => server.close(() => resolve())));
  }, 600_000);

  afterAll(() => rmSync(desk, { recursive: true, force: true }));

  test("each command does what the page says, to the end", () => {
    expect(status, output).toBe(0);
    expect(said).toMatch(/^active$/m);
  });

  test("the first modules and the update are committed, and readings arrive", () => {
    expect(said.match(/committed/g)?.length, output).toBeGreaterThanOrEqual(2);
    expect(readings.filter((topic) => topic.startsWith("site/7/readings/")).length).toBeGreaterThan(0);
    expect(said, output).toMatch(/system-monitor\b.*\b2\b/);
  });

  test("the trust root is in force, signed by two of three keys, and is no development root", () => {
    expect(said).toMatch(/root version 1/);
    expect(said).not.toMatch(/development/);
  });
});
