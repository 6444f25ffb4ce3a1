/** The system under fault: real modules on simulated devices, feeders that reach every port, and neighbours that count. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { configureDevices } from "../../gateway/device/configure.ts";
import type { HostSetup } from "../../gateway/wire/host-process.ts";
import type { HostBinding } from "../../gateway/wire/protocol.ts";
import type {
  AdmittedModule,
  CborInput,
  Grant,
  HostReply,
  KernelEvent,
  Manifest,
  ModuleSpec,
  ResourceBinding,
} from "../../kernel/index.ts";
import { admitModule, encodeCbor, inspectModule, Kernel, RESULT } from "../../kernel/index.ts";
import { manifestFields, moduleBinary, moduleSpec, watModule } from "../support/modules.ts";
import { INJECT, withInjection } from "./binary.ts";

const MODULES = join(import.meta.dirname, "../../build/modules");
/** Modules that are made to fail would only hide what the campaign does. */
const LEFT_OUT = new Set(["trapper", "spinner", "threshold-v2", "tmp102"]);
const NOTHING = new Uint8Array(0);
const WAIT_MS = 30_000;

export interface Victim {
  readonly name: string;
  readonly manifest: Manifest;
  /** With the port `inject`. */
  readonly binary: Uint8Array;
  readonly admitted: AdmittedModule;
  readonly spec: ModuleSpec;
  /** The number of the feeders' link to each port, by port name. */
  readonly links: ReadonlyMap<string, number>;
}

/** Changes what a device answers, once. */
export type Perturbation = (reply: HostReply) => HostReply | Promise<HostReply>;

/** What the campaign must never see. */
export interface Disturbance {
  readonly module: string;
  readonly what: string;
}

const DEVICES = {
  i2c: {
    "1": {
      backend: "simulator",
      simulate: [
        { chip: "bme280", address: 0x76 },
        { chip: "ads1115", address: 0x48 },
      ],
    },
  },
  spi: { "0": { backend: "simulator", simulate: [{ chip: "mcp3008" }] } },
  gpio: { "0": { backend: "simulator", simulate: [] } },
};

/** Where the endpoint slots of the real modules lead, as a gateway would have it. */
const ROUTES: Readonly<Record<string, readonly string[]>> = {
  readings: ["threshold.readings", "aggregate.readings", "home-assistant.readings", "uplink.readings"],
  alarms: ["uplink.alarms"],
  windows: ["uplink.windows"],
  settings: ["threshold.settings"],
  switches: ["gpio-relay.commands"],
};

const PARAMETERS: Readonly<Record<string, Readonly<Record<string, string | number | boolean | readonly string[]>>>> = {
  bme280: { bus: 1, address: 0x76 },
  ads1115: { bus: 1, address: 0x48 },
  mcp3008: { bus: 0, chip: 0, mode: 0, frequency: 1_000_000 },
  "gpio-button": { chip: 0, line: 17, direction: "in", edges: "both" },
  "gpio-relay": { chip: 0, line: 27, direction: "out", initial: 0 },
  ds18b20: { device: "28-0000075d1ca1" },
};

/** 25.0625 degrees, with its CRC (DS18B20 datasheet, table 1). */
const SCRATCHPAD = Uint8Array.of(0x91, 0x01, 0x4b, 0x46, 0x7f, 0xff, 0x0f, 0x10, 0x25);

const FILES: Readonly<Record<string, string>> = {
  loadavg: "0.10 0.20 0.30 1/200 4000\n",
  meminfo: "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n",
  stat: "cpu  100 0 100 1000 0 0 0 0 0 0\n",
};

const RESTART = { policy: "restart", intensity: 2, windowMs: 1000, backoffMs: 1, maximumBackoffMs: 20 } as const;
const CHANGES = { activationMs: 1000, fuelPerPeriod: 20_000_000, periodMs: 100, restart: RESTART } as const;
const REPORT: Grant = { slot: "report", interface: "file", rights: ["write"], parameters: { path: "/report" } };
const REPORT_SLOT = { interface: "file", rights: ["write"], port: null };
const REPORT_IMPORT = `(import "report" "write" (func $report (param i32 i32) (result i32)))`;
const IN_PORT = { name: "in", contract: null, fuel: 10_000, stack: 4096 };

/**
 * A feeder: an event is [link u16, operation u16, count u32, payload]. Operation 0 sends the payload so many times; 1 calls the
 * link and reports [result i32]. Its answers come in order, so one tells that everything before it was handled.
 */
function feeder(links: number): string {
  const slots = Array.from({ length: links }, (_, index) => index);
  const imports = slots.map(
    (index) => `(import "t${index}" "send" (func $s${index} (param i32 i32 i32 i32) (result i32)))
      (import "t${index}" "call" (func $c${index} (param i32 i32 i32 i32 i32) (result i32)))`,
  );
  const choose = (action: (index: number) => string): string =>
    slots.map((index) => `(if (i32.eq (local.get $link) (i32.const ${index})) (then ${action(index)}))`).join("\n");
  return watModule(
    `${REPORT_IMPORT}${imports.join("")}`,
    `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (local $link i32) (local $count i32)
       (if (i32.ne (local.get $port) (i32.const 0)) (then (return (i64.const 0))))
       (local.set $link (i32.load16_u (i32.const 1088)))
       (local.set $count (i32.load (i32.const 1092)))
       (local.set $length (i32.sub (local.get $length) (i32.const 8)))
       (if (i32.eqz (i32.load16_u (i32.const 1090)))
         (then (loop $again
           ${choose((index) => `(drop (call $s${index} (i32.const 1096) (local.get $length) (i32.const 0) (i32.const 0)))`)}
           (local.set $count (i32.sub (local.get $count) (i32.const 1)))
           (br_if $again (i32.gt_s (local.get $count) (i32.const 0)))))
         (else
           ${choose(
             (index) =>
               `(i32.store (i32.const 60000) (call $c${index} (i32.const 1096) (local.get $length) (i32.const 60016) (i32.const 0) (i32.const 5000)))`,
           )}
           (drop (call $report (i32.const 60000) (i32.const 4)))))
       (i64.const 0))`,
  );
}

/** A neighbour that sends a sequence by `send`, and one more by `call`, a message of each every millisecond. */
const SOURCE = watModule(
  `(import "timer" "every" (func $every (param i32) (result i32)))
   (import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))
   (import "ask" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))
   ${REPORT_IMPORT}`,
  `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) (local $result i32)
     (if (i32.eq (local.get $port) (i32.const 65535)) (then (drop (call $every (i32.const 1))) (return (i64.const 0))))
     ;; 8192: next to send; 8196: next to ask. Only what was taken counts.
     (if (i32.eqz (call $send (i32.const 8192) (i32.const 4) (i32.const 0) (i32.const 0)))
       (then (i32.store (i32.const 8192) (i32.add (i32.load (i32.const 8192)) (i32.const 1)))))
     (local.set $result (call $call (i32.const 8196) (i32.const 4) (i32.const 9000) (i32.const 4) (i32.const 9000)))
     (if (i32.and (i32.eq (local.get $result) (i32.const 4)) (i32.eq (i32.load (i32.const 9000)) (i32.load (i32.const 8196))))
       (then (i32.store (i32.const 8196) (i32.add (i32.load (i32.const 8196)) (i32.const 1))))
       (else
         ;; 1: a call went wrong, with its result and what was answered
         (i32.store (i32.const 9100) (i32.const 1)) (i32.store (i32.const 9104) (local.get $result))
         (i32.store (i32.const 9108) (i32.load (i32.const 9000)))
         (drop (call $report (i32.const 9100) (i32.const 12)))))
     (i64.const 0))`,
);

function leaveNumbersOut(source: string): string {
  const step = `(i32.add (i32.load (i32.const 8192)) (i32.const 1))`;
  const skip = `(i32.add ${step} (i32.eqz (i32.rem_u (i32.load (i32.const 8192)) (i32.const 100))))`;
  return source.replace(step, skip);
}

/** The other end: says so where a number is not the next one, and every 256 messages that it is alive. */
const SINK = watModule(
  REPORT_IMPORT,
  `(global $next (mut i32) (i32.const -1))
   (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) (local $seen i32)
     (if (i32.eq (local.get $port) (i32.const 65535)) (then (return (i64.const 0))))
     (local.set $seen (i32.load (i32.const 1088)))
     (if (i32.eq (local.get $port) (i32.const 1))
       (then (i32.store (i32.const 9200) (local.get $seen)) (return (i64.const ${(9200n << 32n) | 4n}))))
     (if (i32.and (i32.ne (global.get $next) (i32.const -1)) (i32.ne (local.get $seen) (global.get $next)))
       (then
         ;; 2: a gap, with the number that was due and the one that came
         (i32.store (i32.const 9100) (i32.const 2)) (i32.store (i32.const 9104) (global.get $next))
         (i32.store (i32.const 9108) (local.get $seen))
         (drop (call $report (i32.const 9100) (i32.const 12)))))
     (global.set $next (i32.add (local.get $seen) (i32.const 1)))
     (if (i32.eqz (i32.and (local.get $seen) (i32.const 255)))
       (then (i32.store (i32.const 9100) (i32.const 0)) (drop (call $report (i32.const 9100) (i32.const 4)))))
     (i64.const 0))`,
);

/** Pairs of neighbours: where the source runs, and where the sink. */
const PAIRS = [
  ["near", "victims", "victims"],
  ["across", "neighbours", "victims"],
  ["far", "neighbours", "neighbours"],
] as const;

export class System {
  readonly kernel: Kernel;
  readonly victims: Victim[] = [];
  readonly disturbances: Disturbance[] = [];
  /** Faults and denials of victims, since they were last taken. */
  readonly effects: { readonly module: string; readonly cause: string }[] = [];
  /** Signs of life of the neighbours' sinks. */
  readonly beats = new Map<string, number>();
  /** Perturbations of the next answers to a module. */
  readonly perturbations = new Map<string, Perturbation[]>();
  /** True while a lost partition is part of the plan: its own neighbours are then allowed to fail calls. */
  expectsLoss = false;
  readonly #devices: HostSetup;
  readonly #abort = new AbortController();
  readonly #bindings = new Map<string, ResourceBinding>();
  readonly #answers: ((result: number) => void)[] = [];
  readonly #status = new Map<string, "running" | "failed" | "held">();
  readonly #waiters = new Set<() => void>();
  #lost = 0;
  #replaced = 0;

  private constructor(devices: HostSetup) {
    this.#devices = devices;
    this.kernel = new Kernel({
      onEvent: (event) => {
        this.#onEvent(event);
      },
      host: {
        bind: (made) => {
          for (const binding of made) this.#bindings.set(`${binding.module}.${binding.slot}`, binding);
          for (const binding of made) this.#host(binding)?.bind(hostBinding(binding));
        },
        unbind: () => undefined,
        request: (binding, operation, numbers, bytes, capacity) =>
          this.#request(binding, operation, numbers, bytes, capacity),
      },
      stuckMs: 2000,
    });
  }

  /** @param plant a fault of the neighbours' own, which must be found: every hundredth number is left out */
  static async start(plant?: "gap"): Promise<System> {
    const devices = await configureDevices(
      { devices: DEVICES },
      {
        event: () => true,
        status: () => undefined,
        log: () => undefined,
        ask: () => Promise.resolve(null),
        fail: (reason) => {
          throw new Error(String(reason));
        },
      },
    );
    const system = new System(devices);
    await system.kernel.start([
      { name: "victims", heapMiB: 64 },
      { name: "neighbours", heapMiB: 64 },
    ]);
    await system.#loadVictims();
    await system.#loadNeighbours(plant === "gap" ? leaveNumbersOut(SOURCE) : SOURCE);
    await system.#loadFeeders();
    system.kernel.begin();
    return system;
  }

  async stop(): Promise<void> {
    await this.kernel.stop();
  }

  victim(name: string): Victim {
    const found = this.victims.find((victim) => victim.name === name);
    if (found === undefined) throw new RangeError(`no victim ${name}`);
    return found;
  }

  /** Takes a victim away and loads it anew, without state. */
  async reload({ name, spec, admitted }: Victim): Promise<void> {
    this.kernel.unload(name);
    this.#status.set(name, "failed");
    this.kernel.load(spec, admitted);
    this.kernel.begin(name);
    await this.rest(name);
  }

  /** Sends a payload to a victim's port, so many times. */
  feed(victim: Victim, port: string, payload: Uint8Array, count = 1, from: Feeder = "feeder-near"): void {
    this.#event(from, victim, port, 0, count, payload);
  }

  /** Sends words to a victim's injection port. */
  inject(victim: Victim, words: readonly number[], from: Feeder = "feeder-near"): void {
    this.feed(victim, "inject", new Uint8Array(Uint32Array.from(words).buffer), 1, from);
  }

  /** Calls the victim after everything that was fed before. @returns the result code of the call, undefined where none came. */
  async barrier(victim: Victim, from: Feeder = "feeder-near"): Promise<number | undefined> {
    const answer = new Promise<number>((resolve) => this.#answers.push(resolve));
    this.#event(from, victim, "inject", 1, 1, new Uint8Array(Uint32Array.of(INJECT.nothing, 0).buffer));
    return await within(answer, WAIT_MS);
  }

  /** An event from the outside, to the slot of a victim that has one. */
  event(victim: Victim, slot: string, payload: Uint8Array): void {
    const binding = this.#bindings.get(`${victim.name}.${slot}`);
    if (binding !== undefined) this.kernel.event(binding.id, payload);
  }

  statusOf(module: string): "running" | "failed" | "held" {
    return this.#status.get(module) ?? "running";
  }

  /** Resolves when the module runs or is held. @returns undefined where it does neither in time. */
  async rest(module: string): Promise<"running" | "held" | undefined> {
    return await this.#until(() => {
      const status = this.statusOf(module);
      return status === "failed" ? undefined : status;
    });
  }

  /** Resolves when every partition that was lost has been replaced, and every module runs again or is held. */
  async replaced(before: number): Promise<boolean> {
    const done = await this.#until(() =>
      this.#lost > before && this.#replaced >= this.#lost && ![...this.#status.values()].includes("failed")
        ? true
        : undefined,
    );
    return done === true;
  }

  get lostPartitions(): number {
    return this.#lost;
  }

  #event(from: Feeder, victim: Victim, port: string, operation: number, count: number, payload: Uint8Array): void {
    const event = new Uint8Array(8 + payload.length);
    const view = new DataView(event.buffer);
    view.setUint16(0, victim.links.get(port) ?? 0xffff, true);
    view.setUint16(2, operation, true);
    view.setUint32(4, count, true);
    event.set(payload, 8);
    const binding = this.#bindings.get(`${from}.events`);
    if (binding !== undefined) this.kernel.event(binding.id, event);
  }

  async #loadVictims(): Promise<void> {
    const names = readdirSync(MODULES).flatMap((file) => (file.endsWith(".wasm") ? [file.slice(0, -5)] : []));
    let link = 0;
    for (const name of names.filter((each) => !LEFT_OUT.has(each)).sort()) {
      const original = new Uint8Array(readFileSync(join(MODULES, `${name}.wasm`)));
      const binary = withInjection(original);
      const { manifest } = inspectModule(binary);
      const spec = moduleSpec(name, grantsOf(name, manifest), {
        ...CHANGES,
        partition: "victims",
        checkpointMessages: manifest.state > 0 ? 4 : 0,
        memoryPages: manifest.memory + 4,
      });
      const links = new Map(manifest.ports.map((port) => [port.name, link++]));
      this.victims.push({ name, manifest, binary, spec, links, admitted: await admitModule(binary, spec) });
    }
    for (const { spec, admitted } of this.victims) this.kernel.load(spec, admitted);
  }

  async #loadNeighbours(source: string): Promise<void> {
    const timer: Grant = { slot: "timer", interface: "timer", rights: ["use"], parameters: {} };
    for (const [pair, at, to] of PAIRS) {
      const route = (slot: string, port: string, rights: readonly ("send" | "call")[]): Grant => ({
        slot,
        interface: "endpoint",
        to: [{ module: `sink-${pair}`, port }],
        rights,
        badge: 1,
        depth: 64,
        overflow: "refuse",
      });
      await this.#load(`sink-${pair}`, SINK, [REPORT], {
        ports: [IN_PORT, { ...IN_PORT, name: "ask" }],
        slots: { report: REPORT_SLOT },
        partition: to,
      });
      await this.#load(
        `source-${pair}`,
        source,
        [REPORT, timer, route("out", "in", ["send"]), route("ask", "ask", ["call"])],
        {
          ports: [{ ...IN_PORT, name: "tick" }],
          slots: {
            report: REPORT_SLOT,
            timer: { interface: "timer", rights: ["use"], port: "tick" },
            out: { interface: "endpoint", rights: ["send"], port: null },
            ask: { interface: "endpoint", rights: ["call"], port: null },
          },
          partition: at,
        },
      );
      this.beats.set(`sink-${pair}`, 0);
    }
  }

  async #loadFeeders(): Promise<void> {
    const ports = this.victims.flatMap(({ name, links }) => [...links.keys()].map((port) => ({ module: name, port })));
    const grants = ports.map(
      (to, index): Grant => ({
        slot: `t${index}`,
        interface: "endpoint",
        to: [to],
        rights: ["send", "call"],
        badge: 3,
        depth: 64,
        overflow: "refuse",
      }),
    );
    const slots = Object.fromEntries(
      ports.map((_, index) => [`t${index}`, { interface: "endpoint", rights: ["send", "call"], port: null }]),
    );
    for (const name of FEEDERS) {
      await this.#load(
        name,
        feeder(ports.length),
        [
          REPORT,
          { slot: "events", interface: "uart", rights: ["read"], parameters: { path: "/dev/feeder" } },
          ...grants,
        ],
        {
          ports: [IN_PORT],
          slots: { report: REPORT_SLOT, events: { interface: "uart", rights: ["read"], port: "in" }, ...slots },
          partition: name === "feeder-near" ? "victims" : "neighbours",
          inbox: 32_768,
        },
      );
    }
  }

  async #load(
    name: string,
    wat: string,
    grants: readonly Grant[],
    {
      partition,
      ...fields
    }: Pick<ReturnType<typeof manifestFields>, "ports" | "slots"> & { partition: string; inbox?: number },
  ): Promise<void> {
    const spec = moduleSpec(name, [...grants], { partition, priority: 2, activationMs: 20_000 });
    const manifest = manifestFields(name, { ...fields, fuel: 10_000_000 });
    this.kernel.load(spec, await admitModule(moduleBinary(wat, manifest), spec));
  }

  #host(binding: ResourceBinding): HostSetup["interfaces"][keyof HostSetup["interfaces"]] {
    return ["i2c-device", "spi-device", "gpio-line"].includes(binding.interface)
      ? this.#devices.interfaces[binding.interface]
      : undefined;
  }

  async #request(
    binding: ResourceBinding,
    operation: string,
    numbers: readonly number[],
    bytes: readonly Uint8Array[],
    capacity: number,
  ): Promise<HostReply> {
    if (binding.slot === "report") return this.#onReport(binding.module, bytes[0] ?? NOTHING);
    const answer = async (): Promise<HostReply> => {
      const host = this.#host(binding);
      if (host !== undefined) {
        const { signal } = this.#abort;
        const request = { binding: hostBinding(binding), operation, numbers, bytes, capacity, signal };
        const reply = await host.request(request);
        return { result: reply.result, bytes: reply.bytes ?? NOTHING };
      }
      // A DS18B20 takes 750 ms to convert, which would be most of the campaign.
      if (binding.interface === "onewire") return { result: SCRATCHPAD.length, bytes: SCRATCHPAD };
      const text = FILES[binding.slot];
      if (text === undefined) return { result: 0, bytes: NOTHING };
      const content = new TextEncoder().encode(text).subarray(0, capacity);
      return { result: content.length, bytes: content };
    };
    const perturbation = this.perturbations.get(binding.module)?.shift();
    return perturbation === undefined ? await answer() : await perturbation(await answer());
  }

  #onReport(module: string, bytes: Uint8Array): HostReply {
    const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const first = words.getInt32(0, true);
    if (module.startsWith("feeder-")) this.#answers.shift()?.(first);
    else if (first === 0) this.beats.set(module, (this.beats.get(module) ?? 0) + 1);
    else {
      const [due, came] = [words.getInt32(4, true), words.getInt32(8, true)];
      const isOfLoss = first === 1 && due === RESULT["dead-peer"] && this.expectsLoss;
      const what = first === 1 ? `a call gave ${due}, answered ${came}` : `${due} was due, ${came} came`;
      if (!isOfLoss) this.disturbances.push({ module, what });
    }
    return { result: 0, bytes: NOTHING };
  }

  #onEvent(event: KernelEvent): void {
    if ("module" in event) this.#onModuleEvent(event);
    else if (event.type === "partition-lost") {
      this.#lost++;
      if (!this.expectsLoss) this.disturbances.push({ module: event.partition, what: `lost: ${event.reason}` });
    } else if (event.type === "partition-replaced") this.#replaced++;
    for (const waiter of this.#waiters) waiter();
  }

  #onModuleEvent(event: Extract<KernelEvent, { module: string }>): void {
    const { module, type } = event;
    const isVictim = this.victims.some(({ name }) => name === module);
    if (type === "loaded" || type === "restarted") this.#status.set(module, "running");
    if (type === "swap-reverted") this.#status.set(module, "running");
    if (type === "held") this.#status.set(module, "held");
    if (type === "fault") this.#status.set(module, "failed");
    if (type !== "fault" && type !== "denied" && type !== "swap-reverted") return;
    const cause = type === "denied" ? "denied" : event.cause;
    if (isVictim) this.effects.push({ module, cause });
    else this.disturbances.push({ module, what: `${type}: ${"text" in event ? event.text : cause}` });
  }

  async #until<Result>(probe: () => Result | undefined): Promise<Result | undefined> {
    const found = probe();
    if (found !== undefined) return found;
    return await within(
      new Promise<Result>((resolve) => {
        const waiter = (): void => {
          const result = probe();
          if (result === undefined) return;
          this.#waiters.delete(waiter);
          resolve(result);
        };
        this.#waiters.add(waiter);
      }),
      WAIT_MS,
    );
  }
}

export const FEEDERS = ["feeder-near", "feeder-far"] as const;
export type Feeder = (typeof FEEDERS)[number];

async function within<Result>(promise: Promise<Result>, milliseconds: number): Promise<Result | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, milliseconds, undefined);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

function hostBinding(binding: ResourceBinding): HostBinding {
  return { ...binding, owner: `${binding.module}.${binding.slot}` };
}

function grantsOf(module: string, manifest: Manifest): Grant[] {
  return [...manifest.slots].map(([slot, { interface: interfaceName, rights }]): Grant => {
    if (interfaceName === "endpoint") {
      const to = (ROUTES[slot] ?? []).map((route) => {
        const [target = "", port = ""] = route.split(".");
        return { module: target, port };
      });
      return { slot, interface: "endpoint", to, rights: ["send"], badge: 1, depth: 64, overflow: "drop-oldest" };
    }
    const common = { slot, interface: interfaceName, rights: [...rights] };
    if (interfaceName === "mqtt") return { ...common, parameters: { publish: ["#"], subscribe: ["#"] } };
    if (interfaceName === "file") return { ...common, parameters: { path: `/proc/${slot}` } };
    const isDevice = ["i2c-device", "spi-device", "gpio-line"].includes(interfaceName);
    return { ...common, parameters: isDevice ? (PARAMETERS[module] ?? {}) : {} };
  });
}

/** Messages that the ports take, by contract; a port without one takes anything. */
export const SAMPLES: Readonly<Record<string, readonly Uint8Array[]>> = Object.freeze({
  readings: [0, 1, 2].map((sequence) =>
    encodeCbor(
      new Map<string, CborInput>([
        ["sensor", "bme280"],
        ["sequence", sequence],
        ["quantity", "temperature"],
        ["value", 20.5 + sequence * 10],
        ["unit", "Cel"],
        ["time", 1_700_000_000_000],
      ]),
    ),
  ),
  switches: [encodeCbor(new Map([["on", true]])), encodeCbor(new Map([["on", false]]))],
  settings: [encodeCbor(new Map<string, CborInput>([["period", 5000]])), encodeCbor(new Map([["high", 25.5]]))],
  alarms: [
    encodeCbor(
      new Map<string, CborInput>([
        ["sensor", "bme280"],
        ["quantity", "temperature"],
        ["state", "raised"],
        ["value", 30.5],
        ["limit", 25.5],
        ["count", 1],
        ["time", 1_700_000_000_000],
      ]),
    ),
  ],
  none: [encodeCbor([1, 2, 3]), encodeCbor("tick"), new Uint8Array(0)],
});
