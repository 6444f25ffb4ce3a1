/** Binds a Unix datagram socket and prints each datagram as a line of JSON: the end of NOTIFY_SOCKET that systemd holds. */
import { writeSync } from "node:fs";
import { dlopen } from "node:ffi";

const address = process.argv[2] ?? "";
const { functions } = dlopen(null, {
  socket: { arguments: ["i32", "i32", "i32"], return: "i32" },
  bind: { arguments: ["i32", "pointer", "u32"], return: "i32" },
  recv: { arguments: ["i32", "pointer", "u64", "i32"], return: "i64" },
});
const name = new TextEncoder().encode(address.replace(/^@/, "\0"));
const to = new Uint8Array(2 + name.length);
new DataView(to.buffer).setUint16(0, 1, true);
to.set(name, 2);
const descriptor = functions.socket(1, 2, 0);
if (functions.bind(descriptor, to, to.length) !== 0) throw new Error(`cannot bind ${address}`);
writeSync(1, `${JSON.stringify("bound")}\n`);
const buffer = new Uint8Array(4096);
for (;;) {
  const length = Number(functions.recv(descriptor, buffer, BigInt(buffer.length), 0));
  writeSync(1, `${JSON.stringify(new TextDecoder().decode(buffer.subarray(0, length)))}\n`);
}
