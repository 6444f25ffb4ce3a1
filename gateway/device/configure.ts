/** Makes the interface hosts of the device process from its settings, and says which backend each bus has got. */
import { existsSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { Refusal } from "../../kernel/index.ts";
import type { HostPort, HostTable } from "../wire/host-process.ts";
import { FileHost } from "./file.ts";
import { I2cHost, SharedI2cBus } from "./i2c.ts";
import type { I2cBus } from "./i2c.ts";
import { parseDeviceSettings } from "./settings.ts";
import type { BusSettings } from "./settings.ts";
import { makeI2cChip } from "./simulator/chips.ts";
import { FaultScript } from "./simulator/faults.ts";
import { SimulatedI2cBus } from "./simulator/i2c-bus.ts";

/** @throws Refusal E_CONFIG */
export function configureDevices(settings: unknown, port: HostPort): Promise<HostTable> {
  const { i2c } = parseDeviceSettings(settings);
  const named = new Map(i2c.map((bus) => [bus.number, makeI2cBus(bus, port)]));
  const i2cHost = new I2cHost(
    (number) => named.get(number) ?? makeI2cBus({ number, backend: "auto", simulate: [] }, port),
  );
  return Promise.resolve({ file: new FileHost(), "i2c-device": i2cHost });
}

function makeI2cBus(settings: BusSettings, port: HostPort): SharedI2cBus {
  const name = `i2c-${settings.number}`;
  const path = `/dev/${name}`;
  const isThere = existsSync(path);
  const bus =
    settings.backend === "simulator" || (settings.backend === "auto" && !isThere) ? simulate(settings) : linux(path);
  const reason = settings.backend === "auto" && !isThere ? `; ${path} is not there` : "";
  port.status("bus", `${name}: ${bus.description}${reason}`);
  return new SharedI2cBus(name, bus);
}

function simulate({ simulate: devices }: BusSettings): I2cBus {
  const now = () => performance.now();
  const chips = devices.map((device) => ({
    address: device.address,
    chip: makeI2cChip(device, now),
    faults: new FaultScript(device.faults),
  }));
  return new SimulatedI2cBus(chips, now);
}

function linux(path: string): I2cBus {
  throw new Refusal("E_CONFIG", `${path} cannot be opened yet: this version simulates I2C only`, {
    hint: "set backend: simulator",
  });
}
