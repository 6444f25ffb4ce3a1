/** The thread of one GPIO chip: waits in poll() for edges and for commands, which an eventfd announces. */
import { receiveMessageOnPort, workerData } from "node:worker_threads";
import { DeviceFailure } from "../failure.ts";
import type { Level } from "../gpio.ts";
import { DeviceNode } from "./device-node.ts";
import type { GpioCommand, GpioNews, GpioThreadData } from "./gpio-chip.ts";
import { FLAG, LAYOUT, REQUEST } from "./layouts.ts";
import { failureOf, isBroken, isReadable, loadNative, pollSet } from "./native.ts";

/** Events read in one go. */
const EVENTS = 16;
/** Edges that the kernel keeps for us while this thread is busy. */
const EVENT_BUFFER = 256;
const CONSUMER_BYTES = 32;

// SAFETY: gpio-chip.ts is the only one to start this worker and to write to its port.
const { path, library, wake, port } = workerData as GpioThreadData;
const native = loadNative(library);
const chip = new DeviceNode(native, path);
/** Descriptors of requested lines by the number that the main thread gave them. */
const lines = new Map<number, number>();
const state = { isRunning: true };

while (state.isRunning) {
  const watched = [...lines];
  const polled = pollSet([wake, ...watched.map(([, descriptor]) => descriptor)]);
  if (native.poll(polled, -1) < 0) continue;
  watched.forEach(([line, descriptor], index) => {
    if (isReadable(polled, index + 1)) readEdges(line, descriptor);
    else if (isBroken(polled, index + 1)) lose(line, descriptor);
  });
  if (isReadable(polled, 0)) takeCommands();
}

function takeCommands(): void {
  native.read(wake, new Uint8Array(8));
  for (let received = receiveMessageOnPort(port); received !== undefined; received = receiveMessageOnPort(port)) {
    obey(received.message as GpioCommand);
  }
}

function obey(command: GpioCommand): void {
  if (command.kind === "stop") {
    for (const descriptor of lines.values()) native.close(descriptor);
    chip.close();
    state.isRunning = false;
    return;
  }
  try {
    tell({ kind: "done", id: command.id, value: carryOut(command) });
  } catch (error) {
    const result = error instanceof DeviceFailure ? error.result : "io";
    tell({ kind: "failed", id: command.id, result, message: error instanceof Error ? error.message : String(error) });
  }
}

function carryOut(command: Exclude<GpioCommand, { kind: "stop" }>): number {
  switch (command.kind) {
    case "request":
      return request(command);
    case "get":
      return get(command.line);
    case "set":
      set(command.line, command.level);
      return 0;
    case "release": {
      const descriptor = lines.get(command.line);
      if (descriptor !== undefined) native.close(descriptor);
      lines.delete(command.line);
      return 0;
    }
  }
}

function request({ line, offset, direction, edges, consumer }: Extract<GpioCommand, { kind: "request" }>): number {
  if (lines.has(line)) return 0;
  const at = LAYOUT.gpio_v2_line_request;
  const bytes = new Uint8Array(at.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(at.offsets, offset, true);
  bytes.set(new TextEncoder().encode(consumer).subarray(0, CONSUMER_BYTES - 1), at.consumer);
  const rising = edges === "rising" || edges === "both" ? FLAG.GPIO_V2_LINE_FLAG_EDGE_RISING : 0;
  const falling = edges === "falling" || edges === "both" ? FLAG.GPIO_V2_LINE_FLAG_EDGE_FALLING : 0;
  const way = direction === "in" ? FLAG.GPIO_V2_LINE_FLAG_INPUT : FLAG.GPIO_V2_LINE_FLAG_OUTPUT;
  view.setBigUint64(at.config + LAYOUT.gpio_v2_line_config.flags, BigInt(way | rising | falling), true);
  view.setUint32(at.num_lines, 1, true);
  view.setUint32(at.event_buffer_size, EVENT_BUFFER, true);
  chip.ioctl(REQUEST.GPIO_V2_GET_LINE_IOCTL, bytes, `requesting line ${offset}`);
  lines.set(line, view.getInt32(at.fd, true));
  return 0;
}

function get(line: number): Level {
  const values = lineValues(0);
  callLine(line, REQUEST.GPIO_V2_LINE_GET_VALUES_IOCTL, values);
  return ((values[LAYOUT.gpio_v2_line_values.bits] ?? 0) & 1) === 1 ? 1 : 0;
}

function set(line: number, level: Level): void {
  callLine(line, REQUEST.GPIO_V2_LINE_SET_VALUES_IOCTL, lineValues(level));
}

/** The first and only line of a request. */
function lineValues(level: Level): Uint8Array {
  const values = new Uint8Array(LAYOUT.gpio_v2_line_values.size);
  values[LAYOUT.gpio_v2_line_values.bits] = level;
  values[LAYOUT.gpio_v2_line_values.mask] = 1;
  return values;
}

function callLine(line: number, code: bigint, values: Uint8Array): void {
  const descriptor = lines.get(line);
  if (descriptor === undefined) throw new DeviceFailure("not-found", `${path}: the line was released`);
  if (native.ioctl(descriptor, code, values) < 0) throw failureOf(native.errno(), `${path}: line`);
}

function readEdges(line: number, descriptor: number): void {
  const at = LAYOUT.gpio_v2_line_event;
  const bytes = new Uint8Array(EVENTS * at.size);
  const length = native.read(descriptor, bytes);
  if (length <= 0) return lose(line, descriptor);
  const view = new DataView(bytes.buffer);
  for (let start = 0; start + at.size <= length; start += at.size) {
    const level = view.getUint32(start + at.id, true) === FLAG.GPIO_V2_LINE_EVENT_RISING_EDGE ? 1 : 0;
    const sequence = view.getUint32(start + at.line_seqno, true);
    tell({ kind: "edge", line, level, nanoseconds: view.getBigUint64(start + at.timestamp_ns, true), sequence });
  }
}

function lose(line: number, descriptor: number): void {
  native.close(descriptor);
  lines.delete(line);
  chip.close();
  tell({ kind: "lost", line });
}

function tell(news: GpioNews): void {
  port.postMessage(news);
}
