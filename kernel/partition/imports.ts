/** Builds a module's import object: what is not granted is not in it, and what is in it is bound to one resource. */
import { RESULT } from "../abi.ts";
import { findOperation, type Operation } from "../interfaces.ts";
import { Refusal } from "../errors.ts";
import { suspending, type WasmFunction, type WasmImports } from "../wasm/engine.ts";
import { METER_MODULE } from "../wasm/meter.ts";
import { GuestStopped } from "./fault.ts";
import { resourceFunction } from "./host-calls.ts";
import { deny, type GuestFunction, type LinkContext, OPERATION_FUEL, pay } from "./link.ts";
import { LOCAL_OPERATIONS } from "./local-operations.ts";
import type { SlotLink } from "./protocol.ts";

/** @throws Refusal E_CAP: admission has checked all this, so it says that the kernel contradicts itself. */
export function buildImports(context: LinkContext): WasmImports {
  const imports = Object.create(null) as Record<string, Record<string, WebAssemblyImport>>;
  const { order, cell, isDirect } = context.incarnation;
  const slots = new Map(order.slots.map((slot) => [slot.slot, slot]));
  for (const { slot: name, operation } of order.imports) {
    const slot = slots.get(name);
    if (slot === undefined) throw new Refusal("E_CAP", `${order.name}.${name} is not granted`);
    imports[name] ??= Object.create(null) as Record<string, WebAssemblyImport>;
    imports[name][operation] = linkOperation(context, slot, operation);
  }
  imports[METER_MODULE] = {
    exhausted: isDirect ? context.exhausted : suspending(context.exhausted),
    overflow: () => {
      throw new GuestStopped("stack", "the stack allowance is used up");
    },
    // A copy of its memory is no step of its code: it is the period's fuel that pays for it.
    full: () => {
      const { instance } = context.incarnation;
      cell.charge((instance.recording?.restart(instance) ?? 0) >>> 3);
    },
    grow: (pages: number) => context.incarnation.instance.memory.grow(pages),
  };
  return imports;
}

type WebAssemblyImport = GuestFunction | ReturnType<typeof suspending> | WasmFunction;

function linkOperation(context: LinkContext, slot: SlotLink, name: string): WebAssemblyImport {
  const operation = findOperation(slot.interface, name);
  if (operation === undefined) throw new Refusal("E_CAP", `${slot.interface} has no operation ${name}`);
  const local = LOCAL_OPERATIONS[`${slot.interface}.${name}`];
  const own = local?.(context, slot) ?? resourceFunction(context, slot, name, operation);
  const target = guarded(context, slot, name, operation, own);
  if (slot.interface === "endpoint" && name === "call") {
    return context.gates.importCall(context.incarnation, slot, target, context.nextSlice);
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
  // An endpoint's rights are bits of the capability that each use looks at; each pays where it is carried out.
  if (slot.interface === "endpoint") return target;
  const { [slot.interface as "log"]: fuel = OPERATION_FUEL.resource } = OPERATION_FUEL;
  let seen = slot;
  let isAllowed = slot.rights.includes(operation.right);
  return (...parameters: never[]) => {
    pay(context, fuel);
    const now = context.incarnation.cell.links.get(slot.slot);
    if (now !== undefined && now !== seen) {
      seen = now;
      isAllowed = now.rights.includes(operation.right);
    }
    if (isAllowed) return target(...parameters);
    deny(context, slot.slot, name);
    return operation.result === "i64" ? BigInt(RESULT.denied) : RESULT.denied;
  };
}
