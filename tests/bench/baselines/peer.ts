/** The other thread of a baseline: answers over a MessagePort, or at the other end of an Atomics ping-pong. */
import { parentPort, workerData } from "node:worker_threads";

const { words } = workerData as { words: Int32Array<SharedArrayBuffer> };

/** Words of the ping-pong: what the main thread writes, and what this one writes. */
const PING = 0;
const PONG = 1;

function pong(rounds: number): void {
  const start = Atomics.load(words, PING);
  parentPort?.postMessage("ready");
  for (let round = 0; round < rounds; round++) {
    while (Atomics.load(words, PING) === start + round) Atomics.wait(words, PING, start + round);
    Atomics.add(words, PONG, 1);
    Atomics.notify(words, PONG);
  }
}

parentPort?.on("message", (message: Uint8Array | { pong: number } | { echo: true }) => {
  if (message instanceof Uint8Array) {
    // The last of a flood asks for an answer by its first byte; a round trip asks each time.
    if (message[0] === 1) parentPort?.postMessage(message);
  } else if ("pong" in message) pong(message.pong);
});
