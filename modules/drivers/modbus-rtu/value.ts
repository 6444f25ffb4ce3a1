/** What stands in registers, as numbers: types, the order of bytes and words, and the way back. */

import { Bytes } from "bulkhead/sdk";
import { Register, RegisterByteOrder, RegisterTable, RegisterType, RegisterWordOrder } from "./generated/settings";
import { Frame } from "./frame";

export function isBit(register: Register): bool {
  return register.table == RegisterTable.coil || register.table == RegisterTable.discrete;
}

/** Registers of 16 bits that the value takes. */
export function wordsOf(register: Register): i32 {
  return register.type_ == RegisterType.u16 || register.type_ == RegisterType.i16 ? 1 : 2;
}

function inOrder(register: Register, word: u32): u32 {
  return register.byteOrder == RegisterByteOrder.highFirst ? word : ((word & 0xff) << 8) | (word >> 8);
}

/** The raw bits of the value that begins at `offset`. */
function bitsAt(register: Register, bytes: Bytes, offset: i32): u32 {
  const first = inOrder(register, bytes.u16be(offset));
  if (wordsOf(register) == 1) return first;
  const second = inOrder(register, bytes.u16be(offset + 2));
  return register.wordOrder == RegisterWordOrder.highFirst ? (first << 16) | second : (second << 16) | first;
}

/** The value of a register, scaled. */
export function valueAt(register: Register, bytes: Bytes, offset: i32): f64 {
  if (isBit(register)) return <f64>(bytes[offset] & 1);
  const bits = bitsAt(register, bytes, offset);
  let raw: f64 = <f64>bits;
  if (register.type_ == RegisterType.i16) raw = <f64>(<i16>bits);
  else if (register.type_ == RegisterType.i32) raw = <f64>(<i32>bits);
  else if (register.type_ == RegisterType.f32) raw = <f64>reinterpret<f32>(bits);
  return raw * register.scale + register.offset;
}

/** Leaves the bits of a value in `encoded`; false where the type cannot hold it. */
export function encodeValue(register: Register, value: f64): bool {
  const raw = (value - register.offset) / register.scale;
  if (!isFinite(raw)) return false;
  if (register.type_ == RegisterType.f32) {
    encoded = reinterpret<u32>(<f32>raw);
    return isFinite(<f32>raw);
  }
  const whole = nearest<f64>(raw);
  const isSigned = register.type_ == RegisterType.i16 || register.type_ == RegisterType.i32;
  const span: f64 = wordsOf(register) == 1 ? 65536 : 4294967296;
  const least = isSigned ? -span / 2 : 0;
  if (whole < least || whole >= least + span) return false;
  encoded = <u32>(<i64>whole);
  return true;
}

/** What `encodeValue` has made. */
export let encoded: u32 = 0;

/** Appends the words of an encoded value to a request. */
export function appendWords(register: Register, bits: u32, frame: Frame): void {
  if (wordsOf(register) == 1) {
    frame.word(inOrder(register, bits & 0xffff));
    return;
  }
  const isHighFirst = register.wordOrder == RegisterWordOrder.highFirst;
  frame.word(inOrder(register, isHighFirst ? bits >> 16 : bits & 0xffff));
  frame.word(inOrder(register, isHighFirst ? bits & 0xffff : bits >> 16));
}
