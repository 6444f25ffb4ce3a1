/** What goes into a handler and what comes out of it: its next input, put into the inbox, and its reply to the caller. */
import { FIRST_MODULE_ERROR, HANDLES_SLOT, KERNEL_PORT, KIND, RESULT, resultName } from "../abi.ts";
import { encodeCbor } from "../cbor/index.ts";
import type { Capability } from "../ipc/capability.ts";
import type { Message } from "../ipc/mailbox.ts";
import { LIMITS } from "../limits.ts";
import { guestLength, guestPointer } from "../memory.ts";
import type { Incarnation, ModuleCell } from "./cell.ts";
import { GuestStopped } from "./fault.ts";
import { decodeResult } from "./instance.ts";
import type { PostOffice } from "./post.ts";
import { TRACE, type Trace } from "./trace.ts";

const NO_HANDLES: readonly number[] = Object.freeze([]);
const NOTHING = new Uint8Array(0);

/** @returns the payload's length, or -1 where there is nothing to run. */
export function deliverNext(
  incarnation: Incarnation,
  post: PostOffice,
  onInput: (cell: ModuleCell, message: Message) => void,
): number {
  const { cell, instance } = incarnation;
  const notice = cell.notices.length > 0 ? cell.notices.shift() : undefined;
  if (notice !== undefined) return deliverOwn(incarnation, KIND.notice, KERNEL_PORT, notice);
  if (cell.ticks.size > 0) return deliverTick(incarnation);
  const message = cell.mailbox.take();
  if (message === undefined) return -1;
  if (message.length > instance.payloadRoom) {
    turnAway(cell, post, message);
    return -1;
  }
  if (cell.swap !== undefined) onInput(cell, message);
  return deliverMessage(incarnation, message);
}

/** Delivers what the kernel itself has to say. */
function deliverOwn({ cell, instance }: Incarnation, kind: number, port: number, payload: Uint8Array): number {
  const { length } = payload;
  const header = { kind, length, senderModule: 0, senderGeneration: 0, badge: 0, correlation: 0 };
  instance.deliver(header, payload, NO_HANDLES);
  Object.assign(cell.activation, { kind, port, correlation: 0 });
  return length;
}

/** The expirations of one timer that waits. */
function deliverTick(incarnation: Incarnation): number {
  const { ticks } = incarnation.cell;
  const [port, expirations] = ticks.entries().next().value ?? [0, 0];
  ticks.delete(port);
  return deliverOwn(incarnation, KIND.event, port, encodeCbor(expirations));
}

/** A message that was accepted for an older version with a larger inbox. */
function turnAway(cell: ModuleCell, post: PostOffice, message: Message): void {
  if (message.kind === KIND.call) {
    post.answer(message.senderLife, message.correlation, RESULT["too-large"], NOTHING);
  }
  cell.mailbox.addLost(message.port, 1);
  cell.mailbox.recycle(message);
}

function deliverMessage({ cell, instance }: Incarnation, message: Message): number {
  const { activation } = cell;
  activation.kind = message.kind;
  activation.port = message.port;
  activation.correlation = message.correlation;
  activation.senderLife = message.senderLife;
  cell.taken = message.edge;
  const handles = message.capabilities.length === 0 ? NO_HANDLES : receiveHandles(cell, message.capabilities);
  instance.deliver(message, message.payload, handles, message.words, cell.mailbox.takeLost(message.port));
  const { length } = message;
  cell.mailbox.recycle(message);
  return length;
}

/** A sender can fill no receiver: who could drop no handle gets none, and half of all are for what it derives itself. */
function receiveHandles({ handles, links }: ModuleCell, capabilities: readonly Capability[]): number[] {
  const most = links.get(HANDLES_SLOT)?.rights.includes("use") === true ? LIMITS.handles / 2 : 0;
  // Handle 0 says that the capability was closed.
  return capabilities.map((capability) => (handles.size < most ? handles.add(capability) : undefined) ?? 0);
}

/** Of the messages of a route those that wait are the last that were let in, so the one that was taken came before them. */
export function traceBegin(cell: ModuleCell, trace: Trace): void {
  const { taken, activation } = cell;
  const number = taken === undefined ? 0 : taken.sent - taken.queued;
  trace.add(TRACE.begin, cell.id, taken?.id ?? 0, number, activation.port * 256 + activation.kind);
  cell.taken = undefined;
}

/** Answers the caller. @returns the module's fault, where what its handler gave is one. */
export function answerCaller(
  { cell, instance }: Incarnation,
  post: PostOffice,
  packed: number,
): GuestStopped | undefined {
  const { kind, senderLife, correlation } = cell.activation;
  if (packed < 0 && packed > FIRST_MODULE_ERROR) {
    const name = resultName(packed);
    return new GuestStopped("contract", `the handler returned ${name}, a result that is the kernel's own`);
  }
  if (kind !== KIND.call) return undefined;
  const { error, address, length } = decodeResult(packed);
  const isReadable = length <= LIMITS.payloadBytes;
  const bytes = isReadable ? instance.memory.read(guestPointer(address), guestLength(length)) : undefined;
  if (bytes === undefined) {
    return new GuestStopped("contract", `the reply (${length} bytes at ${address}) cannot be read`);
  }
  post.answer(senderLife, correlation, error, error < 0 ? NOTHING : bytes);
  return undefined;
}
