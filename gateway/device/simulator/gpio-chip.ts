/** A simulated GPIO chip: lines with buttons that are pressed and bounce, and wires from one line to another. */
import { DeviceFailure } from "../failure.ts";
import type { GpioChip, GpioLine, Level, LineRequest } from "../gpio.ts";
import { badSetting, integerSetting, numberSetting, record } from "../settings.ts";
import type { SimulatedDevice } from "../settings.ts";
import type { SimulatedPart } from "../../wire/protocol.ts";

/** As many as the header of a Raspberry Pi has on its first chip. */
const LINES = 54;
/** Bounces of a cheap button settle within so long. */
const BOUNCE_MS = 4;

/** By chip; a contact has no faults but its bounces. */
const OPTIONS: Readonly<Record<string, readonly string[]>> = Object.freeze({
  button: ["line", "period", "held", "bounces", "active-low"],
  wire: ["from", "to"],
});

interface Line {
  level: Level;
  requests: LineRequest[];
  /** Lines that a wire leads to. */
  wires: number[];
  /** The simulated device at it, or nothing. */
  name: string;
}

export class SimulatedGpioChip implements GpioChip {
  readonly #lines: readonly Line[] = Array.from({ length: LINES }, () => ({
    level: 0,
    requests: [],
    wires: [],
    name: "",
  }));
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #nanoseconds: () => bigint;
  readonly #names: string[] = [];

  /** @throws Refusal E_CONFIG */
  constructor(devices: readonly SimulatedDevice[], nanoseconds: () => bigint = () => process.hrtime.bigint()) {
    this.#nanoseconds = nanoseconds;
    for (const device of devices) this.#attach(device);
  }

  get description(): string {
    return `simulator (${this.#names.join(", ") || `${LINES} open lines`})`;
  }

  request(request: LineRequest): Promise<GpioLine> {
    const line = this.#lines[request.line];
    if (line === undefined) return Promise.reject(new DeviceFailure("not-found", `there is no line ${request.line}`));
    if (line.requests.length > 0) return Promise.reject(new DeviceFailure("busy", `line ${request.line} is in use`));
    line.requests.push(request);
    return Promise.resolve({
      get: () => Promise.resolve(line.level),
      set: (level) => {
        this.drive(request.line, level);
        return Promise.resolve();
      },
      release: () => {
        line.requests = line.requests.filter((other) => other !== request);
      },
    });
  }

  /** Puts a line to a level, as a wire or a button would, and tells who waits for that edge. */
  drive(number: number, level: Level): void {
    const line = this.#lines[number];
    if (line === undefined || line.level === level) return;
    line.level = level;
    const now = this.#nanoseconds();
    for (const request of line.requests) if (isWanted(request, level)) request.onEdge(level, now);
    for (const other of line.wires) this.drive(other, level);
  }

  /** The lines that something is at: a button, a wire, or a module that asked for one. */
  parts(): SimulatedPart[] {
    return this.#lines.flatMap(({ level, requests, name }, line) =>
      name === "" && requests.length === 0
        ? []
        : [{ device: String(line), chip: name === "" ? "line" : name, quantities: { level }, faults: [] }],
    );
  }

  /** By line: quantity `level` is 0 or 1, at once and without bounce. */
  simulate(number: string, quantity: string, script: unknown): boolean {
    if (quantity !== "level" || this.#lines[Number(number)] === undefined) return false;
    if (script !== 0 && script !== 1) throw badSetting("a level is 0 or 1");
    this.drive(Number(number), script);
    return true;
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  #attach(device: SimulatedDevice): void {
    const { chip } = device;
    const keys = Object.hasOwn(OPTIONS, chip) ? OPTIONS[chip] : undefined;
    if (keys === undefined) throw badSetting(`there is no simulator of '${chip}' on GPIO, only of button and wire`);
    record(device, `simulate: ${chip}`, ["chip", ...keys]);
    if (chip === "button") this.#attachButton(device);
    else this.#attachWire(device);
  }

  #attachWire(device: SimulatedDevice): void {
    const [from, to] = [this.#lineSetting(device, "from"), this.#lineSetting(device, "to")];
    this.#lines[from]?.wires.push(to);
    this.#name(from, "wire");
    this.#name(to, "wire");
    this.#names.push(`wire from ${from} to ${to}`);
  }

  /** Pressed every `period` seconds for `held` seconds, with so many bounces at each change; a period of 0 waits for `bulkhead sim`. */
  #attachButton(device: SimulatedDevice): void {
    const line = this.#lineSetting(device, "line");
    const periodMs = 1000 * numberSetting(device["period"], "simulate: button: period", 0, 86_400, 10);
    const heldMs = 1000 * numberSetting(device["held"], "simulate: button: held", 0, 86_400, 0.2);
    const bounces = integerSetting(device["bounces"], "simulate: button: bounces", 0, 20, 3);
    const pressed: Level = device["active-low"] === true ? 0 : 1;
    const state = this.#lines[line];
    if (state !== undefined && pressed === 0) state.level = 1;
    this.#name(line, "button");
    this.#names.push(`button at line ${line}`);
    if (periodMs === 0) return;
    const press = () => {
      this.#bounce(line, pressed, bounces);
      this.#after(heldMs, () => {
        this.#bounce(line, pressed === 1 ? 0 : 1, bounces);
      });
      this.#after(periodMs, press);
    };
    this.#after(periodMs, press);
  }

  /** The contact closes and opens a few times within BOUNCE_MS, and ends at the level. */
  #bounce(line: number, level: Level, bounces: number): void {
    const changes = 2 * bounces + 1;
    for (let change = 0; change < changes; change++) {
      const next: Level = change % 2 === 0 ? level : level === 1 ? 0 : 1;
      this.#after((change * BOUNCE_MS) / changes, () => {
        this.drive(line, next);
      });
    }
  }

  #after(ms: number, work: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      work();
    }, ms);
    // What is simulated keeps no process: one that only looks at the settings ends.
    timer.unref();
    this.#timers.add(timer);
  }

  #name(line: number, name: string): void {
    const state = this.#lines[line];
    if (state !== undefined) state.name = name;
  }

  #lineSetting(device: SimulatedDevice, name: string): number {
    return integerSetting(device[name], `simulate: ${device.chip}: ${name}`, 0, LINES - 1);
  }
}

function isWanted({ edges }: LineRequest, level: Level): boolean {
  return edges === "both" || edges === (level === 1 ? "rising" : "falling");
}
