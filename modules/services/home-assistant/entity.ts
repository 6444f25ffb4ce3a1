/** What Home Assistant is told of one sensor and quantity (its MQTT discovery protocol), as topics and JSON. */

import { Reading } from "bulkhead/interfaces/readings";
import { Bytes, Writer } from "bulkhead/sdk";
import { settings } from "./generated/settings";

/** Where states and commands go, below the operator's prefix; discovery has its own. */
const STATES = "/states/";
const COMMANDS = "/commands/";
/** As in the contract `switches`. */
const MODULE_NAME_BYTES: i32 = 48;
/** The quantity of what can be switched: see the driver gpio-relay. */
const SWITCH = "on";

export function isSwitch(reading: Reading): bool {
  return reading.quantity.is(SWITCH);
}

/** Lower-case letters, digits and hyphens: safe in a topic and in JSON. */
export function isName(name: Bytes): bool {
  for (let i = 0; i < name.length; i++) {
    const character = name[i];
    const isLetter = character >= 97 && character <= 122;
    const isDigit = character >= 48 && character <= 57;
    if (!isLetter && !isDigit && character != 45) return false;
  }
  return name.length > 0;
}

/** Points `name` at the switch that a command's topic names; false where it names none below our own prefix. */
export function nameOfCommand(topic: Bytes, name: Bytes): bool {
  const start = settings.prefix.length + COMMANDS.length;
  if (topic.length <= start || topic.length - start > MODULE_NAME_BYTES) return false;
  name.pointInto(topic, 0, settings.prefix.length);
  if (!name.equals(settings.prefix)) return false;
  name.pointInto(topic, settings.prefix.length, COMMANDS.length);
  if (!name.is(COMMANDS)) return false;
  name.pointInto(topic, start, topic.length - start);
  return isName(name);
}

/** `homeassistant/sensor/<sensor>-<quantity>/config`. */
export function writeDiscoveryTopic(writer: Writer, reading: Reading): void {
  writer
    .begin()
    .raw(settings.discovery)
    .rawText(isSwitch(reading) ? "/switch/" : "/sensor/");
  writer.raw(reading.sensor).rawText("-").raw(reading.quantity).rawText("/config");
}

export function writeStateTopic(writer: Writer, reading: Reading): void {
  writeTopic(writer.begin(), reading);
}

function writeTopic(writer: Writer, reading: Reading): void {
  writer.raw(settings.prefix).rawText(STATES).raw(reading.sensor).rawText("/").raw(reading.quantity);
}

/** Names consist of letters, digits and hyphens, so that nothing of them has to be escaped; `start` looks at the settings. */
export function writeDiscovery(writer: Writer, reading: Reading): void {
  writer.begin().rawText('{"name":"').raw(reading.quantity).rawText('","unique_id":"');
  writeIdentity(writer, reading);
  writer.rawText("-").raw(reading.quantity).rawText('","state_topic":"');
  writeTopic(writer, reading);
  if (isSwitch(reading)) {
    writer.rawText('","command_topic":"').raw(settings.prefix).rawText(COMMANDS).raw(reading.sensor);
    writer.rawText('","payload_on":"1","payload_off":"0');
  } else writeMeasurement(writer, reading);
  writer.rawText('","device":{"identifiers":["');
  writeIdentity(writer, reading);
  writer.rawText('"],"name":"').raw(reading.sensor).rawText('","manufacturer":"Bulkhead"}}');
}

/** `bulkhead-<gateway>-<sensor>`: the same over restarts, and nobody else's. */
function writeIdentity(writer: Writer, reading: Reading): void {
  writer.rawText("bulkhead-").raw(settings.id).rawText("-").raw(reading.sensor);
}

function writeMeasurement(writer: Writer, reading: Reading): void {
  writer.rawText('","state_class":"measurement');
  const unit = unitOf(reading.unit);
  if (unit.length > 0) writer.rawText('","unit_of_measurement":"').rawText(unit);
  const deviceClass = classOf(reading);
  if (deviceClass.length > 0) writer.rawText('","device_class":"').rawText(deviceClass);
}

/** UCUM to what Home Assistant knows; a unit that is not here is left out. */
function unitOf(unit: Bytes): string {
  if (unit.is("Cel")) return "°C";
  if (unit.is("Pa")) return "Pa";
  if (unit.is("%")) return "%";
  if (unit.is("V")) return "V";
  return "";
}

/** A device class goes with certain units only, or Home Assistant refuses the entity. */
function classOf(reading: Reading): string {
  if (reading.unit.is("Cel")) return "temperature";
  if (reading.unit.is("Pa")) return "atmospheric_pressure";
  if (reading.unit.is("V")) return "voltage";
  if (reading.unit.is("%") && reading.quantity.is("humidity")) return "humidity";
  return "";
}
