/** The permission model's flags for the core: files, workers and its two child processes; no network, no FFI, no addons. */
export const CORE_FLAGS = Object.freeze([
  "--permission",
  "--allow-fs-read=*",
  "--allow-fs-write=*",
  "--allow-child-process",
  "--allow-worker",
  "--disable-warning=SecurityWarning",
]);
