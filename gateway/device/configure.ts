/** Makes the interface hosts of the device process from its settings, and says which backend each bus has got. */
import { existsSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { Refusal } from "../../kernel/index.ts";
import type { HostPort, HostSetup } from "../wire/host-process.ts";
import type { SimulatedPart } from "../wire/protocol.ts";
import { FileHost } from "./file.ts";
import { GpioHost } from "./gpio.ts";
import type { GpioChip } from "./gpio.ts";
import { I2cHost, SharedI2cBus } from "./i2c.ts";
import type { I2cBus } from "./i2c.ts";
import { OneWireHost } from "./onewire.ts";
import type { OneWireBus } from "./onewire.ts";
import { LinuxI2cBus, LinuxSpiBus } from "./linux/bus-thread.ts";
import { LinuxGpioChip } from "./linux/gpio-chip.ts";
import { LinuxOneWireBus } from "./linux/onewire-bus.ts";
import { openSerialLine } from "./linux/serial-line.ts";
import { parseDeviceSettings, UNNAMED_BUS } from "./settings.ts";
import type { BusSettings, DeviceSettings } from "./settings.ts";
import { makeI2cChip, makeSpiChip } from "./simulator/chips.ts";
import { SimulatedOneWireBus } from "./simulator/ds18b20.ts";
import { SimulatedGpioChip } from "./simulator/gpio-chip.ts";
import { SimulatedI2cBus } from "./simulator/i2c-bus.ts";
import { makeSerialSimulator } from "./simulator/talker.ts";
import { SimulatedSpiBus } from "./simulator/spi-bus.ts";
import { SpiHost } from "./spi.ts";
import type { SpiBus } from "./spi.ts";
import { UartHost } from "./uart.ts";
import type { SerialBackend } from "./uart.ts";

/** Anything that can stand behind a bus number. */
interface Backed {
  readonly description: string;
}

/** A simulator whose parts can be turned live. */
interface Simulator extends Backed {
  parts(): readonly SimulatedPart[];
  simulate(part: string, quantity: string, script: unknown): boolean;
}

/** Where the hardware of a bus would be. */
const PATHS = Object.freeze({
  i2c: (key: string) => `/dev/i2c-${key}`,
  spi: (key: string) => `/dev/spidev${key}.0`,
  gpio: (key: string) => `/dev/gpiochip${key}`,
  uart: (key: string) => key,
  onewire: () => "/sys/bus/w1/devices",
});

/** What one kind of bus needs to be made: where the hardware would be, and both ways of making it. */
interface Kind<Bus extends Backed> {
  readonly path: (key: string) => string;
  readonly linux: (path: string) => Bus;
  readonly simulator: (settings: BusSettings) => Bus & Simulator;
}

const now = () => performance.now();

/** @throws Refusal E_CONFIG */
export function configureDevices(settings: unknown, port: HostPort): Promise<HostSetup> {
  const { i2c, spi, gpio, uart, onewire } = parseDeviceSettings(settings);
  const buses = new Buses(port);
  const i2cBus = buses.kind<I2cBus>("i2c", i2c, {
    path: PATHS.i2c,
    linux: (path) => new LinuxI2cBus(path),
    simulator: ({ simulate }) => new SimulatedI2cBus(simulate.map((device) => makeI2cChip(device, now))),
  });
  const spiBus = buses.kind<SpiBus>("spi", spi, {
    path: PATHS.spi,
    linux: (path) => new LinuxSpiBus(path.replace(/0$/, "")),
    simulator: ({ simulate }) => new SimulatedSpiBus(simulate.map((device) => makeSpiChip(device, now))),
  });
  const gpioChip = buses.kind<GpioChip>("gpio", gpio, {
    path: PATHS.gpio,
    linux: (path) => new LinuxGpioChip(path),
    simulator: ({ simulate }) => new SimulatedGpioChip(simulate),
  });
  const serialLine = buses.kind<SerialBackend>("uart", uart, {
    path: PATHS.uart,
    linux: (path) => ({ description: `linux ${path}`, open: openSerialLine }),
    simulator: ({ simulate }) => makeSerialSimulator(simulate, now),
  });
  const oneWireBus = buses.kind<OneWireBus>("w1", onewire, {
    path: PATHS.onewire,
    linux: (path) => new LinuxOneWireBus(path),
    simulator: ({ simulate }) => new SimulatedOneWireBus(simulate, now),
  });
  const onHung = (text: string) => {
    port.fail(`${text}; the device process ends, to be started anew`);
  };
  return Promise.resolve({
    interfaces: {
      file: new FileHost(),
      "i2c-device": new I2cHost((number) => new SharedI2cBus(`i2c-${number}`, i2cBus(String(number)), onHung)),
      "spi-device": new SpiHost((number) => spiBus(String(number)), onHung),
      "gpio-line": new GpioHost((number) => gpioChip(String(number)), port),
      uart: new UartHost((path) => serialLine(path).open, port),
      onewire: new OneWireHost(() => oneWireBus("bus")),
    },
    simulate: (device, quantity, script) => buses.simulate(device, quantity, script),
    simulators: () => ({ seconds: now() / 1000, parts: buses.parts() }),
  });
}

function isReal({ backend }: BusSettings, path: string): boolean {
  return backend === "linux" || (backend === "auto" && existsSync(path));
}

/** Makes the simulators that these settings mean on this host, and nothing else, so that a mistake shows. @throws Refusal E_CONFIG */
export async function checkSimulators(devices: unknown): Promise<void> {
  const tables = Object.entries(parseDeviceSettings({ devices })) as [keyof typeof PATHS, DeviceSettings["i2c"]][];
  const simulated = tables.map(([kind, table]): [string, unknown] => {
    const buses = [...table].filter(([key, settings]) => !isReal(settings, PATHS[kind](key)));
    return [kind, kind === "onewire" ? buses[0]?.[1] : Object.fromEntries(buses)];
  });
  const port: HostPort = {
    event: () => false,
    status: () => undefined,
    log: () => undefined,
    ask: () => Promise.reject(new Refusal("E_BUSY", "nothing runs")),
    fail: () => undefined,
  };
  await configureDevices({ devices: Object.fromEntries(simulated) }, port);
}

/** Every bus that has been made, by kind and key; those that the settings name are made at once, so that a mistake shows. */
class Buses {
  readonly #port: HostPort;
  readonly #simulators = new Map<string, Simulator>();

  constructor(port: HostPort) {
    this.#port = port;
  }

  kind<Bus extends Backed>(
    name: string,
    settings: ReadonlyMap<string, BusSettings>,
    kind: Kind<Bus>,
  ): (key: string) => Bus {
    const made = new Map<string, Bus>();
    const get = (key: string): Bus => {
      const bus = made.get(key) ?? this.#make(name, key, settings.get(key) ?? UNNAMED_BUS, kind);
      made.set(key, bus);
      return bus;
    };
    for (const key of settings.keys()) get(key);
    return get;
  }

  /** `i2c-1/0x76`, `spi-0/0`, `gpio-0/17`, `uart-/dev/ttyAMA0/1`, `w1-bus/28-…`: the bus, then the part of it. */
  simulate(device: string, quantity: string, script: unknown): boolean {
    const slash = device.lastIndexOf("/");
    return this.#simulators.get(device.slice(0, slash))?.simulate(device.slice(slash + 1), quantity, script) ?? false;
  }

  parts(): SimulatedPart[] {
    return [...this.#simulators].flatMap(([bus, simulator]) =>
      simulator.parts().map((part) => ({ ...part, device: `${bus}/${part.device}` })),
    );
  }

  #make<Bus extends Backed>(name: string, key: string, settings: BusSettings, kind: Kind<Bus>): Bus {
    const path = kind.path(key);
    const isMissing = settings.backend === "auto" && !existsSync(path);
    const label = `${name}-${key}`;
    if (isReal(settings, path)) {
      const bus = kind.linux(path);
      this.#port.status("bus", `${label}: ${bus.description}`);
      return bus;
    }
    const bus = kind.simulator(settings);
    this.#simulators.set(label, bus);
    this.#port.status("bus", `${label}: ${bus.description}${isMissing ? `; ${path} is not there` : ""}`);
    return bus;
  }
}
