/** Serial lines of the host, through the package serialport. */
import type { SerialPort } from "serialport";
import { DeviceFailure } from "../failure.ts";
import type { OpenSerial, SerialLine } from "../uart.ts";

/** Writing waits for room in the driver's buffer; a device that holds its flow control would hold us. */
const WRITE_MS = 5000;

/** The package is loaded with the first line: its native part needs a permission that a gateway without UARTs is not given. */
export const openSerialLine: OpenSerial = async (settings, events) => {
  const { SerialPort } = await import("serialport");
  const { path, baud, dataBits, parity, stopBits } = settings;
  const port = new SerialPort({ path, baudRate: baud, dataBits, parity, stopBits, autoOpen: false, lock: true });
  await opened(port);
  port.on("data", events.onBytes);
  port.on("close", (reason: Error | null) => {
    if (reason !== null) events.onClosed(`${path}: ${reason.message}`);
  });
  return lineOf(port);
};

function opened(port: SerialPort): Promise<void> {
  port.on("error", () => undefined);
  return new Promise((resolve, reject) => {
    port.open((error) => {
      if (error === null) resolve();
      else reject(openFailure(port.path, error.message));
    });
  });
}

function lineOf(port: SerialPort): SerialLine {
  return {
    write: (bytes) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          reject(new DeviceFailure("timeout", `${port.path}: the device takes no bytes`));
        }, WRITE_MS);
        port.write(Buffer.from(bytes), (error) => {
          clearTimeout(timer);
          if (error instanceof Error) reject(new DeviceFailure("io", `${port.path}: ${error.message}`));
          else resolve();
        });
      }),
    close: () => {
      if (port.isOpen) port.close(() => undefined);
    },
  };
}

function openFailure(path: string, message: string): DeviceFailure {
  if (/No such file|No such device|ENOENT|ENODEV/i.test(message))
    return new DeviceFailure("not-found", `${path} is not there`);
  if (/Permission denied|EACCES/i.test(message)) return new DeviceFailure("denied", `${path} may not be opened`);
  if (/lock|busy|temporarily unavailable/i.test(message))
    return new DeviceFailure("busy", `${path} is used by another process`);
  return new DeviceFailure("io", `${path}: ${message}`);
}
