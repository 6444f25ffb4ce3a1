/** What the supervisor works out of all modules' grants together: levels of calling, guards of routes, contracts that fit. */
import type { AdmittedModule } from "../admission.ts";
import { contractConflict } from "../contract.ts";
import { Refusal } from "../errors.ts";
import type { ManifestPort } from "../manifest.ts";
import type { PolicyOrder, SlotLink } from "../partition/protocol.ts";
import type { PortAddress } from "../system.ts";
import { endpoints, type ModuleRecord } from "./modules.ts";

/** As much of a module as these functions look at. */
export type Party = Pick<ModuleRecord, "admitted" | "grants">;

type Parties = ReadonlyMap<string, Party>;

function portOf(modules: Parties, { module, port }: PortAddress): ManifestPort | undefined {
  return modules.get(module)?.admitted.manifest.ports.find(({ name }) => name === port);
}

/** A level for each module such that each granted call goes upward. A cycle, which no configuration has, counts once. */
export function callLevels(modules: Parties): ReadonlyMap<string, number> {
  const callers = new Map<string, string[]>();
  for (const [name, party] of modules) {
    for (const { to, rights } of endpoints(party)) {
      if (!rights.includes("call")) continue;
      for (const { module } of to) callers.set(module, [...(callers.get(module) ?? []), name]);
    }
  }
  const levels = new Map<string, number>();
  const visit = (name: string): number => {
    const known = levels.get(name);
    if (known !== undefined) return known;
    levels.set(name, 0);
    const level = (callers.get(name) ?? []).reduce((most, caller) => Math.max(most, visit(caller) + 1), 0);
    levels.set(name, level);
    return level;
  };
  for (const name of modules.keys()) visit(name);
  return levels;
}

/** What these slots' routes ask of their messages, by edge. */
export function routeGuards(party: Party, slots: readonly SlotLink[], modules: Parties): PolicyOrder["guards"] {
  return endpoints(party).flatMap(({ slot, to, check = false, require = [] }) => {
    if (!check && require.length === 0) return [];
    const edges = slots.find((link) => link.slot === slot)?.edges ?? [];
    return edges.map(({ edge }, index) => {
      const target = to[index];
      const contract = target === undefined ? null : (portOf(modules, target)?.rules ?? null);
      return [edge, { isChecked: check, contract, require }] as const;
    });
  });
}

/**
 * The ends of each route to or from the modules named must have contracts that fit.
 * @throws Refusal E_CONTRACT with the differing field.
 */
export function checkContracts(modules: Parties, concerned: ReadonlySet<string>): void {
  for (const [name, party] of modules) {
    for (const { slot, to } of endpoints(party)) {
      const sends = party.admitted.manifest.slots.get(slot)?.rules;
      for (const target of to) {
        if (sends === undefined || !(concerned.has(name) || concerned.has(target.module))) continue;
        const takes = portOf(modules, target)?.rules;
        const found = takes && contractConflict(sends, takes);
        if (found === undefined) continue;
        throw new Refusal(
          "E_CONTRACT",
          `${name}.${slot} and ${target.module}.${target.port} have contracts that do not fit`,
          {
            found,
            hint: "build both with the same contract, and replace them together",
          },
        );
      }
    }
  }
}

/** Handles and waiting messages know a port by its place, so a new version keeps those of the old. @throws Refusal E_CONTRACT. */
export function checkPorts({ manifest: old }: AdmittedModule, { manifest }: AdmittedModule): void {
  const moved = old.ports.find(({ name }, index) => manifest.ports[index]?.name !== name);
  if (moved === undefined) return;
  throw new Refusal("E_CONTRACT", `${manifest.name} ${manifest.version} has no port ${moved.name} in its old place`, {
    expected: `${old.ports.map(({ name }) => name).join(", ")}, and new ones after them`,
    found: manifest.ports.map(({ name }) => name).join(", ") || "no ports",
  });
}
