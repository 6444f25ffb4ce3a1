/** Allocation and garbage: short-lived nodes in small trees, strings and arrays. */

class Node {
  left: Node | null = null;
  right: Node | null = null;
  constructor(public value: i32) {}
}

function grow(depth: i32): Node {
  const node = new Node(depth);
  if (depth > 0) {
    node.left = grow(depth - 1);
    node.right = grow(depth - 1);
  }
  return node;
}

function sum(node: Node | null): i32 {
  return node == null ? 0 : node.value + sum(node.left) + sum(node.right);
}

export function run(rounds: i32): i32 {
  let total = 0;
  for (let round = 0; round < rounds; round++) {
    total += sum(grow(6));
    const parts = new Array<string>();
    for (let i = 0; i < 8; i++) parts.push((round + i).toString());
    total += parts.join(",").length;
  }
  return total;
}
