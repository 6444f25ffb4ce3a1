/** The gateway that gets killed: updates itself from version to version, as fast as it can, and tells how far it is. */

import { nodeFileSystem } from "../../gateway/trust/index.ts";
import { MemoryBroker } from "./memory-broker.ts";
import { publishSet, SimulatedGateway } from "./simulation.ts";

const folder = process.argv[2] ?? "";
const broker = new MemoryBroker();
const gateway = new SimulatedGateway(nodeFileSystem, folder, broker);

/** Lines for the parent; written at once, because the next instant may be the last. */
function tell(line: string): void {
  process.stdout.write(`${line}\n`);
}

function next(committed: number): void {
  tell(`committed ${committed}`);
  const version = committed + 1;
  tell(`pushed ${version}`);
  publishSet(broker, version);
}

gateway.onCommitted = next;
gateway.start();
// A candidate that the boot found is on probation; its commit goes on by itself.
if (gateway.boot.source !== "candidate") next(gateway.version ?? 1);
