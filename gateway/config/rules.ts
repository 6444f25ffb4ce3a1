/** Rules and assertions of the policy: `from -> to`, the first rule that matches decides. */
import {
  type EndpointGrant,
  type Grant,
  interfaceDefinition,
  type InterfaceName,
  INTERFACES,
  isInterfaceName,
  type ModuleSpec,
  type ResourceGrant,
} from "../../kernel/index.ts";
import type { Decision, PolicyStatement, Withdrawal } from "./configuration.ts";
import { isName, listNames, nearestName } from "./names.ts";
import type { Position, Problems } from "./problem.ts";
import { refuseResource } from "./reach.ts";
import { grantTargets, portText, type Target } from "./resource.ts";
import type { GatewayDraft, RuleDraft, TestDraft } from "./schema.ts";
import type { Located } from "./shape.ts";
import { filterCovers, filtersOverlap } from "./topic.ts";

const ARROW = /^(\S+)\s*(?:->|→)\s*(\S+)$/u;

interface Names {
  readonly modules: ReadonlySet<string>;
  readonly problems: Problems;
}

function knownModule(module: string, at: Position, { modules, problems }: Names): boolean {
  if (modules.has(module)) return true;
  const detail = { nearest: nearestName(module, modules), expected: listNames(modules) };
  problems.add(at, `unknown module '${module.slice(0, 60)}'`, { code: "E_UNKNOWN", ...detail });
  return false;
}

/** `module`, `module.name` or `*`. */
function checkPlace(place: string, at: Position, names: Names): boolean {
  if (place === "*") return true;
  const [module = "", part, more] = place.split(".");
  if (!isName(module) || more !== undefined || (part !== undefined && part !== "*" && !isName(part))) {
    const hint = "module, module.name or '*'";
    names.problems.add(at, `'${place.slice(0, 60)}' names no module, slot or port`, { expected: hint });
    return false;
  }
  return knownModule(module, at, names);
}

function checkTarget(to: string, at: Position, names: Names): boolean {
  const colon = to.indexOf(":");
  if (colon < 0 && !isInterfaceName(to)) return checkPlace(to, at, names);
  const name = colon < 0 ? to : to.slice(0, colon);
  if (isInterfaceName(name)) return colon < 0 || checkResource(name, to.slice(colon + 1), at, names);
  const interfaces = Object.keys(INTERFACES);
  const detail = { nearest: nearestName(name, interfaces), expected: listNames(interfaces) };
  names.problems.add(at, `unknown interface '${name.slice(0, 60)}'`, { code: "E_UNKNOWN", ...detail });
  return false;
}

/** A resource that no grant can have would deny nothing. */
function checkResource(name: InterfaceName, resource: string, at: Position, names: Names): boolean {
  if (name === "endpoint") return checkPlace(resource, at, names);
  const fault = refuseResource(name, resource);
  if (fault !== undefined) {
    names.problems.add(at, `'${name}:${resource.slice(0, 60)}' matches no grant`, { hint: fault });
  }
  return fault === undefined;
}

function parseRoute(route: Located<string>, names: Names): { readonly from: string; readonly to: string } | undefined {
  const [, from, to] = ARROW.exec(route.value) ?? [];
  if (from === undefined || to === undefined) {
    const detail = {
      expected: "'from -> to', such as 'uplink -> bme280.control'",
      found: `'${route.value.slice(0, 60)}'`,
    };
    names.problems.add(route.at, "this is not a route", detail);
    return undefined;
  }
  const known = [checkPlace(from, route.at, names), checkTarget(to, route.at, names)];
  return known.includes(false) ? undefined : { from, to };
}

/** A right that the target's interface does not have would be withdrawn from nobody. */
function checkRights(to: string, rights: readonly Located<string>[], { problems }: Names): void {
  if (to === "*") return;
  const name = to.includes(":") ? to.slice(0, to.indexOf(":")) : to;
  const kind = isInterfaceName(name) ? name : "endpoint";
  const { rights: known } = interfaceDefinition(kind);
  for (const { value, at } of rights) {
    if (!known.includes(value)) problems.add(at, `${kind} has no right '${value}'`, { expected: listNames(known) });
  }
}

function statement(draft: Located<RuleDraft | TestDraft>, what: string, names: Names): PolicyStatement | undefined {
  const { allow, deny } = draft.value;
  const route = allow ?? deny;
  if (route === undefined || (allow !== undefined && deny !== undefined)) {
    names.problems.add(draft.at, `${what} has 'allow' or 'deny', exactly one of them`);
    return undefined;
  }
  const parsed = parseRoute(route, names);
  if (parsed === undefined) return undefined;
  const decision: Decision = allow === undefined ? "deny" : "allow";
  const more = "rights" in draft.value ? draft.value : undefined;
  checkRights(parsed.to, more?.rights?.value ?? [], names);
  return {
    ...parsed,
    decision,
    rights: more?.rights?.value.map(({ value }) => value) ?? [],
    reason: more?.reason?.value ?? null,
    localOnly: more?.["local-only"]?.value ?? false,
    at: route.at,
  };
}

/** Reads `rules:` and `tests:`; every module they name must exist, or a misspelt rule would deny nothing. */
export function readPolicy(
  draft: GatewayDraft,
  modules: ReadonlySet<string>,
  problems: Problems,
): { readonly rules: readonly PolicyStatement[]; readonly tests: readonly PolicyStatement[] } {
  const names = { modules, problems };
  const read = (
    list: readonly Located<RuleDraft | TestDraft>[] | undefined,
    what: string,
  ): readonly PolicyStatement[] =>
    (list ?? []).map((entry) => statement(entry, what, names)).filter((entry) => entry !== undefined);
  return { rules: read(draft.rules?.value, "a rule"), tests: read(draft.tests?.value, "a test") };
}

function fromMatches(from: string, module: string, slot: string): boolean {
  return from === "*" || from === module || from === `${module}.*` || from === `${module}.${slot}`;
}

/** How a statement is compared with what a grant reaches: a denial hits what it touches, an allowance what it covers. */
export function targetMatches(to: string, target: string, decision: Decision): boolean {
  if (to === "*" || to === target) return true;
  const colon = target.indexOf(":");
  if (colon < 0) {
    if (to === "endpoint") return true;
    if (to.startsWith("endpoint:")) return targetMatches(to.slice("endpoint:".length), target, decision);
    const module = target.slice(0, target.indexOf("."));
    return to === module || to === `${module}.*`;
  }
  const kind = target.slice(0, colon);
  if (to === kind || to === `${kind}:*`) return true;
  if (!to.startsWith(`${kind}:`)) return false;
  const [wanted, resource] = [to.slice(colon + 1), target.slice(colon + 1)];
  if (kind === "mqtt") return decision === "deny" ? filtersOverlap(wanted, resource) : filterCovers(wanted, resource);
  return wanted.endsWith("*") && resource.startsWith(wanted.slice(0, -1));
}

/** The rule that decides about one right of one target, or undefined where none matches and the grant stands. */
export function decidingRule(
  rules: readonly PolicyStatement[],
  module: string,
  slot: string,
  target: string,
  right: string,
): PolicyStatement | undefined {
  return rules.find(
    (rule) =>
      fromMatches(rule.from, module, slot) &&
      targetMatches(rule.to, target, rule.decision) &&
      (rule.rights.length === 0 || rule.rights.includes(right)),
  );
}

/** True where what a grant reaches is, or wholly contains, what is asked for: `mqtt:site/#` reaches `mqtt:site/7/x`. */
export function reachesTarget(granted: string, asked: string): boolean {
  const [kind, filter] = ["mqtt:", asked.slice("mqtt:".length)];
  if (!asked.startsWith(kind) || filter === "*") return targetMatches(asked, granted, "allow");
  return granted.startsWith(kind) && filterCovers(granted.slice(kind.length), filter);
}

/** True where the module, as configured, reaches what the statement names: all of it to allow, any of it to deny. */
export function reaches(modules: readonly ModuleSpec[], { from, to, decision }: PolicyStatement): boolean {
  const hits = ({ text }: Target): boolean =>
    decision === "allow" ? reachesTarget(text, to) : targetMatches(to, text, "deny");
  return modules.some((module) =>
    module.grants.some((grant) => fromMatches(from, module.name, grant.slot) && grantTargets(grant).some(hits)),
  );
}

interface Remaining {
  readonly target: Target;
  readonly kept: readonly string[];
}

function remaining(
  rules: readonly PolicyStatement[],
  module: string,
  grant: Grant,
  withdrawn: Withdrawal[],
): Remaining[] {
  return grantTargets(grant).map((target) => {
    const lost = new Map<PolicyStatement, string[]>();
    const kept = target.rights.filter((right) => {
      const rule = decidingRule(rules, module, grant.slot, target.text, right);
      if (rule?.decision !== "deny") return true;
      lost.set(rule, [...(lost.get(rule) ?? []), right]);
      return false;
    });
    for (const [rule, rights] of lost) {
      withdrawn.push({ module, slot: grant.slot, target: target.text, rights, rule });
    }
    return { target, kept };
  });
}

/** Targets share one list of rights, so one that lost some of several targets' rights is dropped whole: it fails closed. */
function narrowEndpoint(grant: EndpointGrant, left: readonly Remaining[]): EndpointGrant | undefined {
  const [only] = left;
  if (left.length === 1 && only !== undefined) {
    const rights = grant.rights.filter((right) => only.kept.includes(right));
    return rights.length === 0 ? undefined : { ...grant, rights };
  }
  const whole = new Set(
    left.filter(({ kept, target }) => kept.length === target.rights.length).map(({ target }) => target.text),
  );
  const to = grant.to.filter((address) => whole.has(portText(address)));
  return to.length === 0 ? undefined : { ...grant, to };
}

function narrowMqtt(grant: ResourceGrant, left: readonly Remaining[]): ResourceGrant | undefined {
  const keptFilters = (right: string): readonly string[] =>
    left.filter(({ kept }) => kept.includes(right)).map(({ target }) => target.text.slice("mqtt:".length));
  const lists = grant.rights.map((right) => [right, keptFilters(right)] as const).filter(([, list]) => list.length > 0);
  if (lists.length === 0) return undefined;
  return { ...grant, rights: lists.map(([right]) => right), parameters: Object.fromEntries(lists) };
}

function narrowResource(grant: ResourceGrant, left: readonly Remaining[]): ResourceGrant | undefined {
  if (grant.interface === "mqtt") return narrowMqtt(grant, left);
  const rights = left[0]?.kept ?? [];
  return rights.length === 0 ? undefined : { ...grant, rights };
}

/** The grants that the rules leave, and what they took. */
export function applyRules(
  rules: readonly PolicyStatement[],
  module: string,
  grants: readonly Grant[],
): { readonly grants: readonly Grant[]; readonly withdrawn: readonly Withdrawal[] } {
  const withdrawn: Withdrawal[] = [];
  const kept = grants.flatMap((grant) => {
    const before = withdrawn.length;
    const left = remaining(rules, module, grant, withdrawn);
    if (withdrawn.length === before) return [grant];
    const narrowed = grant.interface === "endpoint" ? narrowEndpoint(grant, left) : narrowResource(grant, left);
    return narrowed === undefined ? [] : [narrowed];
  });
  return { grants: kept, withdrawn };
}

/** Adds a problem for each assertion that does not hold. */
export function checkAssertions(
  tests: readonly PolicyStatement[],
  modules: readonly ModuleSpec[],
  problems: Problems,
): void {
  for (const test of tests) {
    const holds = reaches(modules, test) === (test.decision === "allow");
    if (holds) continue;
    const found = test.decision === "allow" ? "denied" : "allowed";
    const hint = "change the grants or rules, or the assertion; `bulkhead why` tells which line decides";
    const message = `the assertion '${test.decision}: ${test.from} -> ${test.to}' does not hold`;
    problems.add(test.at, message, {
      code: "E_CAP",
      expected: `${test.from} -> ${test.to} to be ${test.decision === "allow" ? "allowed" : "denied"}`,
      found,
      hint,
    });
  }
}
