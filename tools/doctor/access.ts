/** Checks of files: who may read and write what the configuration names, and whether secrets are secret. */
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { join } from "node:path";
import type { GatewayConfiguration } from "../../gateway/config/index.ts";
import type { Finding } from "./finding.ts";
import { failure, ok, warning } from "./finding.ts";

const OTHERS = 0o077;
const WRITABLE_BY_OTHERS = 0o022;

export function checkDataFolder(folder: string): Finding[] {
  if (!existsSync(folder))
    return [warning("data", `${folder} is not there yet`, "the first start makes it: systemctl start bulkhead")];
  try {
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch {
    const remedy = `run it as the gateway's user (sudo -u bulkhead bulkhead doctor), or: sudo chown -R bulkhead: ${folder}`;
    return [failure("data", `${folder} cannot be written by this user`, remedy)];
  }
  const { mode, uid } = statSync(folder);
  if ((mode & OTHERS) !== 0) return [warning("data", `${folder} is open to other users`, `sudo chmod 700 ${folder}`)];
  return [ok("data", folder), ...checkGatewayKey(folder, uid)];
}

/** The core runs as the folder's owner: a key that belongs to another is none. */
function checkGatewayKey(folder: string, owner: number): Finding[] {
  const key = join(folder, "gateway.key");
  const state = statSync(key, { throwIfNoEntry: false });
  if (state === undefined) return [];
  if ((state.mode & OTHERS) !== 0)
    return [
      failure(
        "gateway-key",
        `${key} can be read by others`,
        `sudo chmod 600 ${key}; then enrol a new key if somebody may have`,
      ),
    ];
  if (state.uid !== owner)
    return [
      failure(
        "gateway-key",
        `${key} belongs to another user than its folder`,
        `sudo chown --reference=${folder} ${key}`,
      ),
    ];
  return [ok("gateway-key", `${join(folder, "gateway.pub")} is what the operator enrols`)];
}

/** Files that the configuration names for the broker. */
export function checkSecrets({ broker }: GatewayConfiguration): Finding[] {
  if (broker === null) return [];
  const named: [string, string | null, boolean][] = [
    ["password-file", broker.passwordFile, true],
    ["key-file", broker.keyFile, true],
    ["ca-file", broker.caFile, false],
    ["certificate-file", broker.certificateFile, false],
  ];
  return named.flatMap(([key, path, isSecret]) => (path === null ? [] : checkFile(`broker.${key}`, path, isSecret)));
}

function checkFile(subject: string, path: string, isSecret: boolean): Finding[] {
  const state = statSync(path, { throwIfNoEntry: false });
  if (state === undefined)
    return [failure(subject, `${path} is not there`, `put it there, or take ${subject} out of the configuration`)];
  try {
    accessSync(path, constants.R_OK);
  } catch {
    return [
      failure(subject, `${path} cannot be read by this user`, `sudo chgrp bulkhead ${path} && sudo chmod 640 ${path}`),
    ];
  }
  const isOpen = (state.mode & (isSecret ? 0o007 : WRITABLE_BY_OTHERS)) !== 0;
  return isOpen
    ? [warning(subject, `${path} is open to other users`, `sudo chgrp bulkhead ${path} && sudo chmod 640 ${path}`)]
    : [];
}

export function checkConfigurationFile(file: string): Finding[] {
  const { mode } = statSync(file);
  if ((mode & WRITABLE_BY_OTHERS) === 0) return [];
  return [
    failure(
      "configuration",
      `${file} may be written by others than its owner: who writes it grants everything`,
      `sudo chmod 644 ${file}`,
    ),
  ];
}
