/** A process whose partition hangs in a native call that nothing interrupts: what `unkillable.test.ts` watches. */
import { watchForUnkillable } from "../../gateway/core/last-resort.ts";
import { Kernel } from "../../kernel/index.ts";

const kernel = new Kernel({
  host: {
    bind: () => undefined,
    unbind: () => undefined,
    request: () => Promise.resolve({ result: 0, bytes: new Uint8Array(0) }),
  },
  onEvent: (event) => {
    process.stdout.write(`${event.type}\n`);
    watchForUnkillable(event);
  },
});
await kernel.start([{ name: "main", heapMiB: 32 }]);
kernel.freezePartition("main", "native");
