/** Builds a module's import object: what is not granted is not in it, and what is in it is bound to one resource. */
import { RESULT } from "../abi.ts";
import { argumentCount, findOperation } from "../interfaces.ts";
import type { Operation } from "../interfaces.ts";
import { Refusal } from "../errors.ts";
import type { WasmFunction, WasmImports } from "../wasm/engine.ts";
import { suspending } from "../wasm/engine.ts";
import { METER_MODULE } from "../wasm/meter.ts";
import { resourceFunction } from "./host-calls.ts";
import type { GuestFunction, LinkContext } from "./link.ts";
import { chargeFuel, deny, OPERATION_FUEL } from "./link.ts";
import { LOCAL_OPERATIONS } from "./local-operations.ts";
import type { SlotLink } from "./protocol.ts";
import type { Recording } from "./recording.ts";

/** @throws Refusal E_CAP: admission has checked all this, so it says that the kernel contradicts itself. */
export function buildImports(context: LinkContext): WasmImports {
  const imports = Object.create(null) as Record<string, Record<string, WebAssemblyImport>>;
  const { order } = context.incarnation;
  const slots = new Map(order.slots.map((slot) => [slot.slot, slot]));
  for (const [index, { slot: name, operation }] of order.imports.entries()) {
    const slot = slots.get(name);
    if (slot === undefined) throw new Refusal("E_CAP", `${order.name}.${name} is not granted`);
    imports[name] ??= Object.create(null) as Record<string, WebAssemblyImport>;
    imports[name][operation] = linkOperation(context, slot, operation, index);
  }
  imports[METER_MODULE] = {
    exhausted: context.isDirect ? context.exhausted : suspending(context.exhausted),
    overflow: context.overflow,
  };
  return imports;
}

type WebAssemblyImport = GuestFunction | ReturnType<typeof suspending> | WasmFunction;

function linkOperation(context: LinkContext, slot: SlotLink, name: string, index: number): WebAssemblyImport {
  const operation = findOperation(slot.interface, name);
  if (operation === undefined) throw new Refusal("E_CAP", `${slot.interface} has no operation ${name}`);
  const local = LOCAL_OPERATIONS[`${slot.interface}.${name}`];
  const bound =
    local === undefined
      ? paid(context, OPERATION_FUEL.resource, resourceFunction(context, slot, name, operation))
      : guarded(context, slot, name, operation, local(context, slot));
  const { recording } = context;
  const target = recording === undefined ? bound : recorded(recording, index, argumentCount(operation), bound);
  if (slot.interface === "endpoint" && name === "call") {
    return context.gates.importCall(context.incarnation, slot, target, context.nextSlice, index);
  }
  return operation.blocking ? suspending(target) : target;
}

/** Looks at the slot's rights as they are linked now, so that taking them away is felt at the next use. */
function guarded(
  context: LinkContext,
  slot: SlotLink,
  name: string,
  operation: Operation,
  target: GuestFunction,
): GuestFunction {
  // An endpoint's rights are bits of the capability that each use looks at; it pays by what it sends.
  if (slot.interface === "endpoint") return target;
  const { [slot.interface as "log"]: fuel = OPERATION_FUEL.resource } = OPERATION_FUEL;
  let seen = slot;
  let isAllowed = slot.rights.includes(operation.right);
  return paid(context, fuel, (...parameters: never[]) => {
    const now = context.incarnation.cell.links.get(slot.slot);
    if (now !== undefined && now !== seen) {
      seen = now;
      isAllowed = now.rights.includes(operation.right);
    }
    if (isAllowed) return target(...parameters);
    deny(context, slot.slot, name);
    return operation.result === "i64" ? BigInt(RESULT.denied) : RESULT.denied;
  });
}

/** What a call was given and what it gave; a promise's result is recorded when its caller goes on. No operation takes an i64. */
function recorded(recording: Recording, index: number, count: number, target: GuestFunction): GuestFunction {
  const call = target as (...parameters: number[]) => ReturnType<GuestFunction>;
  return (a: number, b: number, c: number, d: number, e: number, f: number) => {
    recording.called(index, count, a, b, c, d, e, f);
    const result = call(a, b, c, d, e, f);
    if (typeof result !== "object") recording.returned(result);
    return result;
  };
}

/** The guest pays before the host works: a slice of such operations then takes about as long as one of its own code. */
function paid(context: LinkContext, fuel: number, target: GuestFunction): GuestFunction {
  return (...parameters: never[]) => {
    chargeFuel(context, fuel);
    return target(...parameters);
  };
}
