/** The host's 1-Wire bus, through the kernel's w1_therm: one file for each thermometer, whose reading is a conversion. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DeviceFailure } from "../failure.ts";
import type { OneWireBus } from "../onewire.ts";

/** `72 01 4b 46 7f ff 0e 10 57 : crc=57 YES`, and a line with the temperature. */
const FIRST_LINE = /^((?:[0-9a-f]{2} ){9}): crc=[0-9a-f]{2} (YES|NO)$/;

export class LinuxOneWireBus implements OneWireBus {
  readonly description: string;
  readonly #folder: string;

  constructor(folder: string) {
    this.description = `linux ${folder}`;
    this.#folder = folder;
  }

  /** Takes most of a second, in a thread of Node's pool. */
  async readScratchpad(id: string): Promise<Uint8Array> {
    const text = await readFile(join(this.#folder, id, "w1_slave"), "latin1").catch((error: unknown) => {
      throw readFailure(id, (error as NodeJS.ErrnoException).code);
    });
    const [, bytes, verdict] = FIRST_LINE.exec(text.split("\n", 1)[0] ?? "") ?? [];
    if (bytes === undefined) throw new DeviceFailure("io", `${id}: the driver's answer is not understood`);
    if (verdict !== "YES") throw new DeviceFailure("io", `${id}: the checksum is wrong`);
    return Uint8Array.from(bytes.trim().split(" "), (byte) => Number.parseInt(byte, 16));
  }
}

function readFailure(id: string, code: string | undefined): DeviceFailure {
  if (code === "ENOENT" || code === "ENODEV") return new DeviceFailure("not-found", `no 1-Wire device ${id}`);
  if (code === "EACCES" || code === "EPERM") return new DeviceFailure("denied", `${id}: ${code}`);
  return new DeviceFailure("io", `${id}: ${code ?? "read failed"}`);
}
