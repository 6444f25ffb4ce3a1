/** What a configuration that came over MQTT may not do, however it is signed: widen what the gateway's own file keeps local. */
import { resolve } from "node:path";
import type { Grant, ModuleSpec } from "../../kernel/index.ts";
import type { GatewayConfiguration } from "./configuration.ts";
import { describePosition, type Position, type Problem, Problems } from "./problem.ts";
import { grantTargets } from "./resource.ts";
import { applyRules } from "./rules.ts";
import { filterCovers, filtersOverlap } from "./topic.ts";

/** One right of one module on one thing. */
interface Authority {
  readonly module: string;
  readonly slot: string;
  readonly target: string;
  readonly right: string;
  /** What the route asks of its messages: less of it is more authority. */
  readonly terms: string;
}

function authorities(modules: readonly ModuleSpec[]): readonly Authority[] {
  return modules.flatMap((module) =>
    module.grants.flatMap((grant) =>
      grantTargets(grant).flatMap(({ text, rights }) =>
        rights.map((right) => ({ module: module.name, slot: grant.slot, target: text, right, terms: termsOf(grant) })),
      ),
    ),
  );
}

/** The text of a target behind its interface, or undefined for another interface. */
function behind(prefix: string, target: string): string | undefined {
  return target.startsWith(prefix) ? target.slice(prefix.length) : undefined;
}

/** How two things of one interface lie: `[first, second]` where both are of it. */
function both(prefix: string, first: string, second: string): readonly [string, string] | undefined {
  const [one, other] = [behind(prefix, first), behind(prefix, second)];
  return one === undefined || other === undefined ? undefined : [one, other];
}

function covers(outer: string, inner: string): boolean {
  const filters = both("mqtt:", outer, inner);
  if (filters !== undefined) return filterCovers(...filters);
  const prefixes = both("store:", outer, inner);
  return prefixes === undefined ? outer === inner : prefixes[1].startsWith(prefixes[0]);
}

const DEVICE = /^(?:i2c-device|spi-device|gpio-line|uart|onewire):/;
/** Where Linux shows devices as files: a file grant there goes round the interface of the device. */
const RAW_DEVICE = /^file:\/(?:dev|sys|proc)\//;

/** Does what reaches `target` reach some of `guarded` too? */
function reaches(target: string, guarded: string): boolean {
  const filters = both("mqtt:", target, guarded);
  if (filters !== undefined) return filtersOverlap(...filters);
  if (RAW_DEVICE.test(target) && DEVICE.test(guarded)) return true;
  return covers(target, guarded) || covers(guarded, target);
}

function termsOf(grant: Grant): string {
  if (grant.interface !== "endpoint" || (grant.check !== true && grant.require === undefined)) return "";
  return JSON.stringify([grant.check ?? false, grant.require ?? []]);
}

function positionOf({ positions, files }: GatewayConfiguration, module: string, slot: string): Position {
  const known = positions.grants.get(`${module}.${slot}`) ?? positions.modules.get(module);
  return known ?? { file: files[0] ?? "configuration", line: 1, column: 1 };
}

/** A gateway that is cut off from its broker takes no correction, so these are changed on the gateway only. */
function checkIdentity(local: GatewayConfiguration, received: GatewayConfiguration, problems: Problems): void {
  const at = { file: received.files[0] ?? "configuration", line: 1, column: 1 };
  const text = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
  const pairs = [
    ["gateway.id", local.gateway.id, received.gateway.id],
    ["gateway.vendor", local.gateway.vendor, received.gateway.vendor],
    ["gateway.class", local.gateway.class, received.gateway.class],
    ["data", local.dataFolder, received.dataFolder],
    ["trust.root", local.trust.root, received.trust.root],
    ["broker", local.broker, received.broker],
    ["console", local.console, received.console],
    ["limits", local.limits, received.limits],
    ["capsules", local.capsules, received.capsules],
  ] as const;
  for (const [key, mine, theirs] of pairs) {
    if (text(mine) === text(theirs)) continue;
    problems.add(at, `a received configuration cannot change '${key}'`, {
      code: "E_CAP",
      expected: text(mine),
      found: text(theirs),
      hint: "leave it out of the document: the gateway's own file says it",
    });
  }
}

function checkMarked(local: GatewayConfiguration, received: GatewayConfiguration, problems: Problems): void {
  const mine = authorities(local.system.modules);
  const isHeld = ({ module, right, target, terms }: Authority): boolean =>
    mine.some(
      (own) =>
        own.module === module &&
        own.right === right &&
        covers(own.target, target) &&
        (own.terms === "" || own.terms === terms),
    );
  const guarded = mine.filter(({ module, slot }) => local.localOnly.has(`${module}.${slot}`));
  for (const entry of authorities(received.system.modules)) {
    const reached = guarded.find(({ target }) => reaches(entry.target, target));
    const marked = local.localOnly.has(entry.module) ? entry.module : undefined;
    const mark = reached === undefined ? marked : `${reached.module}.${reached.slot}`;
    if (mark === undefined || isHeld(entry)) continue;
    const message = `${entry.module}.${entry.slot} would gain '${entry.right}' on ${entry.target}`;
    problems.add(positionOf(received, entry.module, entry.slot), message, {
      code: "E_CAP",
      expected: `nothing beyond what the gateway's own file grants: '${mark}' is marked local-only`,
      hint: "grant it in the file on the gateway",
    });
  }
}

/** A final message goes by no grant, so no rule sees it: who gets one is said on the gateway. */
function checkFinalMessages(local: GatewayConfiguration, received: GatewayConfiguration, problems: Problems): void {
  const place = ({ restart: { final } }: ModuleSpec): string =>
    final ? `${final.to.module}.${final.to.port}` : "nobody";
  for (const spec of received.system.modules) {
    const own = local.system.modules.find(({ name }) => name === spec.name);
    const expected = own === undefined ? "nobody" : place(own);
    if (spec.restart.final === undefined || place(spec) === expected) continue;
    problems.add(positionOf(received, spec.name, ""), `the final message of ${spec.name} would go to ${place(spec)}`, {
      code: "E_CAP",
      expected,
      hint: "name the port in the file on the gateway",
    });
  }
}

/** The gateway's own file and its secrets: who could write or read those could widen anything. */
function checkOwnFiles(local: GatewayConfiguration, received: GatewayConfiguration, problems: Problems): void {
  const { broker, console } = local;
  const secrets = [broker?.passwordFile, broker?.keyFile, broker?.certificateFile, broker?.caFile];
  const others = [console?.tokenFile, console?.keyFile, console?.certificateFile];
  const paths = [...local.files, ...secrets, ...others].flatMap((path) =>
    typeof path === "string" ? [resolve(path)] : [],
  );
  const own = new Set(paths);
  for (const { module, slot, target } of authorities(received.system.modules)) {
    const path = behind("file:", target);
    const isOwn = path !== undefined && (own.has(path) || isLayer(local, path));
    if (!isOwn) continue;
    problems.add(positionOf(received, module, slot), `${module}.${slot} would reach ${path}`, {
      code: "E_CAP",
      expected: "nothing of the gateway's own configuration and secrets",
    });
  }
}

/** A file of `gateway.d/`, there or yet to be made. */
function isLayer({ files }: GatewayConfiguration, path: string): boolean {
  return files.some((file) => {
    const own = resolve(file);
    return path.startsWith(`${own.slice(0, own.lastIndexOf("."))}.d/`);
  });
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
 * The problems for which a received configuration is refused: it changes who the gateway is, what it trusts or whom it
 * hears, reaches something that is marked `local-only` more widely than the gateway's own file does, grants what a
 * `local-only` rule denies, or reaches the gateway's own files. Narrowing is always allowed.
 */
export function checkReceived(local: GatewayConfiguration, received: GatewayConfiguration): readonly Problem[] {
  const problems = new Problems();
  checkIdentity(local, received, problems);
  checkMarked(local, received, problems);
  checkOwnFiles(local, received, problems);
  checkFinalMessages(local, received, problems);
  checkRules(local, received, problems);
  return problems.sorted();
}
