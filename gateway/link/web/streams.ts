/** The live view: server-sent events to a few readers, each of which may be slow, and none of which is waited for. */
import type { ServerResponse } from "node:http";
import type { Feed } from "./feed.ts";
import { WEB_LIMITS } from "./limits.ts";

interface Stream {
  readonly response: ServerResponse;
  /** False once whoever looks is logged out: by himself, by another, or by time. */
  readonly mayLook: () => boolean;
  /** Cursor in the history. */
  since: number;
  /** When its buffer was last short enough to take more. */
  movedAt: number;
}

export class Streams {
  readonly #feed: Feed;
  readonly #streams = new Set<Stream>();
  #timer: NodeJS.Timeout | undefined;
  #isLooking = false;

  constructor(feed: Feed) {
    this.#feed = feed;
  }

  get count(): number {
    return this.#streams.size;
  }

  get isFull(): boolean {
    return this.#streams.size >= WEB_LIMITS.streams;
  }

  /** The response has its head; from now on it belongs to the stream. */
  add(response: ServerResponse, mayLook: () => boolean): void {
    const stream = { response, mayLook, since: 0, movedAt: performance.now() };
    this.#streams.add(stream);
    response.on("close", () => {
      this.#streams.delete(stream);
      if (this.#streams.size === 0) this.#rest();
    });
    this.#timer ??= setInterval(() => void this.#look(), WEB_LIMITS.lookMs);
    void this.#look();
  }

  stop(): void {
    this.#rest();
    for (const { response } of this.#streams) response.destroy();
  }

  #rest(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    for (const { response, mayLook } of [...this.#streams]) if (!mayLook()) response.destroy();
    this.#isLooking = true;
    try {
      const snapshot = await this.#feed.snapshot();
      const { chain } = await this.#feed.audit(1, "");
      this.#tell("snapshot", JSON.stringify({ ...snapshot, chain }));
      await this.#tellHistory();
    } catch (error) {
      this.#tell("trouble", JSON.stringify({ text: error instanceof Error ? error.message : "" }));
    } finally {
      this.#isLooking = false;
    }
  }

  async #tellHistory(): Promise<void> {
    for (const stream of [...this.#streams]) {
      if (!takesMore(stream)) continue;
      const history = await this.#feed.history(stream.since);
      stream.since = history.next;
      if (history.entries.length > 0) write(stream, "history", JSON.stringify(history));
    }
  }

  /** A reader that is behind misses views: the next one says all that they said. */
  #tell(event: string, data: string): void {
    const now = performance.now();
    for (const stream of [...this.#streams]) {
      if (takesMore(stream)) {
        stream.movedAt = now;
        write(stream, event, data);
      } else if (now - stream.movedAt > WEB_LIMITS.stalledMs) stream.response.destroy();
    }
  }
}

function takesMore({ response }: Stream): boolean {
  return response.writableLength < WEB_LIMITS.streamBytes;
}

/** JSON has no line ends of its own, so an event is one line of data. */
function write({ response }: Stream, event: string, data: string): void {
  response.write(`event: ${event}\ndata: ${data}\n\n`);
}
