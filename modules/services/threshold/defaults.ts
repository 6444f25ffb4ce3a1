/** The limits that `threshold` begins with; an operator changes them through the port `settings`. */

import { Bytes } from "bulkhead/sdk";
import { Table } from "./table";

export function setDefaultLimits(table: Table): void {
  table.setLimit(Bytes.fromText("temperature"), 22, 21.5);
  table.setLimit(Bytes.fromText("humidity"), 70, 65);
  table.setLimit(Bytes.fromText("processor"), 95, 80);
  table.setLimit(Bytes.fromText("memory-used"), 90, 85);
  table.setLimit(Bytes.fromText("load"), 16, 12);
}
