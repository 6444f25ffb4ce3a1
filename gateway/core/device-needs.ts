/** What the device process must be started with, so that modules can be bound to their devices and files. */
import type { ModuleSpec } from "../../kernel/index.ts";
import { interfaceDefinition } from "../../kernel/index.ts";
import type { HostPermissions } from "../wire/permissions.ts";
import { devicePermissions } from "../wire/permissions.ts";
import type { HostBinding } from "../wire/protocol.ts";

/** @returns undefined where none of these modules needs the process */
export function deviceNeeds(modules: readonly ModuleSpec[]): HostPermissions | undefined {
  const bindings = modules.flatMap((module) => bindingsOf(module));
  return bindings.length === 0 ? undefined : devicePermissions(bindings);
}

/** As the kernel will make them; their numbers do not matter for what they need. */
function bindingsOf({ name, grants }: ModuleSpec): HostBinding[] {
  return grants.flatMap((grant) => {
    if (grant.interface === "endpoint" || interfaceDefinition(grant.interface).answeredBy !== "device") return [];
    const { slot, interface: interfaceName, rights, parameters } = grant;
    return [{ id: 0, interface: interfaceName, owner: `${name}.${slot}`, rights, parameters }];
  });
}
