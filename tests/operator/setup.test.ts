/** `bulkhead setup`: asked over a pseudo-terminal and told by flags, and what it refuses before anything is written. */
import { chownSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { loadConfiguration, parseConfiguration } from "../../gateway/config/index.ts";
import { configurationText } from "../../tools/setup/answers.ts";
import { bulkhead, filesIn, openDesk, type } from "./support.ts";

const desk = openDesk();
const flags = (config: string) => [
  "setup",
  "--id",
  "gw-7",
  "--vendor",
  "sensors.example",
  "--root",
  desk.root,
  "--config",
  config,
];

describe("in a terminal", () => {
  test("asks what no flag says, asks again where an answer will not do, and writes what the gateway reads", async () => {
    const config = path.join(desk.place(), "gateway.yaml");
    const { status, shown, unanswered } = await type(
      ["setup", "--config", config, "--vendor", "sensors.example"],
      [
        [/Name of this gateway.*: $/s, "GW 7\n"],
        [/lower-case.*Name of this gateway.*: $/s, "gw-7\n"],
        [/Class of gateway \[raspberry-pi\]: $/, "\n"],
        [/MQTT broker.*: $/, "http://broker.example\n"],
        [/MQTT broker.*: $/, "mqtts://broker.example:8883\n"],
        [/Root envelope.*: $/, "/nowhere/root.envelope\n"],
        [/cannot be read.*Root envelope.*: $/s, `${desk.root}\n`],
      ],
    );
    expect({ status, unanswered }, shown).toEqual({ status: 0, unanswered: 0 });
    const { gateway, broker, trust } = await loadConfiguration(config);
    expect(gateway).toEqual({ id: "gw-7", vendor: "sensors.example", class: "raspberry-pi" });
    expect(broker?.url).toBe("mqtts://broker.example:8883");
    expect(readFileSync(trust.root)).toEqual(readFileSync(desk.root));
  });

  test("Ctrl-C while it asks ends it, and nothing is written", async () => {
    const place = desk.place();
    const { status, shown } = await type(
      ["setup", "--config", path.join(place, "gateway.yaml")],
      [
        [/Name of this gateway.*: $/s, "gw-7\n"],
        [/Vendor.*: $/, "\u0003"],
      ],
    );
    expect(status).toBe(1);
    expect(shown).toMatch(/E_ABORTED.*nothing was written/s);
    expect(filesIn(place)).toEqual([]);
  });
});

describe("by flags", () => {
  test("writes configuration, root and the gateway's own key, which only its owner reads", async () => {
    const place = desk.place();
    const config = path.join(place, "gateway.yaml");
    const outcome = bulkhead(...flags(config), "--yes", "--json");
    expect(outcome).toMatchObject({ status: 0, stderr: "" });
    expect(JSON.parse(outcome.stdout)).toMatchObject({
      config,
      id: "gw-7",
      development: true,
      rootKeys: [expect.stringMatching(/^[0-9a-f]{32}$/)],
    });
    expect(filesIn(place)).toEqual(["data", "data/gateway.key", "data/gateway.pub", "gateway.yaml", "root.envelope"]);
    expect(statSync(path.join(place, "data/gateway.key")).mode & 0o777).toBe(0o600);
    expect((await loadConfiguration(config)).broker).toBeNull();
    const named = readFileSync(config, "utf8").match(/\/\S+\/(configuration-keys\.md|gateway-schema\.json)$/gm);
    expect(named).toHaveLength(2);
    for (const file of named ?? []) expect(statSync(file).isFile(), file).toBe(true);
  });

  test("keeps a key that is there", () => {
    const config = path.join(desk.place(), "gateway.yaml");
    bulkhead(...flags(config), "--yes");
    const key = readFileSync(path.join(path.dirname(config), "data/gateway.pub"), "utf8");
    expect(bulkhead(...flags(config), "--yes", "--force").status).toBe(0);
    expect(readFileSync(path.join(path.dirname(config), "data/gateway.pub"), "utf8")).toBe(key);
  });

  test.skipIf(process.getuid?.() !== 0)("started as root, leaves the key to the owner of the data folder", () => {
    const place = desk.place();
    mkdirSync(path.join(place, "data"));
    chownSync(path.join(place, "data"), 4711, 4712);
    expect(bulkhead(...flags(path.join(place, "gateway.yaml")), "--yes").status).toBe(0);
    expect(statSync(path.join(place, "data/gateway.key"))).toMatchObject({ uid: 4711, gid: 4712 });
  });

  test.skipIf(process.getuid?.() !== 0)(
    "started as root, follows no link that the gateway's user has put there",
    () => {
      const place = desk.place({ mine: "root's own\n" });
      const [mine, data] = [path.join(place, "mine"), path.join(place, "data")];
      mkdirSync(data);
      chownSync(data, 4711, 4712);
      symlinkSync(mine, path.join(data, "gateway.key.new"));
      expect(bulkhead(...flags(path.join(place, "gateway.yaml")), "--yes").status).toBe(1);
      expect([readFileSync(mine, "utf8"), statSync(mine).uid]).toEqual(["root's own\n", 0]);
      rmSync(path.join(data, "gateway.key.new"));
      expect(bulkhead(...flags(path.join(place, "gateway.yaml")), "--yes").status).toBe(0);
      rmSync(path.join(data, "gateway.pub"));
      symlinkSync(mine, path.join(data, "gateway.pub"));
      bulkhead(...flags(path.join(place, "gateway.yaml")), "--yes", "--force");
      expect(statSync(mine).uid).toBe(0);
    },
  );

  test("a configuration that is there is replaced only by force, and kept", () => {
    const place = desk.place({ "gateway.yaml": "# mine\n" });
    const config = path.join(place, "gateway.yaml");
    const refused = bulkhead(...flags(config), "--yes");
    expect(refused).toMatchObject({ status: 2, stdout: "" });
    expect(refused.stderr).toMatch(/is there already.*--force/);
    expect(filesIn(place)).toEqual(["gateway.yaml"]);
    expect(bulkhead(...flags(config), "--yes", "--force").status).toBe(0);
    expect(readFileSync(`${config}.old`, "utf8")).toBe("# mine\n");
  });

  test.each<[string, string[], RegExp]>([
    ["nothing but --yes", ["--yes"], /no --id, --vendor, --root.*or run it in a terminal/],
    ["an id that is no name", ["--id", "../etc"], /--id: gateway\.id is not valid/],
    ["an address that is none", ["--broker", "broker.example"], /--broker: broker\.url/],
    ["a root that is not there", ["--root", "/nowhere"], /--root: .*cannot be read/],
    ["an unknown flag", ["--brokr", "x"], /Unknown option '--brokr'/],
  ])("%s is refused with what to do, and nothing is written", (_what, parameters, said) => {
    const place = desk.place();
    const outcome = bulkhead("setup", "--config", path.join(place, "gateway.yaml"), ...parameters);
    expect(outcome).toMatchObject({ status: 2, stdout: "" });
    expect(outcome.stderr).toMatch(said);
    expect(filesIn(place)).toEqual([]);
  });

  test("a root envelope with one bit changed is refused", () => {
    const place = desk.place();
    const bytes = readFileSync(desk.root);
    bytes[bytes.length - 20] = (bytes[bytes.length - 20] ?? 0) ^ 1;
    const root = path.join(place, "bad.envelope");
    writeFileSync(root, bytes);
    const outcome = bulkhead(
      "setup",
      "--id",
      "gw-7",
      "--vendor",
      "v.example",
      "--root",
      root,
      "--config",
      path.join(place, "gateway.yaml"),
      "--yes",
    );
    expect(outcome.status).toBe(2);
    expect(outcome.stderr).toMatch(/--root: E_/);
    expect(filesIn(place)).toEqual(["bad.envelope"]);
  });
});

test.each(['a"b', "a: b", "a\nb: c", "# no", "${x}", "\\", "'"])(
  "no answer can say more than its own key: %j",
  (answer) => {
    const answers = { id: "gw-1", vendor: answer, class: "c", broker: "", root: "r", data: "data" };
    const text = configurationText(answers, "root.envelope");
    let vendor: string | undefined;
    try {
      vendor = parseConfiguration(text, "gateway.yaml").gateway.vendor;
    } catch (error) {
      expect(String(error)).toMatch(/gateway\.vendor is not valid/);
      return;
    }
    expect(vendor).toBe(answer);
  },
);
