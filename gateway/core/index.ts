/** The core as tools enter it: a gateway, the events that it tells, and what it reads at a start. */
export { type GatewayEvent, eventText, isWarning } from "./events.ts";
export { Gateway } from "./gateway.ts";
export { checkLinkFiles } from "./link-settings.ts";
