/** Why a module may, or may not, use a slot or reach a target: the chain of conditions, and the one that decided. */
import { type Grant, INTERFACES, isInterfaceName, type ModuleSpec } from "../../kernel/index.ts";
import type { GatewayConfiguration, PolicyStatement } from "./configuration.ts";
import { grantLine, type ManifestView } from "./manifests.ts";
import { listNames, nearestName } from "./names.ts";
import { describePosition, type Position } from "./problem.ts";
import { refuseResource } from "./reach.ts";
import { grantTargets, termsText } from "./resource.ts";
import { decidingRule, reachesTarget, targetMatches } from "./rules.ts";

/** One condition that must hold. */
export interface Hop {
  readonly holds: boolean;
  readonly text: string;
  readonly at?: Position;
}

export interface Explanation {
  readonly allowed: boolean;
  readonly module: string;
  /** The slot or the target that was asked for. */
  readonly asked: string;
  /** In order; where something is denied, the last one is the broken hop. */
  readonly hops: readonly Hop[];
  /** What to do to change it. */
  readonly next: string | null;
}

interface Question {
  readonly configuration: GatewayConfiguration;
  readonly manifests: ReadonlyMap<string, ManifestView>;
  readonly module: string;
  readonly asked: string;
}

function denied({ module, asked }: Question, hops: readonly Hop[], next: string): Explanation {
  return { allowed: false, module, asked, hops, next };
}

function hop(holds: boolean, text: string, at?: Position): Hop {
  return at === undefined ? { holds, text } : { holds, text, at };
}

function suggestion(name: string, names: Iterable<string>): string {
  const all = [...names];
  const nearest = nearestName(name, all);
  return nearest === undefined ? `there is ${listNames(all)}` : `did you mean '${nearest}'?`;
}

/** The targets of a grant as sentences, each with the rule that confirmed it. */
function targetHops({ configuration, module }: Question, grant: Grant, wanted?: string): readonly Hop[] {
  return grantTargets(grant)
    .filter(({ text }) => wanted === undefined || reachesTarget(text, wanted))
    .map(({ text, rights }) => {
      const rule = decidingRule(configuration.rules, module, grant.slot, text, rights[0] ?? "");
      const because = rule === undefined ? "no rule says otherwise" : ruleText(rule);
      const terms = grant.interface === "endpoint" ? termsText(grant) : "";
      const what = terms === "" ? "" : ` for messages ${terms}`;
      return hop(true, `reaches ${text} with ${rights.join(", ")}${what}: ${because}`, rule?.at);
    });
}

function ruleText(rule: PolicyStatement): string {
  const reason = rule.reason === null ? "" : ` (${rule.reason})`;
  return `the rule '${rule.decision}: ${rule.from} -> ${rule.to}' decides${reason}`;
}

function moduleHop(question: Question): { readonly spec: ModuleSpec; readonly first: Hop } | Explanation {
  const { configuration, module } = question;
  const { modules } = configuration.system;
  const spec = modules.find(({ name }) => name === module);
  if (spec === undefined) {
    const names = modules.map(({ name }) => name);
    return denied(question, [hop(false, `there is no module '${module}'`)], suggestion(module, names));
  }
  const at = configuration.positions.modules.get(module);
  return { spec, first: hop(true, `${module} is a module of partition '${spec.partition}'`, at) };
}

/** The port behind an endpoint target exists, as far as manifests are known. */
function portHop({ manifests }: Question, target: string): Hop | undefined {
  if (target.includes(":")) return undefined;
  const [module = "", port = ""] = target.split(".");
  const manifest = manifests.get(module);
  if (manifest === undefined) return undefined;
  if (manifest.ports.some(({ name }) => name === port)) return hop(true, `${module} has the port '${port}'`);
  return hop(false, `${module} ${manifest.version} has no port '${port}'`);
}

function explainSlot(question: Question, spec: ModuleSpec, first: Hop): Explanation {
  const { configuration, manifests, module, asked: slot } = question;
  const wanted = manifests.get(module)?.slots.get(slot);
  const at = configuration.positions.grants.get(`${module}.${slot}`);
  const hops = [first];
  if (wanted !== undefined) hops.push(hop(true, `its manifest asks for '${slot}' as ${wanted.interface}`));
  const taken = configuration.withdrawn.filter((entry) => entry.module === module && entry.slot === slot);
  const grant = spec.grants.find((candidate) => candidate.slot === slot);
  if (at !== undefined) hops.push(hop(true, `'${slot}' is granted`, at));
  for (const { target, rights, rule } of taken) {
    hops.push(hop(false, `${rights.join(", ")} on ${target} is withdrawn: ${ruleText(rule)}`, rule.at));
  }
  if (grant === undefined) {
    const [withdrawal] = taken;
    if (withdrawal !== undefined)
      return denied(question, hops, `change the rule at ${describePosition(withdrawal.rule.at)}`);
    const slots = manifests.get(module)?.slots;
    if (slots !== undefined && wanted === undefined) {
      hops.push(hop(false, `${module} has no slot '${slot}'`));
      return denied(question, hops, suggestion(slot, slots.keys()));
    }
    hops.push(hop(false, `'${slot}' is not granted, and what is not granted is denied`));
    const line = wanted === undefined ? `${slot}: { <interface>: { … } }` : grantLine(slot, wanted);
    return denied(question, hops, `add under modules.${module}.grants:  ${line}`);
  }
  return judgeGrant(question, grant, hops);
}

/** Interface, rights and ports of a slot that is granted. */
function judgeGrant(question: Question, grant: Grant, hops: readonly Hop[]): Explanation {
  const { manifests, module } = question;
  const manifest = manifests.get(module);
  const wanted = manifest?.slots.get(grant.slot);
  if (manifest !== undefined && wanted === undefined) {
    const broken = hop(
      false,
      `${module} ${manifest.version} has no slot '${grant.slot}': the grant is excess privilege`,
    );
    return denied(question, [...hops, broken], "remove the grant");
  }
  if (wanted !== undefined && wanted.interface !== grant.interface) {
    const broken = hop(false, `it is granted as ${grant.interface}, not as ${wanted.interface}`);
    return denied(question, [...hops, broken], `write '${grantLine(grant.slot, wanted)}'`);
  }
  const rights: readonly string[] = grant.rights;
  const lacking = wanted?.rights.filter((right) => !rights.includes(right)) ?? [];
  if (lacking.length > 0) {
    const broken = hop(false, `the grant lacks the right ${lacking.join(", ")}`);
    return denied(question, [...hops, broken], `add ${lacking.join(", ")} to the rights of the grant`);
  }
  const reached = targetHops(question, grant);
  const ports = grantTargets(grant).flatMap(({ text }) => portHop(question, text) ?? []);
  const broken = ports.find(({ holds }) => !holds);
  if (broken !== undefined)
    return denied(question, [...hops, ...reached, broken], "bind the slot to a port that there is");
  const { module: name, asked } = question;
  return { allowed: true, module: name, asked, hops: [...hops, ...reached, ...ports], next: null };
}

/** Why nothing can be bound to a resource that is written so. */
function unbindable(asked: string): string | undefined {
  const colon = asked.indexOf(":");
  const name = asked.slice(0, colon);
  if (colon < 0 || name === "endpoint") return undefined;
  if (isInterfaceName(name)) return refuseResource(name, asked.slice(colon + 1));
  return `there is no interface '${name}'; ${suggestion(name, Object.keys(INTERFACES))}`;
}

function explainTarget(question: Question, spec: ModuleSpec, first: Hop): Explanation {
  const { configuration, module, asked } = question;
  const fault = unbindable(asked);
  if (fault !== undefined) return denied(question, [first, hop(false, `no grant can bind '${asked}'`)], fault);
  for (const grant of spec.grants) {
    const reached = targetHops(question, grant, asked);
    if (reached.length === 0) continue;
    const at = configuration.positions.grants.get(`${module}.${grant.slot}`);
    const hops = [first, hop(true, `the grant '${grant.slot}' reaches it`, at), ...reached];
    const port = asked.includes(":") || !asked.includes(".") ? undefined : portHop(question, asked);
    if (port?.holds === false) return denied(question, [...hops, port], "bind the slot to a port that there is");
    return { allowed: true, module, asked, hops: port === undefined ? hops : [...hops, port], next: null };
  }
  const taken = configuration.withdrawn.find(
    (entry) => entry.module === module && targetMatches(asked, entry.target, "deny"),
  );
  if (taken !== undefined) {
    const at = configuration.positions.grants.get(`${module}.${taken.slot}`);
    const broken = hop(false, `${taken.rights.join(", ")} is withdrawn: ${ruleText(taken.rule)}`, taken.rule.at);
    const hops = [first, hop(true, `the grant '${taken.slot}' names it`, at), broken];
    return denied(question, hops, `change the rule at ${describePosition(taken.rule.at)}`);
  }
  const port = asked.includes(".") ? portHop(question, asked) : undefined;
  if (port?.holds === false) return denied(question, [first, port], "name a port that there is");
  return denied(question, [first, ...missingTarget(question, spec)], addLine(question));
}

function addLine({ module, asked }: Question): string {
  const line = asked.includes(":")
    ? `<slot>: { ${asked.slice(0, asked.indexOf(":"))}: { … } }`
    : `<slot>: { endpoint: { to: ${asked} } }`;
  return `add under modules.${module}.grants:  ${line}`;
}

/** What is known of a target that no grant reaches: whether it is there, and who does reach it. */
function missingTarget({ configuration, module, asked }: Question, spec: ModuleSpec): readonly Hop[] {
  const { modules } = configuration.system;
  const hops: Hop[] = [];
  if (!asked.includes(":")) {
    const [target = ""] = asked.split(".");
    const names = modules.map(({ name }) => name);
    if (!names.includes(target)) return [hop(false, `there is no module '${target}'; ${suggestion(target, names)}`)];
    hops.push(hop(true, `${target} is a module`, configuration.positions.modules.get(target)));
  }
  const others = modules.filter(
    (other) =>
      other.name !== module &&
      other.grants.some((grant) => grantTargets(grant).some(({ text }) => targetMatches(asked, text, "deny"))),
  );
  const who = others.length === 0 ? "reached by nobody" : `reached by ${others.map(({ name }) => name).join(", ")}`;
  const slots =
    spec.grants.length === 0 ? "it has no grants" : `its grants: ${spec.grants.map(({ slot }) => slot).join(", ")}`;
  return [
    ...hops,
    hop(false, `no grant of ${module} reaches ${asked} (${slots}; ${who}), and what is not granted is denied`),
  ];
}

/**
 * Explains one decision. `asked` is a slot of the module (`readings`), or what it may want to reach: `module`,
 * `module.port`, `interface:resource`. `manifests` may be empty; then nothing is said of slots and ports that the binary has.
 */
export function why(
  configuration: GatewayConfiguration,
  manifests: ReadonlyMap<string, ManifestView>,
  module: string,
  asked: string,
): Explanation {
  const question = { configuration, manifests, module, asked };
  const found = moduleHop(question);
  if ("allowed" in found) return found;
  const { spec, first } = found;
  const isSlot =
    manifests.get(module)?.slots.has(asked) === true || configuration.positions.grants.has(`${module}.${asked}`);
  const isModule = configuration.system.modules.some(({ name }) => name === asked);
  if (isSlot || !(asked.includes(".") || asked.includes(":") || isModule)) return explainSlot(question, spec, first);
  return explainTarget(question, spec, first);
}

/** The explanation as people read it. */
export function describeExplanation({ allowed, module, asked, hops, next }: Explanation): string {
  const lines = hops.map(({ holds, text, at }) => {
    const place = at === undefined ? "" : `  [${describePosition(at)}]`;
    return `  ${holds ? "yes" : "NO "}  ${text}${place}`;
  });
  const end = next === null ? [] : [`  ->   ${next}`];
  return [`${module} -> ${asked}: ${allowed ? "allowed" : "denied"}`, ...lines, ...end].join("\n");
}
