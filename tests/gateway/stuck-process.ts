/** A process that is ready for its service manager, and whose main thread then waits for ever: what `service-manager.test.ts` watches. */
import { ServiceManager } from "../../gateway/core/service-manager.ts";

const manager = ServiceManager.find();
manager?.ready("as well as can be");
process.stdin.once("data", () => {
  manager?.status("stuck from now on");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
