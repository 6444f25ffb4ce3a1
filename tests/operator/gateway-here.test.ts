/** Which gateway of a machine a verb means where none is named, and what it says to a user who may not look into it. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync } from "node:fs";
import { userInfo } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { configurationFile, connectGateway } from "../../tools/dev/find-gateway.ts";
import { bulkhead, CLI, openDesk } from "./support.ts";

const desk = openDesk();
const before = process.cwd();
afterEach(() => {
  process.chdir(before);
});

const YAML = "gateway: { id: gw-1, vendor: v.example, class: pi }\ndata: data\ntrust: { root: root.envelope }\n";

/** Goes to a new folder with these files. */
function stand(files: Readonly<Record<string, string>> = {}): string {
  const place = desk.place(files);
  process.chdir(place);
  return place;
}

describe("where no configuration is named", () => {
  const installed = () => path.join(desk.place({ "gateway.yaml": YAML }), "gateway.yaml");

  test("the one here is meant, or else the installed one", () => {
    const file = installed();
    stand({ "gateway.yaml": YAML });
    expect(configurationFile(undefined, undefined, file)).toBe("gateway.yaml");
    stand();
    expect(configurationFile(undefined, undefined, file)).toBe(file);
    expect(configurationFile(undefined, undefined, `${file}.none`)).toBe("gateway.yaml");
    expect(configurationFile("named.yaml", undefined, file)).toBe("named.yaml");
  });

  test("a proposal is not compared with itself", () => {
    const file = installed();
    const place = stand({ "gateway.yaml": YAML, "new.yaml": YAML });
    expect(configurationFile(undefined, path.join(place, "gateway.yaml"), file)).toBe(file);
    expect(configurationFile(undefined, "new.yaml", file)).toBe("gateway.yaml");
  });

  test("an installed gateway that does not run is named with the others", async () => {
    const file = installed();
    stand();
    const found = connectGateway(undefined, {}, file);
    await expect(found).rejects.toMatchObject({ code: "E_UNKNOWN", message: `no gateway runs from ${file}` });
    stand({ "gateway.yaml": YAML });
    const both = connectGateway(undefined, {}, file);
    await expect(both).rejects.toMatchObject({ message: `no gateway runs from gateway.yaml, ${file}` });
  });

  test.each([["top"], ["logs"], ["sim"], ["audit"], ["why"], ["plan"], ["graph"], ["doctor"]])(
    "%s tells in its help which is taken",
    (verb) => {
      expect(bulkhead(verb, "--help").stdout).toMatch(/gateway\.yaml here.*else \/etc\/bulkhead\/gateway\.yaml/);
    },
  );
});

/** The command as a user to whom the modes below apply: root is bound by none. */
function asStranger(cwd: string, ...parameters: string[]) {
  const stranger = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};
  return spawnSync(process.execPath, ["--disable-warning=ExperimentalWarning", CLI, ...parameters], {
    encoding: "utf8",
    cwd,
    ...stranger,
  });
}

describe("a user who does not run the gateway", () => {
  /** A folder that others reach, with a data folder that they do not. */
  function gateway(): { readonly place: string; readonly data: string } {
    const place = desk.place({ "gateway.yaml": YAML });
    const data = path.join(place, "data");
    mkdirSync(data, { mode: 0o700 });
    chmodSync(data, 0o000);
    chmodSync(desk.folder, 0o755);
    chmodSync(place, 0o755);
    return { place, data };
  }

  test.each([["top"], ["logs"], ["sim"], ["hold", "bme280"], ["audit", "list"], ["audit", "verify"]])(
    "is told as whom to run %s",
    (...words) => {
      const { place, data } = gateway();
      const { status, stderr } = asStranger(place, ...words);
      expect(stderr).toContain(`E_CAP: the gateway in ${data} is another user's`);
      expect(stderr).toContain(`say sudo -u ${userInfo().username} before the command`);
      expect(stderr.trim().split("\n")).toHaveLength(1);
      expect(status).toBe(1);
      chmodSync(data, 0o700);
    },
  );

  test("finds no gateway in a folder that it may not list, and sees no stack trace", () => {
    const { place } = gateway();
    const locked = path.join(place, "home");
    mkdirSync(locked);
    chmodSync(locked, 0o311);
    const { status, stderr } = asStranger(locked, "top");
    expect(stderr).toMatch(/^bulkhead top: E_(UNKNOWN|CAP): .*\n$/);
    expect(status).toBe(1);
    chmodSync(locked, 0o700);
  });
});
