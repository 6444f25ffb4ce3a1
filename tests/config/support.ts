/** A small valid configuration that the tests of this folder break in one place at a time. */
import { ConfigurationError, type GatewayConfiguration, parseConfiguration } from "../../gateway/config/index.ts";

export const VALID = `gateway:
  id: gw-7
  vendor: sensors.example
  class: edge
data: data
trust:
  root: root.envelope
broker:
  url: mqtt://127.0.0.1:1883
devices:
  i2c:
    1: { backend: simulator, simulate: [{ chip: bme280, address: 0x76 }] }
partitions:
  drivers: { heap: 32MiB }
  services: {}
modules:
  bme280:
    envelope: bme280.envelope
    partition: drivers
    grants:
      tick: { timer: {} }
      sensor: { i2c-device: { bus: 1, address: 0x76 } }
      readings: { endpoint: { to: [threshold.readings, uplink.readings], badge: 7 } }
  threshold:
    partition: services
    memory: 2MiB
    checkpoint: { messages: 16 }
    grants:
      alarms: { endpoint: { to: uplink.alarms, rights: [send, call], depth: 8, overflow: latest } }
      state: { store: { prefix: threshold/, quota: 4KiB } }
  uplink:
    partition: services
    priority: 2
    fuel: { limit: 5000000, period: 100ms }
    activation: 5s
    restart: { policy: restart, intensity: 5, window: 60s, backoff: 10ms, maximum: 30s }
    grants:
      north: { mqtt: { publish: [site/7/#], subscribe: [site/7/set] } }
      relay: { gpio-line: { chip: 0, line: 17, direction: out } }
`;

export const FILE = "gateway.yaml";

/** The valid text with one piece replaced; the piece must be there once. */
export function broken(piece: string, replacement: string): string {
  const parts = VALID.split(piece);
  if (parts.length !== 2) throw new Error(`'${piece}' is there ${parts.length - 1} times`);
  return parts.join(replacement);
}

export function parse(text: string): GatewayConfiguration {
  return parseConfiguration(text, FILE, { folder: "/etc/bulkhead" });
}

/** The error that the text is refused with; another kind of error, or none, fails the test. */
export function refusalOf(text: string): ConfigurationError {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof ConfigurationError) return error;
    throw error;
  }
  throw new Error("the text was accepted");
}
