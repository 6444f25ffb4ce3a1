/** Serial lines as the device process sees them: a port that is opened and re-opened, and the interface host of `uart`. */
import { Refusal, RESULT } from "../../kernel/index.ts";
import { failed } from "../wire/host-process.ts";
import type { HostAnswer, HostPort, HostRequest, InterfaceHost } from "../wire/host-process.ts";
import type { HostBinding } from "../wire/protocol.ts";
import { DeviceFailure } from "./failure.ts";

export interface SerialFormat {
  readonly dataBits: 5 | 6 | 7 | 8;
  readonly parity: "none" | "even" | "odd";
  readonly stopBits: 1 | 2;
}

export interface SerialSettings extends SerialFormat {
  readonly path: string;
  readonly baud: number;
}

export interface SerialEvents {
  readonly onBytes: (bytes: Uint8Array) => void;
  /** The line is gone (unplugged), with the reason. */
  readonly onClosed: (reason: string) => void;
}

/** A serial line that is open. */
export interface SerialLine {
  /** Resolves when the driver has the bytes. @throws DeviceFailure */
  write(bytes: Uint8Array): Promise<void>;
  close(): void;
}

/** @throws DeviceFailure not-found, denied, busy, io */
export type OpenSerial = (settings: SerialSettings, events: SerialEvents) => Promise<SerialLine>;

/** What stands behind the lines of one path. */
export interface SerialBackend {
  readonly description: string;
  readonly open: OpenSerial;
}

const FORMAT = /^([5-8])([NEO])([12])$/;
const PARITY = { N: "none", E: "even", O: "odd" } as const;
/** How often a line that was unplugged, or is not there yet, is looked for. */
const REOPEN_MS = 1000;
/** One event: what a fast line brings in some milliseconds. */
const EVENT_BYTES = 4096;

/** One bound line. `isGap` remembers that bytes were lost since the last event, so that framing is never silently wrong. */
class Port {
  readonly #binding: HostBinding;
  readonly #settings: SerialSettings;
  readonly #open: OpenSerial;
  readonly #port: HostPort;
  #line: SerialLine | undefined;
  #retry: NodeJS.Timeout | undefined;
  #isGap = false;
  #isClosed = false;
  #saidReason = "";

  constructor(binding: HostBinding, settings: SerialSettings, open: OpenSerial, port: HostPort) {
    this.#binding = binding;
    this.#settings = settings;
    this.#open = open;
    this.#port = port;
    void this.#connect();
  }

  get line(): SerialLine | undefined {
    return this.#line;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#retry);
    this.#line?.close();
    this.#line = undefined;
  }

  async #connect(): Promise<void> {
    try {
      const line = await this.#open(this.#settings, {
        onBytes: (bytes) => {
          this.#receive(bytes);
        },
        onClosed: (reason) => {
          this.#lost(reason);
        },
      });
      if (this.#isClosed) {
        line.close();
        return;
      }
      this.#line = line;
      if (this.#saidReason !== "") this.#port.log(2, `${this.#binding.owner}: ${this.#settings.path} is back`);
      this.#saidReason = "";
    } catch (error) {
      this.#lost(error instanceof Error ? error.message : String(error));
    }
  }

  #lost(reason: string): void {
    if (this.#line !== undefined) this.#isGap = true;
    this.#line = undefined;
    if (this.#isClosed) return;
    if (reason !== this.#saidReason) this.#port.log(1, `${this.#binding.owner}: ${reason}`);
    this.#saidReason = reason;
    this.#retry = setTimeout(() => void this.#connect(), REOPEN_MS);
  }

  #receive(bytes: Uint8Array): void {
    if (!this.#binding.rights.includes("read")) return;
    for (let at = 0; at < bytes.length; at += EVENT_BYTES) this.#deliver(bytes.subarray(at, at + EVENT_BYTES));
  }

  #deliver(bytes: Uint8Array): void {
    if (this.#isGap) this.#isGap = !this.#port.event(this.#binding.id, null);
    if (!this.#isGap) this.#isGap = !this.#port.event(this.#binding.id, bytes);
  }
}

export class UartHost implements InterfaceHost {
  readonly #open: (path: string) => OpenSerial;
  readonly #port: HostPort;
  readonly #ports = new Map<number, Port>();
  readonly #owners = new Map<string, HostBinding>();

  /** `open` says how lines of that path are opened. */
  constructor(open: (path: string) => OpenSerial, port: HostPort) {
    this.#open = open;
    this.#port = port;
  }

  bind(binding: HostBinding): void {
    const settings = serialSettings(binding);
    const owner = this.#owners.get(settings.path);
    if (owner !== undefined) {
      throw new Refusal("E_BUSY", `${settings.path} is bound to ${owner.owner} already`, {
        hint: "let one module own the line and send to it",
      });
    }
    this.#owners.set(settings.path, binding);
    this.#ports.set(binding.id, new Port(binding, settings, this.#open(settings.path), this.#port));
  }

  unbind({ id, parameters }: HostBinding): void {
    this.#ports.get(id)?.close();
    if (this.#ports.delete(id)) this.#owners.delete(String(parameters["device"]));
  }

  async request({ binding, bytes }: HostRequest): Promise<HostAnswer> {
    const line = this.#ports.get(binding.id)?.line;
    const [out = new Uint8Array()] = bytes;
    if (line === undefined) return failed("not-found");
    try {
      if (out.length > 0) await line.write(out);
      return { result: out.length };
    } catch (error) {
      if (error instanceof DeviceFailure) return { result: RESULT[error.result] };
      throw error;
    }
  }

  stop(): Promise<void> {
    for (const port of this.#ports.values()) port.close();
    return Promise.resolve();
  }
}

function serialSettings({ parameters }: HostBinding): SerialSettings {
  const { device, baud, format = "8N1" } = parameters;
  if (typeof device !== "string" || !device.startsWith("/dev/") || device.split("/").includes("..")) {
    throw new Refusal("E_CONFIG", "not the path of a serial device", { found: String(device) });
  }
  if (typeof baud !== "number" || !Number.isInteger(baud) || baud < 50 || baud > 4_000_000) {
    throw new Refusal("E_CONFIG", "not a number of bits a second", { found: String(baud) });
  }
  const [, dataBits, parity, stopBits] = FORMAT.exec(String(format)) ?? [];
  if (dataBits === undefined || stopBits === undefined || (parity !== "N" && parity !== "E" && parity !== "O")) {
    throw new Refusal("E_CONFIG", "not a serial format", { expected: "like 8N1", found: String(format) });
  }
  // SAFETY: FORMAT allows 5 to 8 and 1 or 2 only.
  return {
    path: device,
    baud,
    dataBits: Number(dataBits) as SerialFormat["dataBits"],
    parity: PARITY[parity],
    stopBits: Number(stopBits) as SerialFormat["stopBits"],
  };
}
