/** One bus shared by several devices: fair turns, time limits, and a bus that hangs. */
import { describe, expect, it } from "vitest";
import { DeviceFailure } from "../../gateway/device/failure.ts";
import { BusQueue } from "../../gateway/device/queue.ts";

const never = new AbortController().signal;

function deferred() {
  let release = (): void => undefined;
  const promise = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { promise, release };
}

async function resultOf(transfer: Promise<unknown>): Promise<string> {
  const error: unknown = await transfer.catch((reason: unknown) => reason);
  return error instanceof DeviceFailure ? error.result : "ok";
}

describe("a shared bus", () => {
  it("carries one transfer at a time, turn by turn among devices and in order within one", async () => {
    const queue = new BusQueue("bus", 1000);
    const order: string[] = [];
    let running = 0;
    const ask = (device: number, label: string) =>
      queue.run(device, never, async () => {
        expect(++running).toBe(1);
        await new Promise((resolve) => setImmediate(resolve));
        order.push(label);
        running--;
      });
    await Promise.all([ask(1, "a1"), ask(1, "a2"), ask(1, "a3"), ask(2, "b1"), ask(3, "c1"), ask(2, "b2")]);
    expect(order).toEqual(["a1", "a2", "b1", "c1", "a3", "b2"]);
  });

  it("hands on the failure of a transfer and goes on", async () => {
    const queue = new BusQueue("bus", 1000);
    const failing = queue.run(1, never, () => Promise.reject(new DeviceFailure("not-acknowledged", "nobody")));
    const next = queue.run(1, never, () => Promise.resolve(7));
    expect(await resultOf(failing)).toBe("not-acknowledged");
    expect(await next).toBe(7);
  });

  it("refuses a device that queues without end, and serves the others", async () => {
    const queue = new BusQueue("bus", 1000);
    const first = deferred();
    const running = queue.run(1, never, () => first.promise);
    const waiting = Array.from({ length: 16 }, () => queue.run(1, never, () => Promise.resolve()));
    expect(await resultOf(queue.run(1, never, () => Promise.resolve()))).toBe("busy");
    const other = queue.run(2, never, () => Promise.resolve("served"));
    first.release();
    await Promise.all([running, ...waiting]);
    expect(await other).toBe("served");
  });

  it("takes a cancelled transfer out of the queue", async () => {
    const queue = new BusQueue("bus", 1000);
    const first = deferred();
    const controller = new AbortController();
    const running = queue.run(1, never, () => first.promise);
    let didRun = false;
    const cancelled = queue.run(2, controller.signal, () => {
      didRun = true;
      return Promise.resolve();
    });
    controller.abort();
    expect(await resultOf(cancelled)).toBe("cancelled");
    expect(await resultOf(queue.run(2, controller.signal, () => Promise.resolve()))).toBe("cancelled");
    first.release();
    await running;
    expect(await queue.run(3, never, () => Promise.resolve("next"))).toBe("next");
    expect(didRun).toBe(false);
  });

  it("times out a transfer that hangs, answers the others at once, and recovers when it comes back", async () => {
    const queue = new BusQueue("bus", 30);
    const hanging = deferred();
    const first = queue.run(1, never, () => hanging.promise);
    const second = queue.run(2, never, () => Promise.resolve());
    expect(await resultOf(first)).toBe("timeout");
    expect(await resultOf(second)).toBe("io");
    expect(await resultOf(queue.run(3, never, () => Promise.resolve()))).toBe("io");
    expect(queue.hungMs).toBeGreaterThan(0);
    hanging.release();
    await new Promise((resolve) => setImmediate(resolve));
    expect(queue.hungMs).toBe(0);
    expect(await queue.run(3, never, () => Promise.resolve("recovered"))).toBe("recovered");
  });

  it("says when a transfer will not come back, and not when it does", async () => {
    const hung: string[] = [];
    const queue = new BusQueue("bus", 5, (text) => hung.push(text));
    await queue.run(1, never, () => Promise.resolve());
    const late = deferred();
    const returning = queue.run(1, never, () => late.promise);
    expect(await resultOf(returning)).toBe("timeout");
    late.release();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(hung).toEqual([]);
    expect(await resultOf(queue.run(1, never, () => deferred().promise))).toBe("timeout");
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(hung).toEqual(["bus: a transfer has not come back for 50 ms"]);
  });
});
