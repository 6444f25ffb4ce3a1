/** The notice `safeState`: the last message of a module that is held or stopped, after its state was saved. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { HostReply } from "../../kernel/index.ts";
import { admitModule, HEADER, KERNEL_PORT, NOTICE } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { patiently } from "../support/patience.ts";
import { manifestFields, moduleBinary, moduleSpec, watModule } from "../support/modules.ts";
import {
  endpoint,
  endpointSlot,
  loadModule,
  loadProbe,
  LOG,
  LOG_IMPORT,
  LOG_SLOT,
  REPORT,
  REPORT_IMPORT,
  REPORT_SLOT,
  TIMER,
} from "../support/probe.ts";

const TIMER_SLOT = { interface: "timer", rights: ["use"], port: "in" };
const NOTICE_AT = 1024 + HEADER.size + 1;
const RULE = { policy: "restart", intensity: 5, windowMs: 60_000, backoffMs: 1, maximumBackoffMs: 10 } as const;
const DONE: HostReply = { result: 0, bytes: new Uint8Array(0) };

let running: TestKernel;
/** What comes of modules, in its order. */
let story: string[];
let reply: () => HostReply | Promise<HostReply>;

beforeEach(async () => {
  story = [];
  reply = () => DONE;
  running = await startKernel({
    partitions: ["main", "other"],
    onState: (module, state) => story.push(`${module} saves ${state?.bytes[0]}`),
    reply: async ({ binding, bytes }) => {
      const what = `${binding.module} ${String.fromCharCode(bytes[0]?.[0] ?? 0)}`;
      story.push(what);
      const answer = await reply();
      story.push(`${what} done`);
      return answer;
    },
  });
});

afterEach(async () => {
  await running.stop();
});

const report = (letter: string): string =>
  `(i32.store8 (i32.const 8200) (i32.const ${letter.charCodeAt(0)})) (drop (call $report (i32.const 8200) (i32.const 1)))`;

/** Its state is a number, set to 1 by a message. It reports `m` for a message; its last one sets 9, reports `l`, and more. */
function relay(onLast = "", onStart = "", imports = ""): string {
  return watModule(
    `${REPORT_IMPORT}${imports}`,
    `(func (export "bulkhead_save") (result i64) (i64.const 0x2000_0000_0001))
     (func (export "bulkhead_state") (param i32) (result i32) (i32.const 8192))
     (func (export "bulkhead_restore") (param i32 i32) (result i32) (i32.const 0))
     (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (if (i32.ne (local.get $port) (i32.const ${KERNEL_PORT})) (then
         (i32.store8 (i32.const 8192) (i32.const 1)) ${report("m")} (return (i64.const 0))))
       (if (i32.ne (i32.load8_u (i32.const ${NOTICE_AT})) (i32.const ${NOTICE.safeState})) (then
         ${onStart} (return (i64.const 0))))
       (i32.store8 (i32.const 8192) (i32.const 9))
       ${report("l")}
       ${onLast}
       (i64.const 0))`,
  );
}

const FIELDS = { slots: { report: REPORT_SLOT }, state: 8, fuel: 200_000_000 };

async function loadRelay(wat = relay(), changes: Parameters<typeof moduleSpec>[2] = {}): Promise<void> {
  const spec = moduleSpec("relay", [REPORT], { restart: RULE, ...changes });
  running.kernel.load(spec, await admitModule(moduleBinary(wat, manifestFields("relay", FIELDS)), spec));
}

/** Sends the relay one message when it begins. */
async function loadSender(): Promise<void> {
  const send = `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`;
  const wat = watModule(
    send,
    `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
       (if (i32.eq (i32.load8_u (i32.const ${NOTICE_AT})) (i32.const ${NOTICE.start}))
         (then (drop (call $send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))) (i64.const 0))`,
  );
  await loadModule(running, "sender", wat, { grants: [endpoint("relay.in")], slots: { out: endpointSlot(["send"]) } });
}

const hasHappened = async (what: string): Promise<void> => {
  await expect.poll(() => story, { timeout: patiently(10_000) }).toContain(what);
};

const rowOf = async (name: string): Promise<Awaited<ReturnType<typeof running.kernel.top>>[number] | undefined> =>
  (await running.kernel.top()).find((row) => row.name === name);

const isIdle = async (): Promise<void> => {
  await expect.poll(async () => (await rowOf("relay"))?.state).toBe("idle");
};

const isGone = async (): Promise<void> => {
  await expect.poll(async () => (await rowOf("relay"))?.memoryBytes).toBe(0);
};

async function begin(wat?: string, changes?: Parameters<typeof moduleSpec>[2]): Promise<void> {
  await loadRelay(wat, changes);
  await loadSender();
  running.kernel.begin();
  await hasHappened("relay m done");
  await isIdle();
}

describe("at a stop", () => {
  test("a module saves, has its last message, and is waited for until what that has ordered is done", async () => {
    await begin();
    reply = async () => {
      await new Promise((resolve) => setTimeout(resolve, 60));
      return DONE;
    };
    await running.stop();
    expect(story).toEqual(["relay m", "relay m done", "relay saves 1", "relay l", "relay l done"]);
  });

  test("one that is at work ends that, saves and has its last message then", async () => {
    await loadRelay();
    await loadSender();
    reply = async () => {
      await new Promise((resolve) => setTimeout(resolve, 60));
      return DONE;
    };
    running.kernel.begin();
    await hasHappened("relay m");
    await running.stop();
    expect(story).toEqual(["relay m", "relay m done", "relay saves 1", "relay l", "relay l done"]);
  });

  test("one that loops in its last message is not waited for, and the others have theirs", async () => {
    await begin();
    await loadProbe(running, "spinner", relay("(loop $l (br $l))"), {
      manifest: { ...FIELDS, fuel: 1_000_000_000_000 },
      spec: { priority: 0 },
    });
    running.kernel.begin("spinner");
    await expect.poll(async () => (await rowOf("spinner"))?.activations).toBe(1);
    await running.stop();
    expect(story.slice(2).toSorted()).toEqual(
      ["relay saves 1", "relay l", "relay l done", "spinner saves 0", "spinner l", "spinner l done"].toSorted(),
    );
    expect(running.events.filter(({ type }) => type === "fault")).toEqual([]);
  });

  test("one that traps at it is told of and stays away, with the state that it had", async () => {
    await begin(relay("unreachable"));
    await running.stop();
    expect(story.slice(2)).toEqual(["relay saves 1", "relay l", "relay l done"]);
    const about = running.events
      .filter((event) => "module" in event && event.module === "relay")
      .map(({ type }) => type);
    expect(about.filter((type) => type === "fault" || type === "loaded")).toEqual(["loaded", "fault"]);
  });

  test("nothing is delivered after it, whatever waits", async () => {
    const spec = moduleSpec("relay", [REPORT, TIMER], { restart: RULE });
    const slots = { report: REPORT_SLOT, timer: TIMER_SLOT };
    const binary = moduleBinary(
      relay(
        "",
        "(drop (call $every (i32.const 1)))",
        `(import "timer" "every" (func $every (param i32) (result i32)))`,
      ),
      manifestFields("relay", { ...FIELDS, slots }),
    );
    running.kernel.load(spec, await admitModule(binary, spec));
    running.kernel.begin();
    await hasHappened("relay m done");
    reply = async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return DONE;
    };
    await running.stop();
    expect(story.slice(-2)).toEqual(["relay l", "relay l done"]);
    expect(story.filter((what) => what === "relay l")).toHaveLength(1);
  });

  test("one that has used up its period's fuel has it all the same", async () => {
    const loops =
      "(local.set $length (i32.const 100000)) (loop $l (br_if $l (local.tee $length (i32.sub (local.get $length) (i32.const 1)))))";
    await loadRelay(relay("", "").replace("(return (i64.const 0))))", `${loops} (return (i64.const 0))))`), {
      fuelPerPeriod: 1000,
      periodMs: 86_400_000,
    });
    await loadSender();
    running.kernel.begin();
    await expect.poll(async () => (await rowOf("relay"))?.isThrottled).toBe(true);
    await running.stop();
    expect(story.at(-1)).toBe("relay l done");
  });

  test("one that has not begun has none: it knows no settings", async () => {
    await loadRelay();
    await running.waitFor("loaded");
    await running.stop();
    expect(story).not.toContain("relay l");
  });

  test("one whose start notice waits handles that before it", async () => {
    await loadRelay(relay("", report("s")));
    running.kernel.begin();
    running.kernel.hold("relay");
    await hasHappened("relay l done");
    expect(story.filter((what) => what.endsWith("done"))).toEqual(["relay s done", "relay l done"]);
  });

  test("one that is held already has no other", async () => {
    await begin();
    running.kernel.hold("relay");
    await hasHappened("relay l done");
    await isGone();
    await running.stop();
    expect(story.filter((what) => what === "relay l")).toHaveLength(1);
  });

  test("a version that is being prepared is given up, and the one in force has it", async () => {
    await loadRelay();
    await loadSender();
    const answers: ((answer: HostReply) => void)[] = [];
    reply = () => new Promise((resolve) => answers.push(resolve));
    running.kernel.begin();
    await hasHappened("relay m");
    const next = moduleBinary(relay(), manifestFields("relay", { ...FIELDS, version: "2.0.0" }));
    const admitted = await admitModule(next, moduleSpec("relay", [REPORT]));
    const swap = expect(running.kernel.swap([{ name: "relay", admitted }], 60_000)).rejects.toMatchObject({
      code: "E_ABORTED",
    });
    await running.kernel.top();
    const stop = running.stop();
    await running.kernel.top();
    reply = () => DONE;
    await new Promise((resolve) => setTimeout(resolve, 300));
    for (const answer of answers) answer(DONE);
    await stop;
    await swap;
    expect(story).toContain("relay l done");
  });
});

describe("a swap", () => {
  test("goes on without it; the version in force at the stop has it, also on probation", async () => {
    await begin();
    const next = moduleBinary(relay(), manifestFields("relay", { ...FIELDS, version: "2.0.0" }));
    const admitted = await admitModule(next, moduleSpec("relay", [REPORT]));
    await running.kernel.swap([{ name: "relay", admitted }]);
    await running.kernel.top();
    expect(story).not.toContain("relay l");
    await running.stop();
    expect(story.filter((what) => what === "relay l")).toHaveLength(1);
  });

  test("on probation does not go back for a trap in it", async () => {
    await begin();
    const next = moduleBinary(relay("unreachable"), manifestFields("relay", { ...FIELDS, version: "2.0.0" }));
    const admitted = await admitModule(next, moduleSpec("relay", [REPORT]));
    await running.kernel.swap([{ name: "relay", admitted }]);
    running.kernel.hold("relay");
    await running.waitFor("fault");
    await isGone();
    expect(running.events.some(({ type }) => type === "swap-reverted")).toBe(false);
  });
});

describe("an order to hold", () => {
  test("saves first, so that it goes on as it was", async () => {
    await begin();
    running.kernel.hold("relay");
    await hasHappened("relay l done");
    await isGone();
    expect(story.slice(2)).toEqual(["relay saves 1", "relay l", "relay l done"]);
    running.kernel.restart("relay");
    const { restored } = await running.waitFor(
      "loaded",
      ({ module, generation }) => module === "relay" && generation > 1,
    );
    expect(restored).toBe(true);
  });

  test("ends one that does not end its last message", async () => {
    await begin(relay("(loop $l (br $l))"));
    running.kernel.hold("relay");
    await hasHappened("relay l done");
    await isGone();
  });

  test("holds also where the module fails at it", async () => {
    await begin(relay("unreachable"));
    running.kernel.hold("relay");
    await running.waitFor("fault");
    await isGone();
    expect(await rowOf("relay")).toMatchObject({ state: "held", restarts: 0 });
  });

  test("that a restart follows at once leaves it running", async () => {
    await begin();
    reply = () => new Promise(() => undefined);
    running.kernel.hold("relay");
    await hasHappened("relay l");
    reply = () => DONE;
    running.kernel.restart("relay");
    await running.waitFor("restarted");
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(await rowOf("relay")).toMatchObject({ state: "idle" });
  });

  test("that a new version follows at once leaves that running", async () => {
    await begin();
    reply = () => new Promise(() => undefined);
    running.kernel.hold("relay");
    await hasHappened("relay l");
    reply = () => DONE;
    const next = moduleBinary(relay(), manifestFields("relay", { ...FIELDS, version: "2.0.0" }));
    await running.kernel.swap([{ name: "relay", admitted: await admitModule(next, moduleSpec("relay", [REPORT])) }]);
    story.length = 0;
    await loadProbe(
      running,
      "ticker",
      watModule(
        LOG_IMPORT,
        `(func (export "bulkhead_handle") (param i32 i32) (result i64)
      (drop (call $log (i32.const 1) (i32.const 0) (i32.const 0))) (i64.const 0))`,
      ),
      { grants: [LOG], slots: { log: LOG_SLOT } },
    );
    running.kernel.begin("sender");
    await hasHappened("relay m done");
  });
});
