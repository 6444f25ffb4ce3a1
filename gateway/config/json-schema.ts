/** The JSON Schema of `gateway.yaml`, for editors: made from the same shape that reads the file. */
import { gatewayShape } from "./schema.ts";
import type { JsonSchema } from "./shape.ts";

/** JSON Schema draft-07, which every editor's YAML support knows. */
export function gatewaySchema(): JsonSchema {
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "gateway.yaml of Bulkhead",
    ...gatewayShape.schema(),
  };
}
