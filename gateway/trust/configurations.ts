/** The configurations of a gateway: its own file's, and those that an operator's key has signed, which are held to it. */

import type { GatewayConfiguration, Problem } from "../config/index.ts";
import { checkReceived, ConfigurationError, describePosition, fitBinaries, parseReceived } from "../config/index.ts";
import { Refusal } from "../../kernel/index.ts";

/** A module by name, with the bytes that hold its manifest. */
interface NamedBinary {
  readonly document: { readonly name: string };
  readonly binary: Uint8Array;
}

export interface Configurations {
  /** Of the file on the gateway. */
  readonly own: GatewayConfiguration;
  /** @throws Refusal where the text is not valid, or would widen what the gateway's own file keeps local */
  read(text: string, digest: string): GatewayConfiguration;
  /** @throws Refusal where a module's manifest does not fit */
  fit(configuration: GatewayConfiguration, modules: readonly NamedBinary[]): void;
}

export function configurationsOf(own: GatewayConfiguration): Configurations {
  return {
    own,
    read: (text, digest) => {
      const name = `configuration ${digest.slice(0, 12)}`;
      const received = refusing(() => parseReceived({ name, text }, own));
      refuse(checkReceived(own, received));
      return received;
    },
    fit: (configuration, modules) => {
      const binaries = modules.map(({ document: { name }, binary }) => ({ name, binary }));
      refuse(fitBinaries(configuration, binaries).errors);
    },
  };
}

function refusing<Value>(read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    if (error instanceof ConfigurationError) refuse(error.problems);
    throw error;
  }
}

/** The first problem as a refusal that is told in one line, with the number of the others. */
function refuse(problems: readonly Problem[]): void {
  const [first, ...others] = problems;
  if (first === undefined) return;
  const { at, code, message, expected, found, hint } = first;
  const more = others.length === 0 ? "" : ` (and ${others.length} more)`;
  throw new Refusal(code, `${describePosition(at)}: ${message}${more}`, {
    ...(expected === undefined ? {} : { expected }),
    ...(found === undefined ? {} : { found }),
    ...(hint === undefined ? {} : { hint }),
  });
}
