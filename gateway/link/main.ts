/** The link process (zone 3): every byte from the network is parsed here. Started by the core, over descriptor 3. */
import { runHostProcess } from "../wire/host-process.ts";
import { HttpHost } from "./http-host.ts";
import { MqttHost } from "./mqtt-host.ts";
import { parseLinkSettings } from "./settings.ts";

runHostProcess((settings, port) =>
  Promise.resolve({ interfaces: { mqtt: new MqttHost(parseLinkSettings(settings), port), http: new HttpHost() } }),
);
