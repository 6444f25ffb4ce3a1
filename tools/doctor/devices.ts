/** Checks of buses: which are there, who answers on them, and whether what the configuration grants is among them. */
import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { GatewayConfiguration } from "../../gateway/config/index.ts";
import type { Finding } from "./finding.ts";
import { failure, ok, warning } from "./finding.ts";

export interface DeviceSurroundings {
  /** `/dev` and `/sys`, or what stands for them. */
  readonly dev: string;
  readonly sys: string;
  /** The I2C addresses that answer on a bus, or why nobody was asked. @throws an Error whose message says what is wrong */
  readonly scan: (path: string) => readonly number[] | string;
}

/** How each kind of node is named, whose group it is, and what switches it on. */
const KINDS = [
  {
    kind: "i2c",
    pattern: /^i2c-(\d+)$/,
    group: "i2c",
    enable: "sudo raspi-config nonint do_i2c 0 (dtparam=i2c_arm=on)",
  },
  {
    kind: "spi",
    pattern: /^spidev(\d+)\.\d+$/,
    group: "spi",
    enable: "sudo raspi-config nonint do_spi 0 (dtparam=spi=on)",
  },
  { kind: "gpio", pattern: /^gpiochip(\d+)$/, group: "gpio", enable: "a kernel with the GPIO character device" },
  {
    kind: "uart",
    pattern: /^tty(AMA|USB|ACM)\d+$/,
    group: "dialout",
    enable: "sudo raspi-config nonint do_serial_hw 0 (enable_uart=1)",
  },
] as const;

export function checkDevices(configuration: GatewayConfiguration | undefined, around: DeviceSurroundings): Finding[] {
  const nodes = existsSync(around.dev) ? readdirSync(around.dev) : [];
  const found = KINDS.flatMap((kind) =>
    nodes
      .filter((name) => kind.pattern.test(name))
      .sort()
      .map((name) => checkNode(kind, name, around)),
  );
  const oneWire = checkOneWire(around.sys);
  const granted = configuration === undefined ? [] : checkGrants(configuration, around);
  const all = [...found, ...oneWire, ...granted];
  return all.length > 0 ? all : [ok("devices", "no I2C, SPI, GPIO, serial or 1-Wire device here; simulators stand in")];
}

function checkNode({ kind, group }: (typeof KINDS)[number], name: string, { dev, scan }: DeviceSurroundings): Finding {
  const path = join(dev, name);
  if (!isUsable(path)) {
    const remedy = `sudo usermod --append --groups ${group} $USER, then log in anew; the service's user is in it`;
    return warning(name, `${path} may not be used by this user`, remedy);
  }
  if (kind !== "i2c") return ok(name, path);
  try {
    const answering = scan(path);
    if (typeof answering === "string") return ok(name, `${path}: ${answering}`);
    return ok(
      name,
      answering.length === 0 ? `${path}: nobody answers` : `${path}: ${answering.map(hexadecimal).join(", ")} answer`,
    );
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return failure(name, text, "look at the wiring: SDA and SCL need pull-ups, and one stuck device blocks all");
  }
}

function checkOneWire(sys: string): Finding[] {
  const folder = join(sys, "bus/w1/devices");
  if (!existsSync(folder)) return [];
  const devices = readdirSync(folder).filter((name) => !name.startsWith("w1_bus"));
  return [ok("onewire", devices.length === 0 ? "nobody answers on 1-Wire" : devices.join(", "))];
}

/** Where a grant's device would be, and what else the bus should answer with. */
interface Needed {
  readonly kind: "i2c" | "spi" | "gpio" | "uart" | "onewire";
  readonly key: string;
  readonly path: string;
  readonly address?: number;
}

function neededBy(
  name: string,
  parameters: Readonly<Record<string, unknown>>,
  around: DeviceSurroundings,
): Needed | undefined {
  const text = (key: string): string => String(parameters[key]);
  switch (name) {
    case "i2c-device":
      return {
        kind: "i2c",
        key: text("bus"),
        path: join(around.dev, `i2c-${text("bus")}`),
        address: Number(parameters["address"]),
      };
    case "spi-device":
      return { kind: "spi", key: text("bus"), path: join(around.dev, `spidev${text("bus")}.${text("chip")}`) };
    case "gpio-line":
      return { kind: "gpio", key: text("chip"), path: join(around.dev, `gpiochip${text("chip")}`) };
    case "uart":
      return { kind: "uart", key: text("device"), path: text("device").replace(/^\/dev\//, `${around.dev}/`) };
    case "onewire":
      return { kind: "onewire", key: "", path: join(around.sys, "bus/w1/devices", text("device")) };
    default:
      return undefined;
  }
}

function checkGrants(configuration: GatewayConfiguration, around: DeviceSurroundings): Finding[] {
  return configuration.system.modules.flatMap(({ name, grants }) =>
    grants.flatMap((grant) => {
      if (grant.interface === "endpoint") return [];
      const needed = neededBy(grant.interface, grant.parameters, around);
      if (needed === undefined) return [];
      const backend = backendOf(configuration, needed);
      return backend === "simulator" ? [] : checkNeeded(`${name}.${grant.slot}`, needed, backend, around);
    }),
  );
}

function backendOf({ devices }: GatewayConfiguration, { kind, key }: Needed): string {
  const buses = devices[kind] as Readonly<Record<string, unknown>> | undefined;
  const bus = (kind === "onewire" ? buses : buses?.[key]) as { readonly backend?: unknown } | undefined;
  return typeof bus?.backend === "string" ? bus.backend : "auto";
}

function checkNeeded(
  slot: string,
  { kind, path, address }: Needed,
  backend: string,
  { scan }: DeviceSurroundings,
): Finding[] {
  if (!existsSync(path)) {
    const enable =
      KINDS.find((entry) => entry.kind === kind)?.enable ?? "dtoverlay=w1-gpio in /boot/firmware/config.txt";
    const remedy = `connect it, or switch the bus on and reboot: ${enable}`;
    const text = `${slot} needs ${path}, which is not there`;
    return [
      backend === "linux" ? failure(slot, text, remedy) : warning(slot, `${text}: a simulator stands in`, remedy),
    ];
  }
  if (address === undefined || !isUsable(path)) return [];
  try {
    const answering = scan(path);
    if (typeof answering === "string" || answering.includes(address)) return [];
    const remedy = "look at its wiring and its address pins; `i2cdetect -y` of i2c-tools shows the same";
    return [failure(slot, `nobody answers at ${hexadecimal(address)} on ${path}`, remedy)];
  } catch {
    // The bus itself has its own finding.
    return [];
  }
}

function isUsable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function hexadecimal(address: number): string {
  return `0x${address.toString(16).padStart(2, "0")}`;
}

/** True where Linux says that a time server has been reached; undefined where it does not say. */
export function clockIsSynchronized(run = "/run"): boolean | undefined {
  if (existsSync(join(run, "systemd/timesync/synchronized"))) return true;
  return existsSync(join(run, "systemd/timesync")) ? false : undefined;
}

/** The model of the board, on those that know it. */
export function boardModel(file = "/proc/device-tree/model"): string | undefined {
  return existsSync(file) ? readFileSync(file, "utf8").replaceAll("\0", "").trim() : undefined;
}
