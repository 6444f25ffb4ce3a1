/** A process that loads a thousand modules and says how many of them run: what `address-space.test.ts` limits. */
import { Kernel } from "../../kernel/index.ts";
import { admit, ECHO, manifestFields, moduleSpec, watModule } from "../support/modules.ts";

const COUNT = 1000;
let running = 0;
let failed = 0;
const kernel = new Kernel({
  host: {
    bind: () => undefined,
    unbind: () => undefined,
    request: () => Promise.resolve({ result: 0, bytes: new Uint8Array(0) }),
  },
  onEvent: ({ type }) => {
    if (type === "loaded") running++;
    if (type === "held" || type === "partition-lost") failed++;
    if (running + failed < COUNT && type !== "partition-lost") return;
    process.stdout.write(`${running} of ${COUNT} run\n`, () => process.exit(0));
  },
});
await kernel.start([{ name: "main", heapMiB: 256 }]);
const restart = { policy: "hold", intensity: 0, windowMs: 1000, backoffMs: 0, maximumBackoffMs: 0 } as const;
const admitted = await admit(watModule("", ECHO), manifestFields("module"), moduleSpec("module"));
for (let index = 0; index < COUNT; index++) {
  const name = `m${index}`;
  kernel.load(moduleSpec(name, [], { restart }), { ...admitted, manifest: { ...admitted.manifest, name } });
}
kernel.begin();
