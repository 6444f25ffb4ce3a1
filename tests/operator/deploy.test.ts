/** docs/deploy.md as an operator follows it: the commands that need no Pi, in their order, to a signed update on a gateway. */
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
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

/** Each has a folder of its own: what one does not carry to another is not there. */
const MACHINES = ["laptop", "offline", "gateway"];

const OVERLAY =
  "mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w && mount -t overlay o -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w /etc";
const isAllowed = spawnSync("unshare", ["-m", "sh", "-c", OVERLAY]).status === 0;

const BULKHEAD = `exec '${process.execPath}' --disable-warning=ExperimentalWarning '${path.join(ROOT, "tools/cli.ts")}'`;

/**
 * Stand in for what the page's commands are given. The service's probation is shorter than in the field. The laptop has the
 * page's alias in place of the package's command.
 */
const STAND_INS: Readonly<Record<string, string>> = {
  "package/bulkhead": `${BULKHEAD} "$@"`,
  "bin/sudo": '[ "$1" != -u ] || shift 2; exec "$@"',
  "bin/ssh": 'cd "$(dirname "$0")/../gateway" && shift && PATH=../package:$PATH exec "$@"',
  "bin/scp": 'cp "$1" "$(dirname "$0")/../gateway/"',
  "bin/systemctl": `desk=$(dirname "$0")/..
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
  const machine = (name: string) => path.join(desk, name);
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
    for (const folder of ["bin", "package", "stick", ...MACHINES]) mkdirSync(path.join(desk, folder));
    for (const [name, script] of Object.entries(STAND_INS)) {
      writeFileSync(path.join(desk, name), `#!/bin/bash\n${script}\n`);
      chmodSync(path.join(desk, name), 0o755);
    }
    copyFileSync(path.join(ROOT, "tools/package/files/gateway.yaml"), path.join(desk, "pristine.yaml"));
    for (const folder of ["build", "tools"]) symlinkSync(path.join(ROOT, folder), path.join(machine("laptop"), folder));
    for (const { kind, text } of blocks.filter(({ language }) => language === "yaml")) {
      writeFileSync(path.join(machine("laptop"), String(kind)), text);
    }
    // `doctor` says that a broker without TLS and other things should be looked at: 3 is as good as 0 here.
    const commands = blocks
      .filter(({ language, kind }) => language === "sh" && kind?.startsWith("run "))
      .map(({ kind = "", text }) => {
        const name = kind.replace("run ", "");
        expect(MACHINES).toContain(name);
        const own = name === "laptop" ? "shopt -s expand_aliases" : "shopt -u expand_aliases; PATH=$desk/package:$PATH";
        const lines = text.replace(/^sudo bulkhead doctor$/m, "sudo bulkhead doctor || [ $? = 3 ]");
        return `cd "$desk/${name}"; PATH=$desk/bin:$system; ${own}\nset -x\n${lines}set +x\n`;
      });
    const script = path.join(desk, "commands.sh");
    const text = commands
      .join("\n")
      .replaceAll("mqtts://broker.example:8883", `mqtt://127.0.0.1:${port}`)
      .replaceAll("/media/stick", path.join(desk, "stick"));
    writeFileSync(script, `system=$PATH\n${text}`);
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
    expect(readings.filter((topic) => topic.startsWith("site/gw-7/readings/")).length).toBeGreaterThan(0);
    expect(said, output).toMatch(/system-monitor\b.*\b2\b/);
  });

  test("no private key but the one that deploys has left the offline machine", () => {
    const keysOf = (folder: string) => readdirSync(folder).filter((name) => name.endsWith(".key"));
    expect(keysOf(path.join(machine("offline"), "keys"))).toHaveLength(6);
    expect(keysOf(path.join(machine("laptop"), "keys"))).toEqual(["deploy.key"]);
    expect([...keysOf(path.join(desk, "stick")), ...keysOf(machine("gateway"))]).toEqual([]);
  });

  test("the installed gateway is found from anywhere, and its audit log is whole", () => {
    expect(said, output).toMatch(/^gw-7: running/m);
    expect(said, output).toContain("/etc/bulkhead/gateway.yaml is valid");
    expect(said, output).toMatch(/the audit log is whole: \d+ entries/);
  });

  test("the trust root is in force, signed by two of three keys, and is no development root", () => {
    expect(said).toMatch(/root version 1/);
    expect(said).not.toMatch(/development/);
  });
});
