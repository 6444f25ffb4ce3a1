/** What tests of modules share: built binaries by name, and decoded maps as plain objects. */
import type { CborInput, CborValue } from "../../kernel/index.ts";
import type { Reading } from "../../tools/testkit/contracts.ts";
import { ModuleHost } from "../../tools/testkit/module-host.ts";
import type { FakeSlot } from "../../tools/testkit/module-host.ts";

/** Path of a module's binary; `tests/global-setup.ts` has built it. */
export const built = (name: string): string => `build/modules/${name}.wasm`;

/** What an operator has to set, for modules that cannot do without. */
const SETTINGS: Readonly<Record<string, CborInput>> = {
  uplink: { prefix: "site/7" },
  "home-assistant": { prefix: "site/7", id: "site-7" },
};

/** An instance that has had its first notice. */
export function started(
  name: string,
  fakes: Readonly<Record<string, FakeSlot>> = {},
  settings: CborInput | undefined = SETTINGS[name],
): ModuleHost {
  const host = new ModuleHost(built(name), fakes);
  host.start(false, settings);
  return host;
}

/** A decoded CBOR map with text keys as an object. */
export function plain(value: CborValue | undefined): Record<string, unknown> {
  if (!(value instanceof Map)) throw new TypeError("not a map");
  return Object.fromEntries(value as ReadonlyMap<string, unknown>);
}

/** What was sent to `readings` since the last time. */
export function takeReadings(host: ModuleHost): Reading[] {
  return host.takeMessages<Reading>("readings");
}

/** One tick, and the values that it led to by quantity. */
export function measure(host: ModuleHost): Record<string, number> {
  host.deliver("tick", 1, { kind: "event" });
  return Object.fromEntries(takeReadings(host).map(({ quantity, value }) => [quantity, value]));
}
