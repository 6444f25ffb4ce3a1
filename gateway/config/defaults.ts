/** What holds where the configuration is silent, each with its reason. */
import { type InterfaceName, LIMITS, type OverflowPolicy, type RestartPolicy } from "../../kernel/index.ts";

const MiB = 1024 * 1024;

/** WebAssembly's unit of memory. */
export const PAGE_BYTES = 64 * 1024;

export const DEFAULTS = Object.freeze({
  /** The name of the partition where the file has none: one worker is enough for a first gateway. */
  partition: "main",
  /** JavaScript heap of a partition: the kernel runtime with a hundred modules needs about half of it. */
  heapBytes: 64 * MiB,
  /** In the middle of 0 to 7, so that a module can be put above or below those that say nothing. */
  priority: 3,
  /** Memory of a module: an AssemblyScript driver needs a quarter of it. */
  memoryBytes: 1 * MiB,
  /** Memory of all modules and partition heaps: fits the smallest 64-bit Raspberry Pi with 2 GiB beside the system. */
  gatewayMemoryBytes: 1024 * MiB,
  /** Every Raspberry Pi that runs 64-bit has four. */
  cores: 4,
  /** Fuel that one core burns in a second: the slice of 200 µs, 5,000 times (`LIMITS.sliceFuel`, before calibration). */
  coreFuelPerSecond: LIMITS.sliceFuel * 5000,
  /** Short beside a person's patience, long beside a slice. */
  periodMs: 100,
  /** A module without `fuel:` has an equal share of what its partition has left, and no more than half a core. */
  largestShare: 0.5,
  /** Less than this in a period and a module cannot start: its partition is overcommitted. */
  smallestFuelPerPeriod: 10_000,
  /** Wall-clock limit, waiting included: a handler may wait for a slow device, but not for ever. */
  activationMs: 60_000,
  /** State is not saved unless asked: most drivers have none. */
  checkpointMessages: 0,
  /** A failure that cannot be run again is a failure that comes back. */
  record: true,
  /** A driver that meets a broken sensor fails again at once; five in a minute is not a passing disturbance. */
  restart: Object.freeze({
    policy: "restart" satisfies RestartPolicy,
    intensity: 5,
    windowMs: 60_000,
    backoffMs: 10,
    maximumBackoffMs: 30_000,
  }),
  /** Of an endpoint: the weakest right. `call` can wait and `pass` can spread, so both are written down. */
  endpointRights: Object.freeze(["send"] as const),
  /** The badge of a route that needs none. */
  badge: 0,
  /** As deep as a mailbox is where nothing is said. */
  depth: LIMITS.mailboxDepth,
  /** The sender learns at once that nobody keeps up. */
  overflow: "refuse" satisfies OverflowPolicy,
  /** Bytes that a store slot may hold: settings and counters, not history. */
  storeQuotaBytes: 64 * 1024,
  /** SPI mode 0 and 1 MHz: what nearly every converter takes. */
  spiMode: 0,
  spiFrequency: 1_000_000,
  uartFormat: "8N1",
  /** An input reports no edges unless asked. */
  edges: "none",
  /** Shorter than the time-out of most NAT tables. */
  keepAliveMs: 30_000,
  /** Telemetry kept on disk while the broker is away: a day of a reading a second at 500 bytes, and some. */
  bufferBytes: 64 * MiB,
  /** Loopback: whoever wants the console elsewhere says so, with TLS. */
  consoleAddress: "127.0.0.1",
} as const);

/**
 * Rights of a grant that names none. Where a binding already says what is meant (a direction, a list of filters), the rights
 * follow it: see `grants.ts`. A file is read unless `write` is written down.
 */
export const DEFAULT_RIGHTS: Readonly<Record<Exclude<InterfaceName, "endpoint">, readonly string[]>> = Object.freeze({
  handles: ["use"],
  timer: ["use"],
  clock: ["use"],
  random: ["use"],
  log: ["write"],
  store: ["read", "write"],
  file: ["read"],
  "i2c-device": ["read", "write"],
  "spi-device": ["read", "write"],
  "gpio-line": ["read"],
  uart: ["read", "write"],
  onewire: ["read"],
  mqtt: [],
  http: ["request"],
});
