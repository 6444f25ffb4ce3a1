/** What a module holds beside its code: put down and taken up again where a swap goes back, and packed where one moves it. */
import { makeEdge, type Message } from "../ipc/mailbox.ts";
import { HandleTable } from "../ipc/capability.ts";
import { LIMITS } from "../limits.ts";
import type { ModuleCell } from "./cell.ts";
import type { HeldTimer, Holdings, Luggage, PackedMessage } from "./protocol.ts";
import type { PostOffice } from "./post.ts";
import type { Environment } from "./runner.ts";

/** As much of a partition as timers need: its heap of them, its clock, and how a cell is woken. */
type Clockwork = Pick<Environment, "timers" | "now" | "ready">;

/** Sets a slot's one timer, in the place of any before it. `due` is of performance.now(), which all threads share. */
export function arm(clockwork: Clockwork, cell: ModuleCell, timer: HeldTimer): void {
  const { slot, port, due, periodMs } = timer;
  cell.slotTimers.get(slot)?.cancel();
  const expire = (): void => {
    // A late timer counts the periods that have passed, so that a listener sees how many ticks it missed.
    const expirations = periodMs === 0 ? 1 : 1 + Math.floor((clockwork.now() - due) / periodMs);
    cell.ticks.set(port, (cell.ticks.get(port) ?? 0) + expirations);
    if (periodMs > 0) arm(clockwork, cell, { ...timer, due: due + expirations * periodMs });
    else cell.slotTimers.set(slot, { ...timer, due: Number.POSITIVE_INFINITY, cancel: () => undefined });
    clockwork.ready(cell);
  };
  cell.slotTimers.set(slot, { ...timer, cancel: clockwork.timers.at(due, expire) });
}

/** A copy that another thread can take. */
export function holdingsOf({ handles, slotTimers, ticks }: ModuleCell): Holdings {
  const armed = [...slotTimers.values()].filter(({ due }) => due !== Number.POSITIVE_INFINITY);
  const timers = armed.map(({ slot, port, due, periodMs }) => ({ slot, port, due, periodMs }));
  return { handles: handles.contents(), timers, ticks: [...ticks] };
}

export function takeUp(clockwork: Clockwork, cell: ModuleCell, { handles, timers, ticks }: Holdings): void {
  cell.stopTimers();
  cell.handles = new HandleTable(handles);
  cell.ticks.clear();
  for (const [port, count] of ticks) cell.ticks.set(port, count);
  for (const timer of timers) arm(clockwork, cell, timer);
}

/** Takes everything that waits out of the cell; `first` goes before it. */
export function pack(cell: ModuleCell, post: PostOffice, first: readonly Message[] = []): Luggage {
  const messages = [...first];
  for (let message = cell.mailbox.take(); message !== undefined; message = cell.mailbox.take()) messages.push(message);
  const { partition, pending } = post;
  const own = pending.requestsOf(cell).map(([correlation, port]) => [correlation, { partition, port }] as const);
  return {
    messages: messages.map(({ edge, words: _, next: _next, ...message }): PackedMessage => {
      return { ...message, edge: edge.id, payload: message.payload.slice(0, message.length) };
    }),
    lost: cell.mailbox.takeAllLost(),
    notices: cell.notices.splice(0),
    requests: [...cell.asked, ...own],
    replayed: first.length,
  };
}

/** Puts what came with the module before everything that has come to it here. */
export function unpack(cell: ModuleCell, post: PostOffice, { messages, lost, notices, requests }: Luggage): void {
  const unknown = makeEdge(0, LIMITS.mailboxDepth, "drop-oldest");
  cell.mailbox.putBack(
    messages.map(({ edge, payload, ...message }) => {
      const words = new DataView(payload.buffer);
      return { ...message, edge: post.edge(edge) ?? unknown, payload, words, next: undefined };
    }),
  );
  for (const [port, count] of lost) cell.mailbox.addLost(port, count);
  cell.notices.unshift(...notices);
  for (const [correlation, asked] of requests)
    if (asked.partition !== post.partition) cell.asked.set(correlation, asked);
}
