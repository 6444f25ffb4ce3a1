/** What the core itself looks at before it asks a process, and what it keeps of each use. */
import { expect, test } from "vitest";
import { useNote } from "../../gateway/core/audited.ts";
import { Hosts } from "../../gateway/core/hosts.ts";
import type { AuditNote } from "../../gateway/wire/trust-protocol.ts";
import type { ResourceBinding } from "../../kernel/index.ts";
import { RESULT } from "../../kernel/index.ts";
import type { HostProcess } from "../../gateway/wire/child.ts";

const NONE = new Uint8Array(0);
const notes: AuditNote[] = [];
const asked: string[] = [];
const hosts = new Hosts(
  {
    request: (_owner, _binding, operation) => {
      asked.push(operation);
      return Promise.resolve({ result: RESULT.quota, bytes: NONE });
    },
  },
  {
    used: (binding, operation, result) => notes.push(useNote(binding, operation, result)),
    published: () => undefined,
  },
);

async function ask(name: ResourceBinding["interface"], operation: string, rights: readonly string[]): Promise<number> {
  const binding: ResourceBinding = { id: 1, module: "probe", slot: "s", interface: name, rights, parameters: {} };
  return (await hosts.request(binding, operation, [], [], 0)).result;
}

test.each<[ResourceBinding["interface"], string, readonly string[]]>([
  ["store", "set", ["read"]],
  ["store", "constructor", ["read", "write"]],
  ["store", "__proto__", ["read", "write"]],
  ["mqtt", "publish", ["subscribe"]],
  ["i2c-device", "write", ["read"]],
  ["gpio-line", "set", ["read", "edges"]],
  ["http", "request", []],
])("%s.%s is denied to a binding with the rights %j before anybody is asked", async (name, operation, rights) => {
  expect(await ask(name, operation, rights)).toBe(RESULT.denied);
  expect([asked, notes]).toEqual([[], []]);
});

test("a stored value longer than the module's buffer is too large, and none of it is handed on", async () => {
  const bytes = new Uint8Array(100);
  const service = { request: () => Promise.resolve({ result: bytes.length, bytes }) };
  const store = new Hosts(service, { used: () => undefined, published: () => undefined });
  const rights = ["read"];
  const binding: ResourceBinding = { id: 1, module: "probe", slot: "s", interface: "store", rights, parameters: {} };
  const get = (capacity: number) => store.request(binding, "get", [], [Uint8Array.of(1)], capacity);
  expect(await get(99)).toEqual({ result: RESULT["too-large"], bytes: NONE });
  expect(await get(0)).toEqual({ result: RESULT["too-large"], bytes: NONE });
  expect(await get(100)).toEqual({ result: 100, bytes });
});

test("each use of an interface of which every use is audited leaves a line, and no other does", async () => {
  expect(await ask("store", "set", ["write"])).toBe(RESULT.quota);
  expect(await ask("mqtt", "publish", ["publish"])).toBe(RESULT.unsupported);
  expect(notes).toEqual([]);
  expect(await ask("http", "request", ["request"])).toBe(RESULT.unsupported);
  expect(notes).toEqual([
    {
      kind: "used",
      source: "probe",
      subject: "s.request",
      detail: { interface: "http", result: "unsupported" },
    },
  ]);
});

test("what the link refuses a module to publish is not shown as published", async () => {
  const seen: string[] = [];
  const watched = new Hosts(
    { request: () => Promise.resolve({ result: 0, bytes: NONE }) },
    { used: () => undefined, published: (module, topic) => seen.push(`${module} ${new TextDecoder().decode(topic)}`) },
  );
  const results = [RESULT.denied, RESULT.invalid, RESULT["dead-peer"], 0];
  const link = {
    bind: () => undefined,
    request: () => Promise.resolve({ result: results.shift() ?? 0, bytes: NONE }),
  } as unknown as HostProcess;
  watched.attach("link", link);
  const granted = { id: 1, module: "probe", slot: "s", rights: ["publish"], parameters: {} };
  for (const topic of ["denied", "invalid", "lost", "sent"]) {
    const bytes = [topic, "1"].map((text) => new TextEncoder().encode(text));
    await watched.request({ ...granted, interface: "mqtt" }, "publish", [0], bytes, 0);
  }
  expect(seen).toEqual(["probe sent"]);
});
