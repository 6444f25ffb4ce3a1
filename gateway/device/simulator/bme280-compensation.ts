/** The BME280's compensation (BST-BME280-DS002, section 4.2.3) and its inverse, for the simulator only. */

/** Trimming parameters, named as in table 16 of the datasheet. */
export interface Bme280Trimming {
  readonly T: readonly [number, number, number];
  readonly P: readonly [number, number, number, number, number, number, number, number, number];
  readonly H: readonly [number, number, number, number, number, number];
}

/** Temperature and pressure: the worked example of Bosch's datasheet of the sister chip BMP280; humidity: typical values. */
export const TYPICAL_TRIMMING: Bme280Trimming = {
  T: [27504, 26435, -1000],
  P: [36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000],
  H: [75, 362, 0, 313, 50, 30],
};

/** `fine` carries the temperature into the other two; `hundredths` is in 0.01 °C. */
export interface CompensatedTemperature {
  readonly fine: number;
  readonly hundredths: number;
}

export function compensateTemperature(adc: number, { T }: Bme280Trimming): CompensatedTemperature {
  const [t1, t2, t3] = T;
  const first = (((adc >> 3) - (t1 << 1)) * t2) >> 11;
  const offset = (adc >> 4) - t1;
  const second = (((offset * offset) >> 12) * t3) >> 14;
  const fine = first + second;
  return { fine, hundredths: (fine * 5 + 128) >> 8 };
}

/** Pascal in Q24.8; 0 where the datasheet avoids a division by zero. */
export function compensatePressure(adc: number, fine: number, { P }: Bme280Trimming): number {
  const [p1, p2, p3, p4, p5, p6, p7, p8, p9] = P.map(BigInt) as [
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  const base = BigInt(fine) - 128000n;
  const shifted = base * base * p6 + ((base * p5) << 17n) + (p4 << 35n);
  const scale = ((base * base * p3) >> 8n) + ((base * p2) << 12n);
  const divisor = (((1n << 47n) + scale) * p1) >> 33n;
  if (divisor === 0n) return 0;
  const pressure = (((1048576n - BigInt(adc)) << 31n) - shifted) * 3125n;
  const quotient = pressure / divisor;
  const ninth = (p9 * (quotient >> 13n) * (quotient >> 13n)) >> 25n;
  const eighth = (p8 * quotient) >> 19n;
  return Number(((quotient + ninth + eighth) >> 8n) + (p7 << 4n));
}

/** Percent relative humidity in Q22.10. */
export function compensateHumidity(adc: number, fine: number, { H }: Bme280Trimming): number {
  const [h1, h2, h3, h4, h5, h6] = H;
  const base = fine - 76800;
  const left = ((adc << 14) - (h4 << 20) - Math.imul(h5, base) + 16384) >> 15;
  const inner = (Math.imul(Math.imul(base, h6) >> 10, (Math.imul(base, h3) >> 11) + 32768) >> 10) + 2097152;
  const product = Math.imul(left, (Math.imul(inner, h2) + 8192) >> 14);
  const square = Math.imul(product >> 15, product >> 15) >> 7;
  const corrected = product - (Math.imul(square, h1) >> 4);
  return Math.min(Math.max(corrected, 0), 419430400) >> 12;
}

/** The converter value whose compensation comes nearest to the target; `of` must be monotonic over the converter's range. */
export function invert(of: (adc: number) => number, target: number, bits: number): number {
  const isRising = of((1 << bits) - 1) > of(0);
  let low = 0;
  let high = (1 << bits) - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isRising ? of(middle) >= target : of(middle) <= target) high = middle;
    else low = middle + 1;
  }
  const isLowerNearer = low > 0 && Math.abs(of(low - 1) - target) < Math.abs(of(low) - target);
  return isLowerNearer ? low - 1 : low;
}
