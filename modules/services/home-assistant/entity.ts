/** What Home Assistant is told of one sensor and quantity (its MQTT discovery protocol), as topics and JSON. */

import { Reading } from "bulkhead/interfaces/readings";
import { Bytes, Writer } from "bulkhead/sdk";

/** Where states and commands go; discovery has its own prefix. */
const STATES = "site/7/states/";
const COMMANDS = "site/7/commands/";
const DISCOVERY = "homeassistant/";
/** The quantity of what can be switched: see the driver gpio-relay. */
const SWITCH = "on";

export function isSwitch(reading: Reading): bool {
  return reading.quantity.is(SWITCH);
}

/** `homeassistant/sensor/<sensor>-<quantity>/config`. */
export function writeDiscoveryTopic(writer: Writer, reading: Reading): void {
  writer
    .begin()
    .rawText(DISCOVERY)
    .rawText(isSwitch(reading) ? "switch/" : "sensor/");
  writer.raw(reading.sensor).rawText("-").raw(reading.quantity).rawText("/config");
}

export function writeStateTopic(writer: Writer, reading: Reading): void {
  writeTopic(writer.begin(), STATES, reading);
}

function writeTopic(writer: Writer, prefix: string, reading: Reading): void {
  writer.rawText(prefix).raw(reading.sensor).rawText("/").raw(reading.quantity);
}

/** Names consist of letters, digits and hyphens, so that nothing has to be escaped. */
export function writeDiscovery(writer: Writer, reading: Reading): void {
  writer.begin().rawText('{"name":"').raw(reading.quantity).rawText('","unique_id":"bulkhead-site-7-');
  writer.raw(reading.sensor).rawText("-").raw(reading.quantity).rawText('","state_topic":"');
  writeTopic(writer, STATES, reading);
  if (isSwitch(reading)) {
    writer.rawText('","command_topic":"').rawText(COMMANDS).raw(reading.sensor);
    writer.rawText('","payload_on":"1","payload_off":"0');
  } else writeMeasurement(writer, reading);
  writer.rawText('","device":{"identifiers":["bulkhead-site-7-').raw(reading.sensor);
  writer.rawText('"],"name":"').raw(reading.sensor).rawText('","manufacturer":"Bulkhead"}}');
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
