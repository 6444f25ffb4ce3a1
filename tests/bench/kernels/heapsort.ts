/** Heap sort of 2,000 integers. */

const SIZE = 2000;
const values = new Int32Array(SIZE);

function sift(start: i32, end: i32): void {
  let root = start;
  while (2 * root + 1 <= end) {
    let child = 2 * root + 1;
    if (child + 1 <= end && values[child] < values[child + 1]) child++;
    if (values[root] >= values[child]) return;
    const swapped = values[root];
    values[root] = values[child];
    values[child] = swapped;
    root = child;
  }
}

export function run(rounds: i32): i32 {
  let seed: u32 = 12345;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < SIZE; i++) {
      seed = seed * 1664525 + 1013904223;
      values[i] = <i32>(seed >>> 8);
    }
    for (let start = SIZE / 2 - 1; start >= 0; start--) sift(start, SIZE - 1);
    for (let end = SIZE - 1; end > 0; end--) {
      const largest = values[0];
      values[0] = values[end];
      values[end] = largest;
      sift(0, end - 1);
    }
  }
  return values[SIZE / 2];
}
