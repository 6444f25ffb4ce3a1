/** `bulkhead setup`: the few answers that a gateway needs, written as its configuration and checked by the real reader. */
import {
  copyFileSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { loadConfiguration, parseConfiguration } from "../../gateway/config/index.ts";
import { keyIdOf, toHex } from "../../gateway/envelopes/index.ts";
import { nodeFileSystem, openGatewayKey, PUBLIC_KEY_FILE } from "../../gateway/trust/index.ts";
import { Refusal } from "../../kernel/index.ts";
import type { Command, Io } from "../command.ts";
import type { Answers, GivenRoot, Question } from "./answers.ts";
import { ask, configurationText, problemOf, QUESTIONS, readRoot, withDefaults } from "./answers.ts";

const HELP = `usage: bulkhead setup [options]

Asks for the few things that a gateway must know, and writes its configuration. In a terminal it asks for what no option
says; elsewhere, and with --yes, the options must say it all. Nothing is written before everything has been checked.

  --id <name>             this gateway's name, unique in the fleet
  --vendor <domain>       whose gateways these are; signed modules name it
  --class <name>          the kind of gateway (raspberry-pi)
  --broker <url>          such as mqtts://broker.example:8883; '' for none
  --root <file>           the first root envelope; copied beside the configuration
  --username <name>, --password-file <file>, --ca <file>
                          for the broker; the files are named in the configuration, and stay where they are
  --config <file>         where the configuration goes (/etc/bulkhead/gateway.yaml; gateway.yaml without the Debian package)
  --data <folder>         what the gateway keeps (/var/lib/bulkhead; data, beside the configuration)
  --force                 replace a configuration that is there; it is kept as gateway.yaml.old
  --yes                   ask nothing
  --json                  one JSON object: config, root, gatewayKey, id, rootKeys, development

It also makes the gateway's own key (mode 600), so that gateway.pub can be enrolled before the first start.
Exit codes: 0 written and valid, 1 refused, 2 wrong usage or a configuration that is not valid.
`;

/** Where the Debian package keeps the configuration as it came. */
const PRISTINE = "/usr/share/bulkhead/gateway.yaml";
const INSTALLED = { config: "/etc/bulkhead/gateway.yaml", data: "/var/lib/bulkhead" };

export const setupVerb: Command = { name: "setup", summary: "write this gateway's configuration", help: HELP, run };

async function run(args: string[], io: Io): Promise<number> {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  const { values } = parseArgs({
    args,
    options: {
      ...{ id: text, vendor: text, class: text, broker: text, root: text, config: text, data: text },
      ...{ username: text, "password-file": text, ca: text, force: flag, yes: flag, json: flag },
    },
  });
  const isInstalled = existsSync(PRISTINE);
  const config = resolve(values.config ?? (isInstalled ? INSTALLED.config : "gateway.yaml"));
  const data = values.data ?? (isInstalled && values.config === undefined ? INSTALLED.data : "data");
  refuseOverwriting(config, values.force === true);
  const given = givenAnswers(values);
  const isAsking = io.isTerminal && process.stdin.isTTY && values.yes !== true && values.json !== true;
  const answers = {
    ...(isAsking ? await ask(given, io) : withDefaults(given)),
    data,
    username: values.username,
    passwordFile: values["password-file"] === undefined ? undefined : resolve(values["password-file"]),
    caFile: values.ca === undefined ? undefined : resolve(values.ca),
  };
  const written = write(config, answers);
  await loadConfiguration(config);
  report(written, answers, config, io, values.json === true);
  return 0;
}

/** @throws Refusal E_CONFIG for the first one that will not do */
function givenAnswers(values: Partial<Record<Question, string>>): Partial<Record<Question, string>> {
  const given = Object.fromEntries(
    QUESTIONS.flatMap((question) => {
      const answer = values[question];
      return answer === undefined ? [] : [[question, answer] as const];
    }),
  ) as Partial<Record<Question, string>>;
  for (const question of QUESTIONS) {
    const answer = given[question];
    const problem = answer === undefined ? undefined : problemOf(question, answer);
    if (problem !== undefined) throw new Refusal("E_CONFIG", `--${question}: ${problem}`);
  }
  return given;
}

/** The configuration that the Debian package came with says nothing yet. @throws Refusal E_CONFIG */
function refuseOverwriting(config: string, isForced: boolean): void {
  if (isForced || !existsSync(config)) return;
  if (existsSync(PRISTINE) && readFileSync(config, "utf8") === readFileSync(PRISTINE, "utf8")) return;
  throw new Refusal("E_CONFIG", `${config} is there already`, {
    hint: "edit it, or let --force replace it: it is then kept as gateway.yaml.old",
  });
}

interface Written {
  readonly root: GivenRoot;
  readonly rootFile: string;
  readonly publicKeyFile: string;
}

/** The configuration comes last: what it names is there when it is. @throws ConfigurationError before anything is written */
function write(config: string, answers: Answers): Written {
  const folder = dirname(config);
  const rootFile = join(folder, "root.envelope");
  const text = configurationText(answers, rootFile);
  const { dataFolder } = parseConfiguration(text, config, { folder });
  const root = readRoot(answers.root);
  const wasThere = existsSync(dataFolder);
  try {
    mkdirSync(folder, { recursive: true });
    openGatewayKey(nodeFileSystem, dataFolder);
    giveToOwner(dataFolder, wasThere);
    replace(rootFile, root.bytes);
    if (existsSync(config)) copyFileSync(config, `${config}.old`);
    replace(config, text);
  } catch (error) {
    if (error instanceof Refusal || !(error instanceof Error)) throw error;
    const hint = "run it as root (sudo), or name other places with --config and --data";
    throw new Refusal("E_STORE", `${folder} cannot be written`, { found: error.message, hint });
  }
  const publicKeyFile = join(dataFolder, PUBLIC_KEY_FILE);
  if (!existsSync(publicKeyFile)) throw new Refusal("E_STORE", `${publicKeyFile} could not be written`);
  return { root, rootFile, publicKeyFile };
}

/**
 * Who sets a gateway up is root, and who runs it is not: the keys go to whom the folder belongs. He can put a link there, and
 * must not be given what it names.
 */
function giveToOwner(dataFolder: string, wasThere: boolean): void {
  if (process.getuid?.() !== 0 || !wasThere) return;
  const { uid, gid } = statSync(dataFolder);
  for (const name of ["gateway.key", PUBLIC_KEY_FILE]) lchownSync(join(dataFolder, name), uid, gid);
}

function replace(file: string, content: string | Uint8Array): void {
  writeFileSync(`${file}.new`, content, { mode: 0o644, flush: true });
  renameSync(`${file}.new`, file);
}

function report(
  { root, rootFile, publicKeyFile }: Written,
  answers: Answers,
  config: string,
  io: Io,
  isJson: boolean,
): void {
  const { version, roles, development } = root.document;
  const rootKeys = roles.root.keys.map((key) => toHex(keyIdOf(key)));
  if (isJson) {
    const object = { config, root: rootFile, gatewayKey: publicKeyFile, id: answers.id, rootKeys };
    io.stdout(`${JSON.stringify({ ...object, development: development === true })}\n`);
    return;
  }
  const lines = [
    `${config} is written and valid`,
    `root version ${version}, signed by its own keys; compare their ids with what the key holders say:`,
    ...rootKeys.map((id) => `  ${id}`),
    ...(development === true ? ["warning: these are development keys, for a desk and never for the field"] : []),
    `next: enrol ${publicKeyFile}, which push and rollout need to believe this gateway's reports`,
    config === INSTALLED.config
      ? "then: sudo systemctl restart bulkhead, and sudo bulkhead doctor"
      : `then: bulkhead run ${config}, and bulkhead doctor ${config}`,
  ];
  io.stdout(`${lines.join("\n")}\n`);
}
