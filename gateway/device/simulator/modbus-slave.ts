/** A simulated Modbus RTU slave behind a serial line: frames by silence, registers by script (Modbus over Serial Line V1.02). */
import type { OpenSerial, SerialLine, SerialSettings } from "../uart.ts";
import { badSetting, integerSetting, record } from "../settings.ts";
import type { SimulatedDevice } from "../settings.ts";
import type { SimulatedPart } from "../../wire/protocol.ts";
import { checkOptions } from "./chip.ts";
import type { SimulatorClock } from "./chip.ts";
import { FaultScript, parseFaults } from "./faults.ts";
import { parseValueScript, ScriptedValue } from "./script.ts";

/** Exception codes, MODBUS Application Protocol V1.1b3, section 7. */
const EXCEPTION = Object.freeze({ illegalFunction: 1, illegalAddress: 2, illegalValue: 3 });
const REGISTERS = 65_536;
/** Above 19,200 baud the standard fixes the silence between frames (section 2.5.1.1). */
const SILENCE_MS = 1.75;
const word = { minimum: -32_768, maximum: 65_535 };

/** CRC-16/MODBUS, low byte sent first. */
export function crc16(bytes: Uint8Array): number {
  let crc = 0xffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >> 1) ^ 0xa001 : crc >> 1;
  }
  return crc;
}

class ModbusException extends Error {
  readonly exception: number;

  constructor(exception: number) {
    super(`exception ${exception}`);
    this.exception = exception;
  }
}

/** Registers of one slave: what was written stays, what follows a script moves. */
export class ModbusSlave {
  readonly unit: number;
  readonly faults: FaultScript;
  readonly #now: SimulatorClock;
  readonly #holding = new Map<number, ScriptedValue>();
  readonly #input = new Map<number, ScriptedValue>();
  readonly #coils = new Map<number, boolean>();

  /** Options: `unit`, `holding` and `input` as `{register: script}`, `coils` as a list of those that exist. */
  constructor(device: SimulatedDevice, now: SimulatorClock) {
    if (device.chip !== "modbus-slave") throw badSetting(`there is no simulator of '${device.chip}' on a serial line`);
    const options = checkOptions(device, ["unit", "holding", "input", "coils"]);
    this.unit = integerSetting(options["unit"], "simulate: modbus-slave: unit", 1, 247, 1);
    this.faults = new FaultScript(parseFaults(options["faults"]));
    this.#now = now;
    fill(this.#holding, options["holding"], "holding");
    fill(this.#input, options["input"], "input");
    const { coils = [] } = options;
    if (!Array.isArray(coils)) throw badSetting("simulate: modbus-slave: coils is not a list");
    for (const coil of coils)
      this.#coils.set(integerSetting(coil, "simulate: modbus-slave: coils", 0, REGISTERS - 1), false);
  }

  /** Quantities are `holding/40` and `input/40`, and `faults`. */
  set(quantity: string, script: unknown): boolean {
    if (quantity === "faults") {
      this.faults.set(parseFaults(script));
      return true;
    }
    const [table, register] = quantity.split("/");
    const values = table === "holding" ? this.#holding : table === "input" ? this.#input : undefined;
    const value = values?.get(Number(register));
    value?.set(parseValueScript(script, quantity));
    return value !== undefined;
  }

  part(): SimulatedPart {
    const seconds = this.#now() / 1000;
    const quantities: Record<string, number> = {};
    for (const [register, value] of this.#holding) quantities[`holding/${register}`] = value.at(seconds);
    for (const [register, value] of this.#input) quantities[`input/${register}`] = value.at(seconds);
    return { device: String(this.unit), chip: "modbus-slave", quantities, faults: this.faults.active(seconds) };
  }

  /** The answer to a whole frame, or undefined where a slave stays silent: another unit, a bad checksum, a broadcast. */
  answer(frame: Uint8Array): Uint8Array | undefined {
    const seconds = this.#now() / 1000;
    const body = frame.subarray(0, -2);
    const isWhole = frame.length >= 4 && crc16(body) === ((frame.at(-1) ?? 0) << 8) + (frame.at(-2) ?? 0);
    if (!isWhole || (frame[0] !== this.unit && frame[0] !== 0) || this.faults.strikes("silent", seconds))
      return undefined;
    const reply = this.#carryOut(body);
    if (frame[0] === 0) return undefined;
    const crc = crc16(reply) ^ (this.faults.strikes("crc", seconds) ? 0x0101 : 0);
    const whole = Uint8Array.of(...reply, crc & 0xff, crc >> 8);
    return this.faults.strikes("short", seconds) ? whole.subarray(0, whole.length >> 1) : whole;
  }

  #carryOut(body: Uint8Array): Uint8Array {
    const [unit = 0, code = 0] = body;
    try {
      return Uint8Array.of(
        unit,
        code,
        ...this.#function(code, new DataView(body.buffer, body.byteOffset + 2, body.length - 2)),
      );
    } catch (error) {
      if (error instanceof ModbusException) return Uint8Array.of(unit, code | 0x80, error.exception);
      if (error instanceof RangeError) return Uint8Array.of(unit, code | 0x80, EXCEPTION.illegalValue);
      throw error;
    }
  }

  /** Sections 6.1 to 6.12; a frame that is too short is a RangeError of its DataView. */
  #function(code: number, data: DataView): Iterable<number> {
    switch (code) {
      case 1:
      case 2:
        return this.#readCoils(data.getUint16(0), data.getUint16(2));
      case 3:
        return this.#readRegisters(this.#holding, data.getUint16(0), data.getUint16(2));
      case 4:
        return this.#readRegisters(this.#input, data.getUint16(0), data.getUint16(2));
      case 5:
        return this.#writeCoil(data);
      case 6:
        this.#writeRegister(data.getUint16(0), data.getUint16(2));
        return bytesOf(data, 4);
      case 15:
        return this.#writeCoils(data);
      case 16:
        return this.#writeRegisters(data);
      default:
        throw new ModbusException(EXCEPTION.illegalFunction);
    }
  }

  #readCoils(start: number, count: number): number[] {
    if (count < 1 || count > 2000) throw new ModbusException(EXCEPTION.illegalValue);
    const bytes = new Array<number>(Math.ceil(count / 8)).fill(0);
    for (let index = 0; index < count; index++) {
      const coil = this.#coils.get(start + index);
      if (coil === undefined) throw new ModbusException(EXCEPTION.illegalAddress);
      if (coil) bytes[index >> 3] = (bytes[index >> 3] ?? 0) | (1 << (index & 7));
    }
    return [bytes.length, ...bytes];
  }

  #readRegisters(values: ReadonlyMap<number, ScriptedValue>, start: number, count: number): number[] {
    if (count < 1 || count > 125) throw new ModbusException(EXCEPTION.illegalValue);
    const words = Array.from({ length: count }, (_, index) => {
      const value = values.get(start + index);
      if (value === undefined) throw new ModbusException(EXCEPTION.illegalAddress);
      return Math.round(value.at(this.#now() / 1000)) & 0xffff;
    });
    return [2 * count, ...words.flatMap((value) => [value >> 8, value & 0xff])];
  }

  #writeCoil(data: DataView): Iterable<number> {
    const [coil, value] = [data.getUint16(0), data.getUint16(2)];
    if (value !== 0 && value !== 0xff00) throw new ModbusException(EXCEPTION.illegalValue);
    if (!this.#coils.has(coil)) throw new ModbusException(EXCEPTION.illegalAddress);
    this.#coils.set(coil, value !== 0);
    return bytesOf(data, 4);
  }

  #writeCoils(data: DataView): Iterable<number> {
    const [start, count, bytes] = [data.getUint16(0), data.getUint16(2), data.getUint8(4)];
    if (count < 1 || count > 1968 || bytes !== Math.ceil(count / 8)) throw new ModbusException(EXCEPTION.illegalValue);
    for (let index = 0; index < count; index++) {
      if (!this.#coils.has(start + index)) throw new ModbusException(EXCEPTION.illegalAddress);
    }
    for (let index = 0; index < count; index++) {
      this.#coils.set(start + index, ((data.getUint8(5 + (index >> 3)) >> (index & 7)) & 1) === 1);
    }
    return bytesOf(data, 4);
  }

  #writeRegister(register: number, value: number): void {
    const holding = this.#holding.get(register);
    if (holding === undefined) throw new ModbusException(EXCEPTION.illegalAddress);
    holding.set(value);
  }

  #writeRegisters(data: DataView): Iterable<number> {
    const [start, count, bytes] = [data.getUint16(0), data.getUint16(2), data.getUint8(4)];
    if (count < 1 || count > 123 || bytes !== 2 * count) throw new ModbusException(EXCEPTION.illegalValue);
    for (let index = 0; index < count; index++) {
      if (!this.#holding.has(start + index)) throw new ModbusException(EXCEPTION.illegalAddress);
    }
    for (let index = 0; index < count; index++) this.#writeRegister(start + index, data.getUint16(5 + 2 * index));
    return bytesOf(data, 4);
  }
}

/** The bus: bytes become a frame when the line has been silent for three and a half characters. */
export class SimulatedModbusLine {
  readonly #slaves: readonly ModbusSlave[];

  /** @throws Refusal E_CONFIG */
  constructor(devices: readonly SimulatedDevice[], now: SimulatorClock) {
    this.#slaves = devices.map((device) => new ModbusSlave(device, now));
  }

  get description(): string {
    return `simulator (${this.#slaves.map(({ unit }) => `modbus-slave unit ${unit}`).join(", ") || "nothing connected"})`;
  }

  parts(): SimulatedPart[] {
    return this.#slaves.map((slave) => slave.part());
  }

  /** By unit. */
  simulate(unit: string, quantity: string, script: unknown): boolean {
    return this.#slaves.find((slave) => slave.unit === Number(unit))?.set(quantity, script) ?? false;
  }

  readonly open: OpenSerial = (settings, { onBytes }) => {
    const silenceMs = Math.max(SILENCE_MS, 3.5 * characterMs(settings));
    let received: Uint8Array = new Uint8Array();
    let silence: NodeJS.Timeout | undefined;
    const endFrame = () => {
      const frame = received;
      received = new Uint8Array();
      for (const slave of this.#slaves) {
        const answer = slave.answer(frame);
        if (answer !== undefined) onBytes(answer);
      }
    };
    const line: SerialLine = {
      write: (bytes) => {
        received = Buffer.concat([received, bytes]).subarray(-512);
        clearTimeout(silence);
        silence = setTimeout(endFrame, silenceMs + bytes.length * characterMs(settings));
        return Promise.resolve();
      },
      close: () => {
        clearTimeout(silence);
      },
    };
    return Promise.resolve(line);
  };
}

/** Start, data, parity and stop bits. */
function characterMs({ baud, dataBits, parity, stopBits }: SerialSettings): number {
  return (1000 * (1 + dataBits + (parity === "none" ? 0 : 1) + stopBits)) / baud;
}

function fill(values: Map<number, ScriptedValue>, scripts: unknown, table: string): void {
  const field = `simulate: modbus-slave: ${table}`;
  for (const [register, script] of Object.entries(record(scripts ?? {}, field))) {
    values.set(
      integerSetting(Number(register), field, 0, REGISTERS - 1),
      new ScriptedValue(parseValueScript(script, field), word),
    );
  }
}

function bytesOf(data: DataView, length: number): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, length);
}
