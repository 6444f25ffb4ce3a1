/** An AssemblyScript driver that gives up: its words, its file and its line stand in the capsule, and come again in the replay. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeCbor } from "../../kernel/index.ts";
import { buildModule } from "../../tools/build/build.ts";
import { replay } from "../../tools/replay/replay.ts";
import { moduleSpec } from "../support/modules.ts";
import type { Victim } from "./support.ts";
import { capsuleOf, failureOf, found } from "./support.ts";

const SOURCE = `import { Driver, Message, none, register, Reply } from "bulkhead/sdk";

class Victim extends Driver {
  message(port: i32, message: Message): Reply {
    const value = message.read().u32();
    assert(value != 1, "too hot");
    if (value == 2) throw new Error("the chip is another one: " + value.toString());
    return none;
  }
}

register(new Victim());
`;

const folder = mkdtempSync(join(tmpdir(), "bulkhead-abort-"));
let victim: Victim;

beforeAll(async () => {
  writeFileSync(join(folder, "module.yaml"), "name: victim\nversion: 1.0.0\nkind: driver\nports:\n  in: {}\n");
  writeFileSync(join(folder, "index.ts"), SOURCE);
  const [built] = await buildModule(folder, { output: join(folder, "out") });
  const binary = new Uint8Array(readFileSync(built?.wasm ?? ""));
  victim = { binary, spec: moduleSpec("victim", [], { record: true }) };
}, 120_000);
afterAll(() => {
  rmSync(folder, { recursive: true });
});

describe("a capsule", () => {
  it.each([
    ["an assertion", 1, /index\.ts:6:5: too hot$/],
    ["an error that is thrown", 2, /index\.ts:7:21: the chip is another one: 2$/],
  ])("carries message, file and line of %s", async (_, value, words) => {
    const capsule = capsuleOf(
      await failureOf(
        victim,
        [0, 0, value].map((number) => encodeCbor(number)),
      ),
    );
    expect(capsule.cause).toBe("trap");
    expect(capsule.text).toMatch(words);
    const { outcome, endings } = await replay(capsule, found(victim.binary));
    expect(outcome).toBe("reproduced");
    expect(endings[0]).toMatchObject({ cause: "trap" });
  });
});
