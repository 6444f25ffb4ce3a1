/** Fetches what the partitions trace, for the owner's command line: in pieces that fit in a frame. */
import type { Inspection } from "../../kernel/index.ts";
import type { TraceAnswer } from "../wire/operator.ts";

/** Pieces of one answer; each is at most 200 KB. */
const PIECES = 4;

export class Tracer {
  readonly #inspect: (trace: boolean) => Promise<Inspection>;
  #pieces: TraceAnswer["pieces"][number][] = [];

  constructor(inspect: (trace: boolean) => Promise<Inspection>) {
    this.#inspect = inspect;
  }

  /** Begins a trace, goes on with it, or ends it. */
  async take(isWanted: boolean): Promise<TraceAnswer> {
    const { modules, traces } = await this.#inspect(isWanted);
    for (const { name, records, lost } of traces) {
      if (records.length === 0 && lost === 0) continue;
      this.#pieces.push({ partition: name, lost, records: new Uint8Array(records.buffer, 0, records.byteLength) });
    }
    const pieces = this.#pieces.splice(0, PIECES);
    // A trace that is over is owed to nobody.
    const hasMore = this.#pieces.length > 0;
    return {
      modules: modules.map(({ module, name, partition }) => ({ id: module, name, partition })),
      partitions: traces.map(({ name }) => name),
      pieces,
      hasMore,
    };
  }
}
