/** Operations that are answered outside the partition: one marshalling for every interface, driven by its table. */
import { RESULT } from "../abi.ts";
import type { Operation } from "../interfaces.ts";
import { LIMITS } from "../limits.ts";
import { guestLength, guestPointer } from "../memory.ts";
import { chargeBytes, deny, type GuestFunction, type LinkContext } from "./link.ts";
import type { SlotLink } from "./protocol.ts";

/** A call's parameters as the table sorts them: copies of the guest's bytes, scalars, and the room for an answer. */
interface Marshalled {
  readonly numbers: number[];
  readonly bytes: Uint8Array[];
  address: number;
  capacity: number;
}

export function resourceFunction(
  context: LinkContext,
  slot: SlotLink,
  name: string,
  operation: Operation,
): GuestFunction {
  return (...parameters: never[]) => {
    // Looked up at each use, as its rights have just been, so that a new binding takes effect at once.
    const { cell } = context.incarnation;
    const link = cell.links.get(slot.slot);
    if (link === undefined) return deny(context, slot.slot, name);
    const call = marshal(context, operation, parameters);
    if (call === RESULT["bad-address"]) return deny(context, slot.slot, name, "bad-address");
    if (typeof call === "number") return call;
    return context.suspend((complete) =>
      context.request(cell, link.binding, name, call.numbers, call.bytes, call.capacity, (result, bytes) => {
        complete(result < 0 ? result : finish(context, slot, name, call, result, bytes));
      }),
    );
  };
}

function marshal(
  context: LinkContext,
  operation: Operation,
  parameters: readonly (number | bigint)[],
): Marshalled | number {
  const { memory } = context.incarnation.instance;
  const call: Marshalled = { numbers: [], bytes: [], address: 0, capacity: 0 };
  let index = 0;
  for (const { kind } of operation.parameters) {
    const first = Number(parameters[index++] ?? 0);
    if (kind === "i32" || kind === "i64") {
      call.numbers.push(first);
      continue;
    }
    const address = guestPointer(first);
    const length = guestLength(Number(parameters[index++] ?? 0));
    if (!memory.covers(address, length)) return RESULT["bad-address"];
    if (kind === "buffer") {
      call.address = address;
      call.capacity = Math.min(length, LIMITS.payloadBytes);
      continue;
    }
    if (length > LIMITS.payloadBytes) return RESULT["too-large"];
    chargeBytes(context, length);
    call.bytes.push(memory.read(address, length) ?? new Uint8Array(0));
  }
  return call;
}

/** Writes the answer into the guest's buffer. A host that answers more than was asked for is at fault, not believed. */
function finish(
  context: LinkContext,
  slot: SlotLink,
  name: string,
  call: Marshalled,
  result: number,
  bytes: Uint8Array,
): number {
  // The result says how many there are: a replay writes so many.
  if (bytes.length > Math.min(call.capacity, result)) {
    deny(context, slot.slot, name, "too-large");
    return RESULT.io;
  }
  if (bytes.length === 0) return result;
  chargeBytes(context, bytes.length);
  const written = context.incarnation.instance.memory.write(guestPointer(call.address), bytes);
  return written ? result : RESULT["bad-address"];
}
