/** What a configuration that came over MQTT may not do, however it is signed: widen what the gateway's own file keeps local. */
import type { ModuleSpec } from "../../kernel/index.ts";
import type { GatewayConfiguration } from "./configuration.ts";
import { describePosition, type Position, type Problem, Problems } from "./problem.ts";
import { grantTargets } from "./resource.ts";
import { applyRules } from "./rules.ts";

/** One right of one module on one thing. */
interface Authority {
  readonly module: string;
  readonly slot: string;
  readonly target: string;
  readonly right: string;
}

function authorities(modules: readonly ModuleSpec[]): readonly Authority[] {
  return modules.flatMap((module) =>
    module.grants.flatMap((grant) =>
      grantTargets(grant).flatMap(({ text, rights }) =>
        rights.map((right) => ({ module: module.name, slot: grant.slot, target: text, right })),
      ),
    ),
  );
}

function keyOf({ module, target, right }: Authority): string {
  return `${module} ${target} ${right}`;
}

function positionOf({ positions, files }: GatewayConfiguration, module: string, slot: string): Position {
  const known = positions.grants.get(`${module}.${slot}`) ?? positions.modules.get(module);
  return known ?? { file: files[0] ?? "configuration", line: 1, column: 1 };
}

function checkIdentity(local: GatewayConfiguration, received: GatewayConfiguration, problems: Problems): void {
  const at = { file: received.files[0] ?? "configuration", line: 1, column: 1 };
  const pairs = [
    ["gateway.id", local.gateway.id, received.gateway.id],
    ["gateway.vendor", local.gateway.vendor, received.gateway.vendor],
    ["gateway.class", local.gateway.class, received.gateway.class],
    ["data", local.dataFolder, received.dataFolder],
    ["trust.root", local.trust.root, received.trust.root],
  ] as const;
  for (const [key, mine, theirs] of pairs) {
    if (mine === theirs) continue;
    problems.add(at, `a received configuration cannot change '${key}'`, {
      code: "E_CAP",
      expected: mine,
      found: theirs,
    });
  }
}

function checkMarked(local: GatewayConfiguration, received: GatewayConfiguration, problems: Problems): void {
  const mine = authorities(local.system.modules);
  const held = new Set(mine.map(keyOf));
  const isMarked = ({ module, slot }: Authority): boolean => local.localOnly.has(`${module}.${slot}`);
  const guarded = new Map(mine.filter(isMarked).map((entry) => [entry.target, `${entry.module}.${entry.slot}`]));
  for (const entry of authorities(received.system.modules)) {
    const mark = guarded.get(entry.target) ?? (local.localOnly.has(entry.module) ? entry.module : undefined);
    if (mark === undefined || held.has(keyOf(entry))) continue;
    const message = `${entry.module}.${entry.slot} would gain '${entry.right}' on ${entry.target}`;
    problems.add(positionOf(received, entry.module, entry.slot), message, {
      code: "E_CAP",
      expected: `nothing beyond what the gateway's own file grants: '${mark}' is marked local-only`,
      hint: "grant it in the file on the gateway",
    });
  }
}

function checkRules(local: GatewayConfiguration, received: GatewayConfiguration, problems: Problems): void {
  const rules = local.rules.filter((rule) => rule.localOnly);
  for (const { name, grants } of received.system.modules) {
    for (const { slot, target, rights, rule } of applyRules(rules, name, grants).withdrawn) {
      problems.add(positionOf(received, name, slot), `${name}.${slot} would gain '${rights.join(", ")}' on ${target}`, {
        code: "E_CAP",
        expected: `nothing that the local-only rule at ${describePosition(rule.at)} denies`,
        ...(rule.reason === null ? {} : { hint: rule.reason }),
      });
    }
  }
}

/**
 * The problems for which a received configuration is refused: it changes who the gateway is or what it trusts, reaches
 * something that is marked `local-only` more widely than the gateway's own file does, or grants what a `local-only` rule
 * denies. Narrowing is always allowed.
 */
export function checkReceived(local: GatewayConfiguration, received: GatewayConfiguration): readonly Problem[] {
  const problems = new Problems();
  checkIdentity(local, received, problems);
  checkMarked(local, received, problems);
  checkRules(local, received, problems);
  return problems.sorted();
}
