/** What Node's permission model allows each host process, derived from what is bound to it and from nothing else. */
import type { HostBinding } from "./protocol.ts";

/** What Node's permission model lets the process do. Reading its own code is always allowed. */
export interface HostPermissions {
  readonly readable: readonly string[];
  readonly writable: readonly string[];
  readonly network: boolean;
  readonly ffi: boolean;
  /** Native addons, which `serialport` needs. */
  readonly addons: boolean;
  readonly workers: boolean;
}

/** Where the new content of a file is written before it takes the file's place. */
export function replacementPath(path: string): string {
  return `${path}.bulkhead-new`;
}

/**
 * The device process: the granted files, the devices below /dev and /sys, and native calls. Native calls reach past this
 * model; systemd's device allow-list and system-call filter are what bind them.
 */
export function devicePermissions(bindings: readonly HostBinding[]): HostPermissions {
  const files = bindings.filter((binding) => binding.interface === "file");
  const paths = (right: string) =>
    files.filter(({ rights }) => rights.includes(right)).map(({ parameters }) => String(parameters["path"]));
  const writable = paths("write").flatMap((path) => [path, replacementPath(path)]);
  const hasUart = bindings.some((binding) => binding.interface === "uart");
  // The loader of serialport's native part looks there for which C library the host has.
  const loader = hasUart ? ["/etc/alpine-release"] : [];
  const readable = ["/dev/*", "/sys/*", ...loader, ...paths("read"), ...writable];
  return {
    readable: [...new Set(readable)],
    writable: ["/dev/*", ...new Set(writable)],
    network: false,
    ffi: true,
    addons: hasUart,
    workers: true,
  };
}

/** The link process: the network, and the folder of its store and forward. `readable` holds TLS certificates and keys. */
export function linkPermissions(dataFolder: string, readable: readonly string[]): HostPermissions {
  return {
    readable: [`${dataFolder}/*`, ...readable],
    writable: [`${dataFolder}/*`],
    network: true,
    ffi: false,
    addons: false,
    workers: false,
  };
}

/** True where a process that has been started with `held` needs nothing more for `needed`. */
export function coversPermissions(held: HostPermissions, needed: HostPermissions): boolean {
  const flags = ["network", "ffi", "addons", "workers"] as const;
  const isAmong = (paths: readonly string[], path: string): boolean => paths.includes(path);
  return (
    flags.every((flag) => held[flag] || !needed[flag]) &&
    needed.readable.every((path) => isAmong(held.readable, path)) &&
    needed.writable.every((path) => isAmong(held.writable, path))
  );
}

/** The Node flags under which a host process runs; exported so that a test can hold them against what the process can do. */
export function permissionFlags(root: string, permissions: HostPermissions): string[] {
  const { readable, writable, network, ffi, addons, workers } = permissions;
  const flags = ["--permission", `--allow-fs-read=${root}`];
  flags.push(...readable.map((path) => `--allow-fs-read=${path}`));
  flags.push(...writable.map((path) => `--allow-fs-write=${path}`));
  if (network) flags.push("--allow-net");
  if (ffi) flags.push("--allow-ffi");
  if (addons) flags.push("--allow-addons");
  if (workers) flags.push("--allow-worker");
  const warnings = ["ExperimentalWarning", "SecurityWarning"].map((name) => `--disable-warning=${name}`);
  return [...flags, ...warnings];
}
