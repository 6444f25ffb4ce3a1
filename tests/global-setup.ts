/** Builds the modules before the tests, so that each test runs the binaries of the sources beside it. */
import { buildAll } from "../tools/build/build.ts";

/** Compiles only what is out of date; a source that does not compile ends the run with the compiler's message. */
export default async function setup(): Promise<void> {
  await buildAll();
}
