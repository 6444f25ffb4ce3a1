/** The link process (zone 3): every byte from the network is parsed here. Started by the core, over descriptor 3. */
import { runHostProcess } from "../wire/host-process.ts";
import { HttpHost } from "./http-host.ts";
import { MqttHost } from "./mqtt-host.ts";
import { parseLinkSettings } from "./settings.ts";

runHostProcess(async (given, port) => {
  const settings = parseLinkSettings(given);
  const mqtt = new MqttHost(settings, port);
  if (settings.console !== null) {
    // A gateway without a console pays nothing for it.
    const { Web } = await import("./web/server.ts");
    await new Web(settings.console, port, () => mqtt.outboxNumbers()).listen();
  }
  return { interfaces: { mqtt, http: new HttpHost() } };
});
