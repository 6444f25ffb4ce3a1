/** `bulkhead root publish`: root envelopes retained at the broker, checked before and read back after. */

import type { RootDocument, TrustState } from "../../gateway/envelopes/index.ts";
import { decodeEnvelope, decodeRoot, equalBytes, initialTrust, verifyRoot } from "../../gateway/envelopes/index.ts";
import { sha256Hex } from "../../gateway/wire/digest.ts";
import { topics } from "../../gateway/wire/update-topics.ts";
import type { RefusalCode } from "../../kernel/index.ts";
import { Refusal } from "../../kernel/index.ts";
import type { Io } from "../command.ts";
import type { Arguments, Report } from "../keys/command-line.ts";
import { formatDate, UsageError } from "../keys/command-line.ts";
import { readBytes } from "../keys/files.ts";
import { BrokerSession } from "./broker.ts";
import { brokerOptions, parseDuration } from "./options.ts";

/** A root envelope whose signatures are those of its threshold, and of the one's before it where that is known. */
interface CheckedRoot {
  readonly bytes: Uint8Array;
  readonly digest: string;
  readonly document: RootDocument;
}

type Outcome = "published" | "replaced" | "unchanged";

/** Versions below 2 never come over the network: a gateway is given its first root by hand. */
const FIRST_OVER_NETWORK = 2;

export async function publishRoots(args: Arguments, io: Io): Promise<Report> {
  if (args.positionals.length === 0) throw new UsageError("name one root envelope or more");
  const options = brokerOptions(args);
  const timeoutMs = time(args, "timeout", "30s");
  const waitMs = time(args, "wait", "2s");
  const from = args.optional("from");
  const base = from === undefined ? undefined : within(from, initialTrust, await readBytes(from));
  const roots = await readRoots(args.positionals, base);
  const session = await BrokerSession.connect(options);
  const tell = args.has("json") ? () => undefined : io.stderr.bind(io);
  const publication = new Publication(session, roots, { waitMs, timeoutMs, signal: io.signal, tell });
  const outcomes = await publication.run(args.has("replace"));
  return report(roots, outcomes, base, publication.isBaseMissing);
}

function time(args: Arguments, name: string, otherwise: string): number {
  return parseDuration(args.optional(name) ?? otherwise, `--${name}`);
}

/** In the order of their versions, each a successor of the one before it. @throws Refusal that names the file */
async function readRoots(paths: readonly string[], base: TrustState | undefined): Promise<readonly CheckedRoot[]> {
  const files = await Promise.all(paths.map(async (path) => readRoot(path, await readBytes(path))));
  files.sort((one, other) => one.document.version - other.document.version);
  let trust = base;
  for (const { path, bytes } of files) {
    const before = trust;
    const check = (root: Uint8Array) => (before === undefined ? initialTrust(root) : verifyRoot(root, before).trust);
    trust = within(path, check, bytes);
  }
  return files;
}

function readRoot(path: string, bytes: Uint8Array): CheckedRoot & { readonly path: string } {
  const document = within(path, (root) => decodeRoot(decodeEnvelope(root, "root").payload), bytes);
  return { path, bytes, digest: sha256Hex(bytes), document };
}

const HINTS: Partial<Record<RefusalCode, string>> = Object.freeze({
  E_CBOR: "it takes root envelopes, as bulkhead root writes them",
  E_THRESHOLD: "bulkhead root show, with --from for the root before it, says whose signature is missing",
  E_ROOT_GAP: "name every version between: a gateway takes one after the other",
  E_ROLLBACK: "name each version once, and as --from the one before the first",
});

/** What `check` makes of the file; its refusal names the file and what to do. */
function within<Value>(path: string, check: (bytes: Uint8Array) => Value, bytes: Uint8Array): Value {
  try {
    return check(bytes);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const hint = error.detail.hint ?? HINTS[error.code];
    throw new Refusal(error.code, `${path}: ${error.message}`, { ...error.detail, ...(hint && { hint }) });
  }
}

interface Way {
  /** How long what is retained may take to come. */
  readonly waitMs: number;
  /** How long the broker may take for everything else. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly tell: (text: string) => void;
}

class Publication {
  readonly #session: BrokerSession;
  readonly #roots: readonly CheckedRoot[];
  readonly #way: Way;
  /** Rejects when the time is up, or the user stops. */
  readonly #ended = Promise.withResolvers<never>();
  /** Whether a gateway that has not taken the version before the first would miss it at the broker. */
  isBaseMissing = false;

  constructor(session: BrokerSession, roots: readonly CheckedRoot[], way: Way) {
    this.#session = session;
    this.#roots = roots;
    this.#way = way;
    // Whoever waits is told; nobody may be waiting.
    this.#ended.promise.catch(() => undefined);
  }

  /** @throws Refusal; then those that were told of as published are retained, and no other */
  async run(isReplacing: boolean): Promise<readonly Outcome[]> {
    const { signal, timeoutMs, waitMs } = this.#way;
    // Retained messages are waited for twice.
    const timer = setTimeout(
      () => {
        this.#ended.reject(unanswered(timeoutMs));
      },
      timeoutMs + 2 * waitMs,
    );
    const onAbort = () => {
      this.#ended.reject(new Refusal("E_ABORTED", "stopped; run it again to publish the rest"));
    };
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
    try {
      const outcomes = await Promise.race([this.#publish(isReplacing), this.#ended.promise]);
      await this.#session.close();
      return outcomes;
    } catch (error) {
      // What is under way at a broker that does not answer would be waited for.
      await this.#session.abandon();
      throw error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    }
  }

  async #publish(isReplacing: boolean): Promise<readonly Outcome[]> {
    const before = (this.#roots[0]?.document.version ?? 0) - 1;
    const versions = this.#roots.map(({ document }) => document.version);
    const held = await this.#retained(before < FIRST_OVER_NETWORK ? versions : [before, ...versions]);
    this.isBaseMissing = before >= FIRST_OVER_NETWORK && !held.has(before);
    if (!isReplacing) for (const root of this.#roots) refuseOther(root, held.get(root.document.version));
    const outcomes: Outcome[] = [];
    for (const root of this.#roots) outcomes.push(await this.#publishOne(root, held.get(root.document.version)));
    await this.#readBack(versions);
    return outcomes;
  }

  async #publishOne({ document, bytes, digest }: CheckedRoot, held: Uint8Array | undefined): Promise<Outcome> {
    const outcome = held === undefined ? "published" : equalBytes(held, bytes) ? "unchanged" : "replaced";
    if (outcome !== "unchanged") await this.#session.retain(topics.root(document.version), bytes);
    this.#way.tell(`root version ${document.version} ${outcome} (${digest.slice(0, 16)})\n`);
    return outcome;
  }

  /** MQTT 3.1.1 acknowledges what an access list has thrown away, so only what comes back is there. */
  async #readBack(versions: readonly number[]): Promise<void> {
    const held = await this.#retained(versions);
    for (const { document, bytes } of this.#roots) {
      const found = held.get(document.version);
      if (found === undefined) throw unheld(document.version);
      if (!equalBytes(found, bytes)) throw overwritten(document.version, found);
    }
  }

  /** What the broker retains for these versions, as soon as all have come, or after the time for it. */
  async #retained(versions: readonly number[]): Promise<ReadonlyMap<number, Uint8Array>> {
    const held = new Map<number, Uint8Array>();
    const all = Promise.withResolvers<undefined>();
    for (const version of versions) {
      await this.#session.subscribe(topics.root(version), (payload) => {
        if (payload.length > 0) held.set(version, payload);
        if (held.size === versions.length) all.resolve(undefined);
      });
    }
    const timer = setTimeout(all.resolve, this.#way.waitMs, undefined);
    // Whoever stops the command does not wait for it: the connection keeps the process until then.
    timer.unref();
    await all.promise;
    clearTimeout(timer);
    for (const version of versions) await this.#session.unsubscribe(topics.root(version));
    return held;
  }
}

function refuseOther({ document, bytes, digest }: CheckedRoot, held: Uint8Array | undefined): void {
  if (held === undefined || equalBytes(held, bytes)) return;
  throw new Refusal("E_ROLLBACK", `another root version ${document.version} is retained at the broker`, {
    expected: digest,
    found: sha256Hex(held),
    hint: "nothing was published; look at who may publish there, and give --replace to put yours in its place",
  });
}

function unheld(version: number): Refusal {
  return new Refusal("E_TIMEOUT", `the broker does not give root version ${version} back`, {
    hint: "it must keep retained messages, and let this client write and read bulkhead/v1/root/+; or give --wait more",
  });
}

function overwritten(version: number, found: Uint8Array): Refusal {
  return new Refusal("E_DIGEST", `the broker gives another root version ${version} back than was published`, {
    found: sha256Hex(found),
    hint: "look at who else may publish below bulkhead/v1/root/",
  });
}

function unanswered(timeoutMs: number): Refusal {
  return new Refusal("E_TIMEOUT", `the broker did not acknowledge everything in ${timeoutMs / 1000} s`, {
    hint: "run it again when the broker answers; what is there already is left as it is",
  });
}

function report(
  roots: readonly CheckedRoot[],
  outcomes: readonly Outcome[],
  base: TrustState | undefined,
  isBaseMissing: boolean,
): Report {
  const [first, last] = [roots.at(0), roots.at(-1)];
  if (first === undefined || last === undefined) throw new RangeError("no roots");
  const [low, high] = [first.document.version, last.document.version];
  const which = low === high ? `root version ${low} is` : `root versions ${low} to ${high} are`;
  const expires = formatDate(last.document.expires);
  const unchecked = base === undefined && low > 1;
  const notes = [
    ...(unchecked ? [`not checked: signatures by the keys of version ${low - 1}; give that root as --from`] : []),
    ...(isBaseMissing ? [`version ${low - 1} is not at the broker: a gateway without it takes none of these`] : []),
  ];
  return {
    lines: [`OK: ${which} retained at the broker; version ${high} expires ${expires}`, ...notes],
    json: {
      ok: true,
      roots: roots.map(({ document, digest }, index) => {
        return { version: document.version, digest, outcome: outcomes[index] };
      }),
      expires,
      from: base?.root.version ?? null,
      missing: isBaseMissing ? [low - 1] : [],
    },
  };
}
