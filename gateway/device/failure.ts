/** How a device or a bus fails: with the result code that its caller gets, and a sentence for the log. */
import type { ResultName } from "../../kernel/index.ts";

/** Thrown by buses and chips; an interface host answers with its result. */
export class DeviceFailure extends Error {
  readonly result: ResultName;

  constructor(result: ResultName, message: string) {
    super(message);
    this.name = "DeviceFailure";
    this.result = result;
  }
}
