/** Half-precision floats (IEEE 754 binary16), which WebAssembly does not have. */

/** What `halfFromDouble` gives for a number that half precision does not hold exactly. */
export const NOT_A_HALF: u32 = 0xffffffff;

const QUIET_NAN: u32 = 0x7e00;
const INFINITY: u32 = 0x7c00;

/** The bits of a number in half precision, or NOT_A_HALF where it would lose something. */
export function halfFromDouble(value: f64): u32 {
  if (value != value) return QUIET_NAN;
  const bits = reinterpret<u64>(value);
  const sign = <u32>(bits >> 48) & 0x8000;
  const magnitude = abs(value);
  if (magnitude == 0) return sign;
  if (magnitude == Infinity) return sign | INFINITY;
  if (magnitude > 65504) return NOT_A_HALF;
  if (magnitude < 6.103515625e-5) return subnormal(sign, magnitude);
  if ((bits & 0x3ffffffffff) != 0) return NOT_A_HALF;
  const exponent = (<u32>(bits >> 52) & 0x7ff) - 1008;
  return sign | (exponent << 10) | (<u32>(bits >> 42) & 0x3ff);
}

/** Below 2^-14 a half is a multiple of 2^-24. */
function subnormal(sign: u32, magnitude: f64): u32 {
  const steps = magnitude * 16777216;
  return floor(steps) == steps ? sign | <u32>steps : NOT_A_HALF;
}

/** The number that these 16 bits stand for. */
export function doubleFromHalf(half: u32): f64 {
  const exponent = (half >> 10) & 0x1f;
  const fraction = <f64>(half & 0x3ff);
  let value: f64;
  if (exponent == 0) value = fraction * 5.9604644775390625e-8;
  else if (exponent == 31) value = fraction == 0 ? Infinity : NaN;
  else value = (1024 + fraction) * reinterpret<f64>((<u64>exponent + 998) << 52);
  return half & 0x8000 ? -value : value;
}
