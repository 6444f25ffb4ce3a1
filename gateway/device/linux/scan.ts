/** Who answers on an I2C bus: each address is asked for one byte, as `i2cdetect -r` does. */
import { I2cAdapter } from "./i2c-adapter.ts";
import { loadNative } from "./native.ts";
import { DeviceFailure } from "../failure.ts";

/** Addresses below and above are reserved by the I2C specification (UM10204, 3.1.12). */
const FIRST = 0x08;
const LAST = 0x77;

/**
 * Opens the bus and asks every address. Not for a bus with devices that act on being read.
 * @throws DeviceFailure where the bus itself cannot be used; `library` stands in for libc
 */
export function scanI2c(path: string, library: string | null = null): number[] {
  const adapter = new I2cAdapter(loadNative(library), path);
  const found: number[] = [];
  try {
    for (let address = FIRST; address <= LAST; address++) {
      if (answers(adapter, address)) found.push(address);
    }
    return found;
  } finally {
    adapter.close();
  }
}

function answers(adapter: I2cAdapter, address: number): boolean {
  try {
    adapter.transfer(address, [{ kind: "read", length: 1 }]);
    return true;
  } catch (error) {
    if (error instanceof DeviceFailure && error.result === "not-acknowledged") return false;
    throw error;
  }
}
