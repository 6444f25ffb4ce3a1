/** Product of two 48 x 48 matrices of doubles, the textbook triple loop. */

const SIZE = 48;
const left = new Float64Array(SIZE * SIZE);
const right = new Float64Array(SIZE * SIZE);
const product = new Float64Array(SIZE * SIZE);
for (let i = 0; i < SIZE * SIZE; i++) {
  left[i] = <f64>(i % 17) * 0.5;
  right[i] = <f64>(i % 23) * 0.25;
}

export function run(rounds: i32): i32 {
  for (let round = 0; round < rounds; round++) {
    for (let row = 0; row < SIZE; row++) {
      for (let column = 0; column < SIZE; column++) {
        let sum = 0.0;
        for (let k = 0; k < SIZE; k++) {
          sum += unchecked(left[row * SIZE + k]) * unchecked(right[k * SIZE + column]);
        }
        unchecked((product[row * SIZE + column] = sum));
      }
    }
    left[round % (SIZE * SIZE)] += 0.125;
  }
  return <i32>product[SIZE + 7];
}
