/** Generated from module.yaml by `bulkhead build`; edit that. The exports of the ABI. */

import { ABORT_RECORD_BYTES, abort, placeAbortRecord } from "bulkhead/sdk/abort";
import { placeInbox } from "bulkhead/sdk/message";
import { handle, health } from "bulkhead/sdk/module";
import "../index";

const INBOX_BYTES: usize = 65600;
/** The abort record, then the inbox. */
const area = memory.data(65856, 8);
placeAbortRecord(area);
placeInbox(area + ABORT_RECORD_BYTES);

export function bulkhead_inbox(): usize {
  return area + ABORT_RECORD_BYTES;
}

export function bulkhead_handle(port: i32, length: i32): i64 {
  return handle(port, length);
}

export function bulkhead_health(): i32 {
  return health();
}
