/** Where in its AssemblyScript a module trapped: the trace that the kernel tells, through the source map of the build. */
import { relative } from "node:path";
import { inspectModule, meterOptions } from "../../kernel/index.ts";
import { describeFrame, Locator } from "../source-map/locate.ts";

export interface TrapSource {
  readonly wasm: Uint8Array;
  /** The source map of the build. */
  readonly map: string;
  /** True where what goes into the module is recorded: it was rewritten for that. */
  readonly isRecorded: boolean;
  /** The module's folder. */
  readonly folder: string;
}

/** The frames of a trap's trace, the innermost first, one line each. */
export function trapPlaces(trace: string, { wasm, map, isRecorded, folder }: TrapSource): string[] {
  const options = meterOptions(inspectModule(wasm), isRecorded);
  const locator = new Locator({ binary: wasm, options, sourceMap: map, folder: relative(process.cwd(), folder) });
  return locator.frames(trace).map(describeFrame);
}
