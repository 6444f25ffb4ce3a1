/** The thread of one bus: carries out blocking transfers one after the other. */
import { parentPort, workerData } from "node:worker_threads";
import { DeviceFailure } from "../failure.ts";
import type { BusReply, BusRequest, BusThreadData } from "./bus-thread.ts";
import { I2cAdapter } from "./i2c-adapter.ts";
import { loadNative } from "./native.ts";
import { SpiAdapter } from "./spi-adapter.ts";

// SAFETY: bus-thread.ts is the only one to start this worker and to write to its port.
const { path, library } = workerData as BusThreadData;
const native = loadNative(library);
const i2c = new I2cAdapter(native, path);
const spi = new SpiAdapter(native, path);

parentPort?.on("message", (request: BusRequest) => {
  parentPort?.postMessage(answer(request));
});

function answer(request: BusRequest): BusReply {
  try {
    const bytes =
      request.kind === "i2c"
        ? i2c.transfer(request.address, request.messages)
        : spi.transfer(request.device, request.bytes);
    return { id: request.id, bytes };
  } catch (error) {
    const result = error instanceof DeviceFailure ? error.result : "io";
    return { id: request.id, result, message: error instanceof Error ? error.message : String(error) };
  }
}
