/** Keys, signatures and the root ceremony: the verbs, and the functions that other tools and the demo sign with. */

import type { Command } from "../command.ts";
import { keygen } from "./keygen.ts";
import { root } from "./root-command.ts";
import { sign } from "./sign-command.ts";
import { verify } from "./verify-command.ts";

/** The verbs `keygen`, `sign`, `verify` and `root`. */
export const commands: readonly Command[] = Object.freeze([keygen, sign, verify, root]);

export * from "./key.ts";
export * from "./key-file.ts";
export * from "./sign.ts";
export { describeModule } from "./sign-command.ts";
