/** The files of a new module: small, complete, and with a test that passes. */

export const BUSES = ["i2c", "spi", "gpio", "uart", "onewire"] as const;
export type Bus = (typeof BUSES)[number];

/** What differs from bus to bus. */
interface BusTemplate {
  /** The slot's line in module.yaml. */
  readonly slot: string;
  readonly ports: readonly string[];
  /** The grant's line in gateway.yaml. */
  readonly grant: string;
  /** What is simulated there on the author's desk: lines under `devices`. */
  readonly simulated: readonly string[];
  /** Fields of the driver. */
  readonly fields: readonly string[];
  /** Body of `start`. */
  readonly start: readonly string[];
  /** Body of `message`. */
  readonly message: readonly string[];
  /** The fake of the slot in the test, what is delivered, and the value that comes of it. */
  readonly fake: string;
  readonly deliver: string;
  readonly value: number;
}

const POLLED_START = ['tick.every(this.source.period).must("the timer");'];
const POLLED_PORTS = ["tick: {}", "settings: { contract: settings }"];

/** A driver that reads at each tick: `read` is the call that fills `data`. */
function polled(read: string, value = "<f64>this.data.u16be(0)"): readonly string[] {
  return [
    "if (port == Port.settings) {",
    "  if (this.source.configure(message)) this.start(true);",
    "  return none;",
    "}",
    `const result = ${read};`,
    'if (result.failed) log.failure("no measurement", result);',
    `else this.send(${value});`,
    "return none;",
  ];
}

const TEMPLATES: Readonly<Record<Bus, BusTemplate>> = {
  i2c: {
    slot: "device: { interface: i2c-device, rights: [read, write] }",
    ports: POLLED_PORTS,
    grant: "device: { i2c-device: { bus: 1, address: 0x48 } }",
    simulated: [
      "i2c:",
      "  1:",
      "    simulate:",
      "      # A row of registers of two bytes; docs/devices.md of Bulkhead lists the chips.",
      "      - { chip: registers, address: 0x48, bytes: 2, registers: { 0x00: { base: 258, swing: 20, period: 60 } } }",
    ],
    fields: ["private data: Bytes = Bytes.allocate(2);"],
    start: POLLED_START,
    message: polled("device.readRegisters(0x00, this.data)"),
    fake: 'device: { "write-read": () => Uint8Array.of(0x01, 0x02) }',
    deliver: 'host.deliver("tick", 1, { kind: "event" });',
    value: 0x0102,
  },
  spi: {
    slot: "device: { interface: spi-device, rights: [write] }",
    ports: POLLED_PORTS,
    grant: "device: { spi-device: { bus: 0, chip: 0, mode: 0, frequency: 1000000 } }",
    simulated: [
      "spi:",
      "  0:",
      "    simulate:",
      "      - { chip: mcp3008, select: 0, ch0: { base: 1.2, swing: 0.4, period: 60 } }",
    ],
    fields: [
      "/** A start bit, then single-ended channel 0: what a converter such as the MCP3008 takes. */",
      "private request: Bytes = Bytes.allocate(3);",
      "private data: Bytes = Bytes.allocate(3);",
    ],
    start: ["this.request[0] = 0x01;", "this.request[1] = 0x80;", ...POLLED_START],
    message: polled("device.transfer(this.request, this.data)", "<f64>(this.data.u16be(1) & 0x03ff)"),
    fake: "device: { transfer: () => Uint8Array.of(0x00, 0x01, 0x02) }",
    deliver: 'host.deliver("tick", 1, { kind: "event" });',
    value: 0x0102,
  },
  onewire: {
    slot: "device: { interface: onewire, rights: [read] }",
    ports: POLLED_PORTS,
    grant: "device: { onewire: { device: 28-000005e2fdc3 } }",
    simulated: [
      "onewire:",
      "  simulate:",
      "    - { chip: ds18b20, id: 28-000005e2fdc3, temperature: { base: 20, swing: 2, period: 60 } }",
    ],
    fields: [
      "/** The scratchpad: nine bytes, of which a DS18B20's first two are sixteenths of a degree. */",
      "private data: Bytes = Bytes.allocate(9);",
    ],
    start: POLLED_START,
    message: polled("device.read(this.data)", "<f64>this.data.i16le(0) / 16"),
    fake: "device: { read: () => Uint8Array.of(0x50, 0x01, 0, 0, 0, 0, 0, 0, 0) }",
    deliver: 'host.deliver("tick", 1, { kind: "event" });',
    value: 21,
  },
  gpio: {
    slot: "device: { interface: gpio-line, rights: [read, edges], port: edges }",
    ports: ["edges: {}"],
    grant: "device: { gpio-line: { chip: 0, line: 17, direction: in, edges: both } }",
    simulated: ["gpio:", "  0:", "    simulate:", "      - { chip: button, line: 17, period: 4, held: 1, bounces: 0 }"],
    fields: [],
    start: [],
    message: [
      "const level = device.get();",
      'if (level.failed) log.failure("the line cannot be read", level);',
      "else this.send(<f64>level.value);",
      "return none;",
    ],
    fake: "device: { get: () => 1 }",
    deliver: 'host.deliver("edges", [1, 0], { kind: "event" });',
    value: 1,
  },
  uart: {
    slot: "device: { interface: uart, rights: [read, write], port: received }",
    ports: ["received: {}"],
    grant: "device: { uart: { device: /dev/serial0, baud: 9600, format: 8N1 } }",
    simulated: [
      "uart:",
      "  /dev/serial0:",
      "    simulate:",
      '      - { chip: talker, text: "{value}\\r\\n", period: 1 }',
    ],
    fields: ["private data: Bytes = new Bytes();"],
    start: ['device.write(Bytes.fromText("hello\\n")).must("the serial line");'],
    message: [
      "const reader = message.read();",
      "// Null says that bytes were lost before: whatever was begun is not whole.",
      "if (reader.nil()) return none;",
      "reader.bytes(this.data);",
      "if (reader.finish()) this.send(<f64>this.data.length);",
      "return none;",
    ],
    fake: "device: { write: ({ bytes }) => bytes[0]?.length ?? 0 }",
    deliver: 'host.deliver("received", Uint8Array.of(1, 2, 3), { kind: "event" });',
    value: 3,
  },
};

/** A file's name in the module's folder, and its text. */
export type Files = ReadonlyMap<string, string>;

/** Relative paths from the module's folder, for the editor. */
export interface EditorPaths {
  /** The folder of this package. */
  readonly bulkhead: string;
  /** The compiler's `std/assembly.json`. */
  readonly assembly: string;
}

/** The same for every kind of module. */
function commonFiles(
  name: string,
  kind: "driver" | "service",
  gateway: string,
  paths: EditorPaths,
): [string, string][] {
  return [
    ["README.md", readme(name, kind)],
    // `.bulkhead` holds development keys.
    [".gitignore", "/.bulkhead/\n/build/\nnode_modules/\n"],
    ["gateway.yaml", gateway],
    ["asconfig.json", `${JSON.stringify({ extends: `${paths.bulkhead}/asconfig.json` }, null, 2)}\n`],
    ["tsconfig.json", editorConfig(paths)],
  ];
}

export function driverFiles(name: string, bus: Bus, paths: EditorPaths): Files {
  const template = TEMPLATES[bus];
  return new Map([
    ["module.yaml", driverManifest(name, template)],
    ["index.ts", driverSource(name, template)],
    [`${name}.test.ts`, driverTest(name, template)],
    ...commonFiles(name, "driver", driverGateway(name, template), paths),
  ]);
}

export function serviceFiles(name: string, paths: EditorPaths): Files {
  return new Map([
    ["module.yaml", SERVICE_MANIFEST.replace("NAME", name)],
    ["index.ts", serviceSource(name)],
    [`${name}.test.ts`, serviceTest(name)],
    ...commonFiles(name, "service", serviceGateway(name), paths),
  ]);
}

function usesTick({ ports }: BusTemplate): boolean {
  return ports.includes("tick: {}");
}

function commonGrants(template: BusTemplate): string[] {
  return [
    ...(usesTick(template) ? ["tick: { timer: {} }"] : []),
    "clock: { clock: {} }",
    "log: { log: {} }",
    "readings: { endpoint: { to: uplink.readings } }",
  ];
}

function driverManifest(name: string, template: BusTemplate): string {
  return lines(
    `name: ${name}`,
    "version: 0.1.0",
    "kind: driver",
    "memory: 1",
    "state: 32",
    "fuel: 1000000",
    "ports:",
    ...indented(template.ports),
    "slots:",
    ...indented([template.slot, ...(usesTick(template) ? ["tick: { interface: timer, port: tick }"] : [])]),
    ...indented(["clock: { interface: clock }", "log: { interface: log }"]),
    ...indented(["readings: { interface: endpoint, rights: [send], contract: readings }"]),
  );
}

function driverSource(name: string, template: BusTemplate): string {
  const slots = ["clock", "device", "log", "MODULE_NAME", ...(usesTick(template) ? ["Port"] : []), "readings"];
  if (usesTick(template)) slots.push("tick");
  return lines(
    `/** Driver of ${name}. */`,
    "",
    'import { Bytes, Driver, Message, none, Reader, register, Reply, Writer } from "bulkhead/sdk";',
    'import { Source } from "bulkhead/sdk/source";',
    `import { ${slots.join(", ")} } from "./generated/slots";`,
    "",
    `class ${className(name, "Driver")} extends Driver {`,
    "  private source: Source = new Source(MODULE_NAME, 1000);",
    ...indented(template.fields),
    '  private quantity: Bytes = Bytes.fromText("value");',
    '  private unit: Bytes = Bytes.fromText("1");',
    "",
    ...(template.start.length === 0
      ? []
      : ["  start(restored: bool): void {", ...indented(template.start, 4), "  }", ""]),
    "  message(port: i32, message: Message): Reply {",
    ...indented(template.message, 4),
    "  }",
    "",
    "  private send(value: f64): void {",
    "    const sent = readings.send(this.source.next(this.quantity, this.unit, value, clock.wall()));",
    '    if (sent.failed) log.failure("a reading was not taken", sent);',
    "  }",
    "",
    "  save(writer: Writer): void {",
    "    this.source.save(writer);",
    "  }",
    "",
    "  restore(reader: Reader, schema: u32): bool {",
    "    return schema == 1 && this.source.restore(reader);",
    "  }",
    "}",
    "",
    `register(new ${className(name, "Driver")}());`,
  );
}

function driverTest(name: string, { fake, deliver, value }: BusTemplate): string {
  return lines(
    `/** The driver ${name}, without hardware: each operation of a slot is answered by a function of the test. */`,
    'import { ModuleHost } from "bulkhead/testkit";',
    'import type { Reading } from "bulkhead/testkit";',
    'import { describe, expect, it } from "vitest";',
    "",
    `describe("the driver ${name}", () => {`,
    '  it("sends what it measured, numbered from 0", () => {',
    `    const host = new ModuleHost("build/modules/${name}.wasm", { ${fake} });`,
    "    host.start();",
    `    ${deliver}`,
    '    const [reading] = host.takeMessages<Reading>("readings");',
    `    expect(reading).toMatchObject({ sensor: "${name}", sequence: 0, value: ${value} });`,
    "  });",
    "});",
  );
}

const SERVICE_MANIFEST = `name: NAME
version: 0.1.0
kind: service
memory: 1
fuel: 100000
ports:
  readings: { contract: readings }
slots:
  log: { interface: log }
`;

function serviceSource(name: string): string {
  return lines(
    `/** Service ${name}: tells of each reading that it receives. */`,
    "",
    'import { Reading } from "bulkhead/interfaces/readings";',
    'import { Code, Driver, Message, none, refuse, register, Reply } from "bulkhead/sdk";',
    'import { log } from "./generated/slots";',
    "",
    `class ${className(name, "Service")} extends Driver {`,
    "  private reading: Reading = new Reading();",
    "",
    "  message(port: i32, message: Message): Reply {",
    "    if (!this.reading.decode(message.read())) return refuse(Code.firstOfModule);",
    '    log.information("reading " + this.reading.sequence.toString());',
    "    return none;",
    "  }",
    "}",
    "",
    `register(new ${className(name, "Service")}());`,
  );
}

function serviceTest(name: string): string {
  return lines(
    `/** The service ${name}, without a gateway. */`,
    'import { ModuleHost } from "bulkhead/testkit";',
    'import { describe, expect, it } from "vitest";',
    "",
    `describe("the service ${name}", () => {`,
    `  const host = new ModuleHost("build/modules/${name}.wasm");`,
    "",
    '  it("tells of a reading", () => {',
    "    host.start();",
    '    host.deliver("readings", { sensor: "a", sequence: 7, quantity: "b", value: 1, unit: "1", time: 0 });',
    '    expect(host.logs.map(({ text }) => text)).toEqual(["reading 7"]);',
    "  });",
    "",
    '  it("refuses what is no reading", () => {',
    '    expect(host.deliver("readings", { sensor: "a" })).toEqual({ error: -1000 });',
    "  });",
    "});",
  );
}

/** Modules that run on the desk's gateway beside the author's, and the folder of the binaries: no module is called so. */
export const TAKEN_NAMES: readonly string[] = ["build", "system-monitor", "tap", "uplink"];

/** The gateway of the author's desk. `devices` is what is simulated, `modules` what runs beside uplink. */
function deskGateway(devices: readonly string[], modules: readonly string[]): string {
  return lines(
    "# The gateway of your desk: `bulkhead dev` starts it, with what is simulated below, and swaps each edit into it.",
    "gateway: { id: desk, vendor: bulkhead.example, class: raspberry-pi }",
    "data: .bulkhead/data",
    "trust: { root: .bulkhead/keys/root.envelope }   # development keys; no gateway in the field trusts them",
    "broker: { url: mqtt://127.0.0.1:1883 }          # where none answers, `bulkhead dev` brings its own",
    ...(devices.length === 0 ? [] : ["devices:", ...indented(devices)]),
    "partitions: { drivers: {}, services: {} }",
    "modules:",
    ...indented(modules),
    ...indented(
      placed(
        "uplink",
        "services",
        ["log: { log: {} }", "north: { mqtt: { publish: [site/7/#] } }"],
        "settings: { prefix: site/7 }",
      ),
    ),
  );
}

function placed(name: string, partition: string, grants: readonly string[], ...keys: readonly string[]): string[] {
  return [
    `${name}:`,
    `  envelope: .bulkhead/modules/${name}.envelope`,
    `  partition: ${partition}`,
    ...indented(keys),
    "  grants:",
    ...indented(grants, 4),
  ];
}

function driverGateway(name: string, template: BusTemplate): string {
  const grants = [template.grant, ...commonGrants(template)];
  const checkpoint = "checkpoint: { every: 10s }   # its state survives a crash too, as it was then";
  return deskGateway(template.simulated, placed(name, "drivers", grants, checkpoint));
}

/** A service has something to work on: the readings of this machine's own load. */
function serviceGateway(name: string): string {
  return deskGateway(
    [],
    [
      ...placed(name, "services", ["log: { log: {} }"]),
      ...placed("system-monitor", "drivers", [
        "tick: { timer: {} }",
        "clock: { clock: {} }",
        "log: { log: {} }",
        "loadavg: { file: { path: /proc/loadavg, rights: [read] } }",
        "meminfo: { file: { path: /proc/meminfo, rights: [read] } }",
        "stat: { file: { path: /proc/stat, rights: [read] } }",
        `readings: { endpoint: { to: [${name}.readings, uplink.readings] } }`,
      ]),
    ],
  );
}

function readme(name: string, kind: "driver" | "service"): string {
  return lines(
    `# ${name}`,
    "",
    "```sh",
    `npx bulkhead build ${name}   # AssemblyScript to build/modules`,
    `npx bulkhead test ${name}    # build, then the tests, without hardware`,
    `npx bulkhead dev ${name}     # build at each edit, and swap into the gateway of gateway.yaml`,
    "```",
    "",
    "Run them in the folder above this one.",
    `\`gateway.yaml\` is a gateway for the desk; its part \`modules.${name}\` is what an operator of this ${kind} copies.`,
  );
}

/** For the editor only: AssemblyScript's own globals, and where `bulkhead/...` is. */
function editorConfig({ bulkhead, assembly }: EditorPaths): string {
  const config = {
    extends: assembly,
    compilerOptions: {
      paths: {
        "bulkhead/sdk": [`${bulkhead}/modules/sdk/index.ts`],
        "bulkhead/sdk/*": [`${bulkhead}/modules/sdk/*.ts`],
        "bulkhead/interfaces/*": [`${bulkhead}/modules/interfaces/generated/*.ts`],
      },
    },
    include: ["**/*.ts"],
    // What `bulkhead gen` makes for tests is TypeScript of the host.
    exclude: ["**/*.test.ts", "generated/host"],
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** With its kind at the end, so that no module's name gives a class that the SDK or the compiler has. */
function className(name: string, kind: "Driver" | "Service"): string {
  const words = name.split("-").map((word) => word.charAt(0).toUpperCase() + word.slice(1));
  return `${words.join("")}${kind}`;
}

function indented(texts: readonly string[], depth = 2): string[] {
  return texts.map((text) => " ".repeat(depth) + text);
}

function lines(...texts: readonly string[]): string {
  return `${texts.join("\n")}\n`;
}
