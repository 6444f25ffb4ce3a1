/** Turns what partitions recorded into trace events that Perfetto and chrome://tracing open: a track per module, an arrow per message. */
import { KIND, TRACE, TRACE_FIELDS } from "../../kernel/index.ts";

export interface TracedPartition {
  readonly name: string;
  /** Records of `TRACE_FIELDS` numbers each, in the order of time. */
  readonly records: Float64Array;
}

export interface TracedModule {
  readonly id: number;
  readonly name: string;
  readonly partition: string;
}

/** The Trace Event Format (Google, 2016), as far as it is used: times in microseconds. */
export interface TraceEvent {
  readonly ph: "M" | "X" | "s" | "f";
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly id?: number;
  /** The arrow ends at the slice around it, not at the next one. */
  readonly bp?: "e";
  readonly args?: Readonly<Record<string, string | number>>;
}

interface Place {
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
}

interface Open {
  readonly ts: number;
  readonly name: string;
}

const KINDS = new Map<number, string>(Object.entries(KIND).map(([name, code]) => [code, name]));

export function perfetto(partitions: readonly TracedPartition[], modules: readonly TracedModule[]): TraceEvent[] {
  const names = partitions.map(({ name }, index): TraceEvent => {
    return { ph: "M", name: "process_name", pid: index + 1, tid: 0, args: { name: `partition ${name}` } };
  });
  const tracks = modules.map(({ id, name, partition }): TraceEvent => {
    const pid = partitions.findIndex((candidate) => candidate.name === partition) + 1;
    return { ph: "M", name: "thread_name", pid, tid: id, args: { name } };
  });
  const crossings = new Crossings();
  const slices = partitions.flatMap((partition, index) => slicesOf(partition.records, index + 1, crossings));
  return [...names, ...tracks, ...slices, ...crossings.arrows()];
}

function slicesOf(records: Float64Array, pid: number, crossings: Crossings): TraceEvent[] {
  const events: TraceEvent[] = [];
  const active = new Map<number, Open>();
  const waiting = new Map<number, Open>();
  const close = (open: Map<number, Open>, tid: number, ts: number): void => {
    const begun = open.get(tid);
    open.delete(tid);
    if (begun !== undefined)
      events.push({ ph: "X", cat: "module", pid, tid, ...begun, dur: Math.max(0, ts - begun.ts) });
  };
  for (let at = 0; at + TRACE_FIELDS <= records.length; at += TRACE_FIELDS) {
    const [kind = 0, ts = 0, tid = 0, a = 0, b = 0, c = 0] = records.subarray(at, at + TRACE_FIELDS);
    switch (kind) {
      case TRACE.begin:
        active.set(tid, { ts, name: `${KINDS.get(c % 256) ?? "message"} on port ${Math.floor(c / 256)}` });
        crossings.taken(a, b, { pid, tid, ts });
        break;
      case TRACE.wait:
        waiting.set(tid, { ts, name: "waiting" });
        break;
      case TRACE.resume:
        close(waiting, tid, ts);
        break;
      case TRACE.end:
        close(waiting, tid, ts);
        close(active, tid, ts);
        break;
      case TRACE.send:
        crossings.sent(a, b, { pid, tid, ts });
        break;
      case TRACE.cross:
        crossings.left(a, b, { pid, tid, ts });
        break;
      case TRACE.arrive:
        crossings.arrived(a, b, c, ts);
        break;
    }
  }
  return events;
}

/**
 * Which message is which: inside a partition by its route and number, between two by its route and its place in the ring, which
 * comes again after a while, so that the order of time decides.
 */
class Crossings {
  readonly #sent = new Map<string, Place>();
  readonly #left = new Map<string, Place[]>();
  readonly #arrivals: { readonly key: string; readonly message: string; readonly ts: number }[] = [];
  readonly #taken: { readonly message: string; readonly place: Place }[] = [];

  sent(edge: number, number: number, place: Place): void {
    this.#sent.set(`${edge} ${number}`, place);
  }

  left(edge: number, address: number, place: Place): void {
    const key = `${edge} ${address}`;
    const places = this.#left.get(key);
    if (places === undefined) this.#left.set(key, [place]);
    else places.push(place);
  }

  arrived(edge: number, address: number, number: number, ts: number): void {
    this.#arrivals.push({ key: `${edge} ${address}`, message: `${edge} ${number}`, ts });
  }

  taken(edge: number, number: number, place: Place): void {
    if (edge > 0) this.#taken.push({ message: `${edge} ${number}`, place });
  }

  arrows(): TraceEvent[] {
    for (const { key, message, ts } of this.#arrivals) {
      const from = this.#left.get(key)?.findLast((place) => place.ts <= ts);
      if (from !== undefined) this.#sent.set(message, from);
    }
    return this.#taken.flatMap(({ message, place }, index): TraceEvent[] => {
      const from = this.#sent.get(message);
      if (from === undefined || from.ts > place.ts) return [];
      const arrow = { name: "message", cat: "message", id: index + 1 } as const;
      return [
        { ph: "s", ...arrow, ...from },
        { ph: "f", bp: "e", ...arrow, ...place },
      ];
    });
  }
}
