/** Generated from module.yaml by `bulkhead build`; edit that. The exports of the ABI. */

import { ABORT_RECORD_BYTES, abort, placeAbortRecord } from "bulkhead/sdk/abort";
import { placeInbox } from "bulkhead/sdk/message";
import { handle, health, openSettings, restore, save } from "bulkhead/sdk/module";
import { Writer } from "bulkhead/sdk/writer";
import { takeSettings } from "./settings";
import "../index";

const INBOX_BYTES: usize = 4096;
/** The abort record, then the inbox. */
const area = memory.data(4352, 8);
placeAbortRecord(area);
placeInbox(area + ABORT_RECORD_BYTES);

export function bulkhead_inbox(): usize {
  return area + ABORT_RECORD_BYTES;
}

export function bulkhead_handle(port: i32, length: i32): i64 {
  const settings = openSettings(port);
  if (settings !== null) takeSettings(settings);
  return handle(port, length);
}

export function bulkhead_health(): i32 {
  return health();
}

const STATE_BYTES: i32 = 32;
const stateArea = memory.data(32, 8);
const stateWriter = Writer.over(stateArea, STATE_BYTES);

export function bulkhead_save(): i64 {
  return save(stateWriter);
}

export function bulkhead_state(length: i32): i32 {
  return <u32>length <= <u32>STATE_BYTES ? <i32>stateArea : -1;
}

export function bulkhead_restore(length: i32, schema: i32): i32 {
  return restore(stateArea, length, schema);
}
