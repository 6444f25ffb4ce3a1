/** `bulkhead sim`: shows the simulated devices of a gateway that runs here, and turns their values and faults. */
import { createInterface } from "node:readline/promises";
import { parseArgs } from "node:util";
import { parse as parseYaml } from "yaml";
import { printable } from "../../gateway/wire/parse.ts";
import type { SimulatedPart, Simulators } from "../../gateway/wire/protocol.ts";
import type { CborInput } from "../../kernel/index.ts";
import { Refusal } from "../../kernel/index.ts";
import type { Command, Io } from "../command.ts";
import { refusalText } from "../printing.ts";
import type { ControlClient } from "../dev/control-client.ts";
import { connectGateway, WHERE_NONE_RUNS } from "../dev/find-gateway.ts";
import { parseDuration } from "../push/options.ts";

const HELP = `usage: bulkhead sim [list]
       bulkhead sim set <device> <quantity>=<value> ...
       bulkhead sim fault <device> <kind>[:<probability>] ... | none [--for <time>]

Shows and turns the simulated devices of the gateway that \`bulkhead dev\` or \`bulkhead run\` started here. Only the user that
runs the gateway can, and a real device cannot be turned. Without a verb, on a terminal, it asks for one after the other.

  <device>           as the list shows it: i2c-1/0x76, or bme280 where there is one only
  <value>            a number; { base: 20, swing: 5, period: 60, noise: 0.1 }; or [[0, 20], [60, 30]] in seconds
  <kind>             nack, stuck, noise, crc, short or silent; what each does: docs/devices.md
  --for <time>       the fault ends by itself, as after 10s
  --gateway <file>   the gateway's configuration (${WHERE_NONE_RUNS})
  --json             one JSON object: seconds, and parts with device, chip, quantities, faults
  --help             this text

  bulkhead sim set bme280 temperature=31.5
  bulkhead sim fault bme280 nack:0.2 --for 30s
`;

export const simVerb: Command = {
  name: "sim",
  summary: "show and turn the simulated devices of a running gateway",
  help: HELP,
  async run(args: string[], io: Io): Promise<number> {
    const { positionals, values } = parseArgs({
      args,
      allowPositionals: true,
      options: { gateway: { type: "string" }, for: { type: "string" }, json: { type: "boolean", default: false } },
    });
    const faultMs = values.for === undefined ? undefined : parseDuration(values.for, "--for");
    const client = await connectGateway(values.gateway);
    try {
      if (positionals.length === 0 && io.isTerminal && !values.json) return await converse(client, io);
      await carryOut(client, positionals, faultMs);
      const state = await client.simulators();
      io.stdout(values.json ? `${JSON.stringify(state)}\n` : describe(state, changed(positionals, state)));
      return 0;
    } finally {
      client.close();
    }
  },
};

/** One command; the list is shown after each. @throws Refusal */
async function carryOut(client: ControlClient, words: readonly string[], faultMs?: number): Promise<void> {
  const [verb = "list", name, ...rest] = words;
  if (verb === "list" && name === undefined) return;
  if ((verb !== "set" && verb !== "fault") || name === undefined || rest.length === 0) {
    throw new Refusal("E_CONFIG", "that is no command of sim", {
      expected: "list, set <device> <quantity>=<value>, or fault <device> <kind>",
      found: words.join(" "),
    });
  }
  const state = await client.simulators();
  const part = findPart(state, name);
  if (verb === "fault") {
    await client.simulate(part.device, "faults", faults(rest, state.seconds, faultMs));
    return;
  }
  const turns = rest.map((text) => assignment(text, part));
  for (const { quantity, script } of turns) await client.simulate(part.device, quantity, script);
}

/** By its address, by its address on the bus, or by its chip's name where there is one only. @throws Refusal E_UNKNOWN */
export function findPart({ parts }: Simulators, name: string): SimulatedPart {
  const exact = parts.find(({ device }) => device === name);
  if (exact !== undefined) return exact;
  const matching = parts.filter(({ device, chip }) => chip === name || device.endsWith(`/${name}`));
  const [only] = matching;
  if (only !== undefined && matching.length === 1) return only;
  throw new Refusal(
    "E_UNKNOWN",
    only === undefined ? `nothing simulated is called ${name}` : `${name} is not one device`,
    {
      expected: (only === undefined ? parts : matching).map(({ device, chip }) => `${device} (${chip})`).join(", "),
      hint: "real devices cannot be turned",
    },
  );
}

function assignment(text: string, { device, quantities }: SimulatedPart): { quantity: string; script: CborInput } {
  const equals = text.indexOf("=");
  const quantity = text.slice(0, equals).trim();
  if (equals < 1 || !Object.hasOwn(quantities, quantity)) {
    throw new Refusal("E_UNKNOWN", `${device} has no such quantity`, {
      expected: `one of ${Object.keys(quantities).join(", ")}, then = and a value`,
      found: text,
    });
  }
  return { quantity, script: parseScript(text.slice(equals + 1)) };
}

/** A number, or a script in YAML, which the device process then checks. @throws Refusal E_CONFIG */
function parseScript(text: string): CborInput {
  try {
    // SAFETY: plain YAML values are plain data; what is no script the device process refuses.
    return parseYaml(text) as CborInput;
  } catch (error) {
    throw new Refusal("E_CONFIG", "the value cannot be read", { found: error instanceof Error ? error.message : text });
  }
}

function faults(words: readonly string[], seconds: number, milliseconds: number | undefined): CborInput {
  if (words.length === 1 && words[0] === "none") return [];
  const until = milliseconds === undefined ? undefined : seconds + milliseconds / 1000;
  return words.map((word) => {
    const [kind = "", share = "1"] = word.split(":");
    const probability = Number(share);
    if (!(probability >= 0 && probability <= 1)) {
      throw new Refusal("E_CONFIG", "a probability is from 0 to 1", { found: word });
    }
    return { kind, from: 0, probability, ...(until === undefined ? {} : { until }) };
  });
}

/** After a change only the device that was changed is shown. */
function changed(words: readonly string[], state: Simulators): readonly SimulatedPart[] {
  const [verb, name] = words;
  return verb === "set" || verb === "fault" ? [findPart(state, name ?? "")] : state.parts;
}

function describe({ parts: all }: Simulators, parts: readonly SimulatedPart[]): string {
  if (all.length === 0) return "nothing is simulated\n";
  const width = Math.max(...parts.map(({ device }) => device.length));
  const chips = Math.max(...parts.map(({ chip }) => chip.length));
  return parts
    .map(({ device, chip, quantities, faults: active }) => {
      const values = Object.entries(quantities).map(([name, value]) => `${name}=${Number(value.toFixed(3))}`);
      const broken = active.length === 0 ? "" : `  faults: ${active.join(", ")}`;
      return `${printable(`${device.padEnd(width)}  ${chip.padEnd(chips)}  ${values.join(" ")}${broken}`)}\n`;
    })
    .join("");
}

/** One command a line until the end of the input; a mistake is told, and the next line asked for. */
async function converse(client: ControlClient, io: Io): Promise<number> {
  const state = await client.simulators();
  io.stdout(describe(state, state.parts));
  io.stdout("set <device> <quantity>=<value>, fault <device> <kind>|none, list, quit\n");
  const lines = createInterface({ input: process.stdin, output: process.stdout, prompt: "sim> " });
  io.signal.addEventListener("abort", () => {
    lines.close();
  });
  lines.on("SIGINT", () => {
    lines.close();
  });
  lines.prompt();
  for await (const line of lines) {
    const words = splitWords(line);
    if (words[0] === "quit" || words[0] === "exit") break;
    io.stdout(await answerLine(client, words));
    lines.prompt();
  }
  lines.close();
  return 0;
}

async function answerLine(client: ControlClient, words: readonly string[]): Promise<string> {
  if (words.length === 0) return "";
  const command = words[1]?.includes("=") === true && words[0] !== "set" ? ["set", ...words] : words;
  try {
    await carryOut(client, command);
    const state = await client.simulators();
    return describe(state, changed(command, state));
  } catch (error) {
    if (error instanceof Refusal && error.code !== "E_ABORTED") return refusalText(error);
    throw error;
  }
}

/** Words apart at spaces, except within brackets: a script may have spaces. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let depth = 0;
  let word = "";
  for (const character of line) {
    if ("[{".includes(character)) depth++;
    if ("]}".includes(character)) depth--;
    if (character.trim() !== "" || depth > 0) word += character;
    else if (word !== "") words.push(word);
    if (character.trim() === "" && depth <= 0) word = "";
  }
  return word === "" ? words : [...words, word];
}
