/** Operations that a partition answers itself: endpoints, handles, timers, clock, random and log. */
import { randomFillSync } from "node:crypto";
import { ENDPOINT_RIGHT, HANDLE_COPY, HANDLES_SLOT, KIND, MAXIMUM_HANDLES, RESULT } from "../abi.ts";
import { type Capability, MAXIMUM_VIA, NO_CAPABILITIES, rightBits } from "../ipc/capability.ts";
import { makeEdge } from "../ipc/mailbox.ts";
import { LIMITS } from "../limits.ts";
import { type GuestLength, guestLength, type GuestPointer, guestPointer } from "../memory.ts";
import type { Outgoing } from "./post.ts";
import { chargeBytes, deny, type GuestFunction, type LinkContext, OPERATION_FUEL, pay } from "./link.ts";
import { arm } from "./luggage.ts";
import type { SlotLink } from "./protocol.ts";

type LocalOperation = (context: LinkContext, slot: SlotLink) => GuestFunction;

/** Longest time that a guest may name: about 24 days; longer ones say nothing that a restart does not undo. */
const MAXIMUM_MILLISECONDS = 0x7fff_ffff;
const NO_EDGES: readonly number[] = Object.freeze([]);
const NOWHERE: Capability = {
  target: { edge: 0, module: 0, partition: -1, port: -1, via: NO_EDGES },
  rights: 0,
  badge: 0,
};
/** Filled anew for each message, and read before the next: so a message allocates nothing. */
const OUTGOING: Outgoing = { kind: 0, capability: NOWHERE, correlation: 0, capabilities: NO_CAPABILITIES };
const utf8 = new TextDecoder("utf-8", { fatal: false });

const OPERATIONS: Readonly<Record<string, LocalOperation>> = {
  "endpoint.send": (context, slot) => {
    const current = capabilitiesOf(context, slot);
    return (address: number, length: number, handles: number, count: number) =>
      sendAll(context, slot.slot, current(), address, length, handles, count >>> 0);
  },

  "endpoint.call": (context, slot) => {
    const current = capabilitiesOf(context, slot);
    return (address: number, length: number, reply: number, capacity: number, timeoutMs: number) =>
      call(context, slot.slot, current()[0], address, length, reply, capacity, timeoutMs);
  },

  "endpoint.request": (context, slot) => {
    const current = capabilitiesOf(context, slot);
    const replies = makeEdge(0, LIMITS.pendingRequests, "refuse");
    return (address: number, length: number, timeoutMs: number) => {
      const { cell } = context.incarnation;
      pay(context, OPERATION_FUEL.handles);
      const [capability] = current();
      if (capability === undefined || (capability.rights & ENDPOINT_RIGHT.call) === 0) {
        return deny(context, slot.slot, "request");
      }
      if (slot.eventPort < 0 || timeoutMs < 1) return RESULT.invalid;
      // Answers that wait in the mailbox count as well, so that there is always room for one more.
      if (cell.pendingRequests + cell.asked.size + replies.queued >= LIMITS.pendingRequests) return RESULT.quota;
      const answer = (result: number, bytes: Uint8Array): void => {
        cell.pendingRequests--;
        const checked = result < 0 ? result : checkReply(context, slot.slot, capability, bytes);
        context.post.deliverAnswer(cell, replies, slot.eventPort, correlation, checked, bytes);
      };
      const { incarnation, post } = context;
      const correlation = post.pending.expect(incarnation, capability.target, timeoutMs, answer, slot.eventPort);
      cell.pendingRequests++;
      const sent = send(context, slot.slot, capability, KIND.call, correlation, address, length, NO_CAPABILITIES);
      if (sent === 0) return correlation;
      // The caller learns of it by the result; a message about it as well would be one too many.
      cell.pendingRequests--;
      context.post.pending.forget(correlation);
      return sent;
    };
  },

  "endpoint.derive": (context, slot) => {
    const current = capabilitiesOf(context, slot);
    return (rights: number) => {
      pay(context, OPERATION_FUEL.handles);
      const [capability, ...others] = current();
      if (capability === undefined || others.length > 0) return RESULT.invalid;
      if ((capability.rights & ENDPOINT_RIGHT.pass) === 0) return deny(context, slot.slot, "derive");
      return addNarrowed(context, slot.slot, capability, rights);
    };
  },

  "handles.send":
    (context, { slot }) =>
    (handle: number, address: number, length: number, handles: number, count: number) => {
      const capability = context.incarnation.cell.handles.find(handle);
      if (capability === undefined) return deny(context, slot, "send", "bad-handle");
      return sendAll(context, slot, [capability], address, length, handles, count >>> 0);
    },

  "handles.call":
    (context, { slot }) =>
    (handle: number, address: number, length: number, reply: number, capacity: number, timeoutMs: number) => {
      const capability = context.incarnation.cell.handles.find(handle);
      if (capability === undefined) return deny(context, slot, "call", "bad-handle");
      // Calls by slots go upward because they are granted; a handle may have come from anywhere.
      const isUpward = context.post.policy.mayCall(context.incarnation.cell.id, capability.target.module);
      if (!isUpward && (capability.rights & ENDPOINT_RIGHT.call) !== 0) return deny(context, slot, "call", "level");
      return call(context, slot, capability, address, length, reply, capacity, timeoutMs);
    },

  "handles.narrow":
    (context, { slot }) =>
    (handle: number, rights: number) => {
      const capability = context.incarnation.cell.handles.find(handle);
      return capability === undefined
        ? deny(context, slot, "narrow", "bad-handle")
        : addNarrowed(context, slot, capability, rights);
    },

  "handles.drop":
    (context, { slot }) =>
    (handle: number) =>
      context.incarnation.cell.handles.close(handle) ? 0 : deny(context, slot, "drop", "bad-handle"),

  "timer.after": (context, slot) => (delayMs: number) => setTimer(context, slot, delayMs, 0),
  "timer.every": (context, slot) => (periodMs: number) =>
    periodMs < 1 ? RESULT.invalid : setTimer(context, slot, periodMs, periodMs),
  "timer.cancel": (context, slot) => () => {
    context.incarnation.cell.cancelTimer(slot.slot, slot.eventPort);
    return 0;
  },

  "timer.sleep": (context) => (delayMs: number) => {
    if (delayMs < 0) return RESULT.invalid;
    return context.suspend((complete) => context.timers.at(context.now() + delayMs, () => complete(0)));
  },

  "clock.monotonic": (context) => () => BigInt(Math.round(context.now() * 1e6)),
  "clock.wall": () => () => BigInt(Date.now()),
  "random.fill":
    (context, { slot }) =>
    (address: number, length: number) => {
      const place = guestPointer(address);
      const count = guestLength(length);
      const { memory } = context.incarnation.instance;
      if (count > LIMITS.payloadBytes) return RESULT["too-large"];
      if (!memory.covers(place, count)) return deny(context, slot, "fill", "bad-address");
      // A random byte costs about as much as eight copied ones.
      chargeBytes(context, count * 8);
      return memory.write(place, randomFillSync(new Uint8Array(count))) ? count : RESULT["bad-address"];
    },

  "log.write":
    (context, { slot }) =>
    (level: number, address: number, length: number) => {
      const { cell, instance } = context.incarnation;
      if (level < 0 || level > 3) return RESULT.invalid;
      const cut = guestLength(Math.min(length >>> 0, LIMITS.logBytes));
      const bytes = instance.memory.read(guestPointer(address), cut);
      if (bytes === undefined) return deny(context, slot, "write", "bad-address");
      // A flood of lines is counted and told once a second, so that it can neither fill a disk nor hide another's.
      const suppressed = cell.logLines.admit(context.now());
      if (suppressed === undefined) return 0;
      if (suppressed > 0) {
        context.report({ type: "log", module: cell.id, level: 1, text: `${suppressed} log lines suppressed` });
      }
      context.report({ type: "log", module: cell.id, level, text: utf8.decode(bytes) });
      return 0;
    },
};

/** Keys are `interface.operation`. A null prototype, because keys come from binaries. */
export const LOCAL_OPERATIONS: typeof OPERATIONS = Object.freeze(
  Object.assign(Object.create(null) as object, OPERATIONS),
);

/** The slot's capabilities, made anew when a link order changes its targets. */
function slotCapabilities({ edges, rights, badge }: SlotLink): readonly Capability[] {
  // SAFETY: the configuration gives an endpoint slot no other rights than these.
  const bits = rightBits(rights as ("send" | "call" | "pass")[]);
  return edges.map(({ edge, module, partition, port }) => ({
    target: { edge, module, partition, port, via: NO_EDGES },
    rights: bits,
    badge,
  }));
}

/** Reads the slot's targets late, so that a link order takes effect at the next use. */
function capabilitiesOf(context: LinkContext, slot: SlotLink): () => readonly Capability[] {
  const { cell } = context.incarnation;
  let seen = -1;
  let capabilities = slotCapabilities(slot);
  return () => {
    if (cell.linkVersion !== seen) {
      seen = cell.linkVersion;
      capabilities = slotCapabilities(cell.links.get(slot.slot) ?? slot);
    }
    return capabilities;
  };
}

/** Sends to each, with the handles, which move where all have taken it. @returns the worst result. */
function sendAll(
  context: LinkContext,
  slot: string,
  capabilities: readonly Capability[],
  address: number,
  length: number,
  handles: number,
  count: number,
): number {
  // Each send pays for itself; one that leads nowhere pays for that.
  if (capabilities.length === 0) pay(context, OPERATION_FUEL.handles);
  const passed = takeHandles(context, handles, count);
  if (typeof passed === "number") return passed;
  let worst = 0;
  for (const capability of capabilities)
    worst = Math.min(worst, send(context, slot, capability, KIND.send, 0, address, length, passed));
  if (worst === 0) closeMoved(context, handles, count);
  return worst;
}

function send(
  context: LinkContext,
  slot: string,
  capability: Capability,
  kind: number,
  correlation: number,
  address: number,
  length: number,
  capabilities: readonly Capability[],
): number {
  const right = kind === KIND.send ? ENDPOINT_RIGHT.send : ENDPOINT_RIGHT.call;
  const operation = kind === KIND.send ? "send" : "call";
  const { cell, instance } = context.incarnation;
  pay(context, OPERATION_FUEL.send + (Math.min(length >>> 0, LIMITS.payloadBytes) >>> 3));
  if ((capability.rights & right) === 0) return deny(context, slot, operation);
  if (capabilities.length > 0 && !capabilities.every((passed) => mayHold(context, capability.target.module, passed))) {
    return deny(context, slot, operation, "level", "the receiver of a handle could not call by it");
  }
  const wrong = contentFault(context, capability, address, length);
  if (wrong !== undefined) return deny(context, slot, operation, "contract", wrong);
  OUTGOING.kind = kind;
  OUTGOING.capability = capability;
  OUTGOING.correlation = correlation;
  OUTGOING.capabilities = capabilities;
  const result = context.post.send(cell, OUTGOING, instance.memory, guestPointer(address), guestLength(length));
  if (result === RESULT.denied) return deny(context, slot, operation);
  return result === RESULT["bad-address"] ? deny(context, slot, operation, "bad-address") : result;
}

function call(
  context: LinkContext,
  slot: string,
  capability: Capability | undefined,
  address: number,
  length: number,
  reply: number,
  capacity: number,
  timeoutMs: number,
): number | Promise<number> {
  pay(context, OPERATION_FUEL.handles);
  if (capability === undefined || (capability.rights & ENDPOINT_RIGHT.call) === 0) return deny(context, slot, "call");
  if (timeoutMs < 1) return RESULT.invalid;
  const { memory } = context.incarnation.instance;
  const place = guestPointer(reply);
  if (!memory.covers(place, guestLength(capacity))) return deny(context, slot, "call", "bad-address");
  let finish: (result: number, bytes: Uint8Array) => void = () => undefined;
  const correlation = context.post.pending.expect(
    context.incarnation,
    capability.target,
    timeoutMs,
    (result, bytes) => {
      finish(result, bytes);
    },
  );
  const sent = send(context, slot, capability, KIND.call, correlation, address, length, NO_CAPABILITIES);
  if (sent !== 0) {
    context.post.pending.forget(correlation);
    return sent;
  }
  return context.suspend((complete) => {
    finish = (result, bytes) => {
      const checked = result < 0 ? result : checkReply(context, slot, capability, bytes);
      complete(checked < 0 ? checked : takeReply(context, place, guestLength(capacity), bytes));
    };
    return () => context.post.pending.forget(correlation);
  });
}

/** A capability that can call must lead upward from whoever gets it, so that it can close no cycle of waiting. */
function mayHold({ post }: LinkContext, receiver: number, { rights, target }: Capability): boolean {
  return (rights & ENDPOINT_RIGHT.call) === 0 || post.policy.mayCall(receiver, target.module);
}

/** What a guarded route finds wrong with a message; one that cannot be read is refused as any other. */
function contentFault(context: LinkContext, { target }: Capability, at: number, length: number): string | undefined {
  const { policy } = context.post;
  if (!policy.isGuarded(target.edge) || length >>> 0 > LIMITS.payloadBytes) return undefined;
  const bytes = context.incarnation.instance.memory.read(guestPointer(at), guestLength(length));
  return bytes && policy.violation(target.edge, "message", bytes, (fuel) => pay(context, fuel));
}

/** @returns 0, or `contract` where the reply is not what the port's contract says. No handler may be at it: the period pays. */
function checkReply(context: LinkContext, slot: string, { target }: Capability, bytes: Uint8Array): number {
  const { cell } = context.incarnation;
  const wrong = context.post.policy.violation(target.edge, "reply", bytes, (fuel) => cell.charge(fuel));
  return wrong === undefined ? 0 : deny(context, slot, "call", "contract", `the reply: ${wrong}`);
}

function takeReply(context: LinkContext, place: GuestPointer, capacity: GuestLength, bytes: Uint8Array): number {
  if (bytes.length > capacity) return RESULT["too-large"];
  chargeBytes(context, bytes.length);
  return context.incarnation.instance.memory.write(place, bytes) ? bytes.length : RESULT["bad-address"];
}

function addNarrowed(context: LinkContext, slot: string, capability: Capability, rights: number): number {
  if ((rights & ~capability.rights) !== 0) return deny(context, slot, "narrow");
  const handle = context.incarnation.cell.handles.add({ ...capability, rights });
  return handle ?? RESULT.quota;
}

/** The capabilities behind an array of handles, or the reason why they cannot be passed. Nothing is closed yet. */
function takeHandles(context: LinkContext, address: number, count: number): readonly Capability[] | number {
  if (count === 0) return NO_CAPABILITIES;
  pay(context, OPERATION_FUEL.handles * Math.min(count, MAXIMUM_HANDLES));
  if (count > MAXIMUM_HANDLES) return RESULT.invalid;
  const { cell, instance } = context.incarnation;
  const words = instance.memory.readWords(guestPointer(address), count);
  if (words === undefined) return deny(context, HANDLES_SLOT, "pass", "bad-address");
  const handles = words.map((word) => word & ~HANDLE_COPY);
  if (new Set(handles).size !== handles.length) return RESULT["bad-handle"];
  const capabilities: Capability[] = [];
  for (const handle of handles) {
    const capability = cell.handles.find(handle);
    if (capability === undefined) return deny(context, HANDLES_SLOT, "pass", "bad-handle");
    if ((capability.rights & ENDPOINT_RIGHT.pass) === 0) return deny(context, HANDLES_SLOT, "pass");
    const passed = delegated(capability, cell.links.get(HANDLES_SLOT)?.edges[0]?.edge);
    if (passed === undefined) return RESULT.quota;
    capabilities.push(passed);
  }
  return capabilities;
}

/** The capability as its receiver holds it: one step further down the tree, or undefined where that is as deep as it goes. */
function delegated(capability: Capability, step: number | undefined): Capability | undefined {
  const { target } = capability;
  if (step === undefined || target.via.includes(step)) return capability;
  if (target.via.length >= MAXIMUM_VIA) return undefined;
  return { ...capability, target: { ...target, via: [...target.via, step] } };
}

function closeMoved(context: LinkContext, address: number, count: number): void {
  if (count === 0) return;
  const { cell, instance } = context.incarnation;
  for (const word of instance.memory.readWords(guestPointer(address), count) ?? []) {
    if ((word & HANDLE_COPY) === 0) cell.handles.close(word);
  }
}

/** Timers are the cell's, so they go on through a swap; a restart cancels them. */
function setTimer(context: LinkContext, slot: SlotLink, delayMs: number, periodMs: number): number {
  if (slot.eventPort < 0 || delayMs < 0 || delayMs > MAXIMUM_MILLISECONDS) return RESULT.invalid;
  const due = context.now() + delayMs;
  arm(context, context.incarnation.cell, { slot: slot.slot, port: slot.eventPort, due, periodMs });
  return 0;
}
