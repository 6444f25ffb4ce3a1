/** A bank of eight biquad filters (direct form II transposed) over a block of samples. */

const BANDS = 8;
const SAMPLES = 512;
const input = new Float32Array(SAMPLES);
const output = new Float32Array(SAMPLES);
const coefficients = new Float32Array(BANDS * 5);
const states = new Float32Array(BANDS * 2);
for (let i = 0; i < SAMPLES; i++) input[i] = <f32>(((i * 7919) % 201) - 100) / 100;
for (let band = 0; band < BANDS; band++) {
  const spread = <f32>band / <f32>BANDS;
  coefficients[band * 5] = <f32>0.2 + spread * <f32>0.1;
  coefficients[band * 5 + 1] = 0.1;
  coefficients[band * 5 + 2] = 0.05;
  coefficients[band * 5 + 3] = spread - <f32>0.6;
  coefficients[band * 5 + 4] = 0.2;
}

export function run(rounds: i32): i32 {
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < SAMPLES; i++) output[i] = 0;
    for (let band = 0; band < BANDS; band++) {
      const b0 = coefficients[band * 5];
      const b1 = coefficients[band * 5 + 1];
      const b2 = coefficients[band * 5 + 2];
      const a1 = coefficients[band * 5 + 3];
      const a2 = coefficients[band * 5 + 4];
      let z1 = states[band * 2];
      let z2 = states[band * 2 + 1];
      for (let i = 0; i < SAMPLES; i++) {
        const x = input[i];
        const y = b0 * x + z1;
        z1 = b1 * x - a1 * y + z2;
        z2 = b2 * x - a2 * y;
        output[i] += y;
      }
      states[band * 2] = z1;
      states[band * 2 + 1] = z2;
    }
  }
  return <i32>(output[SAMPLES - 1] * 1000000);
}
