/** The core as tools enter it: a gateway, and the events that it tells. */
export { type GatewayEvent, eventText, isWarning } from "./events.ts";
export { Gateway } from "./gateway.ts";
