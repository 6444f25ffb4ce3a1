/** The demo's embedded broker: aedes on a free port of the loopback interface. */
import type { AddressInfo, Server } from "node:net";
import { createServer } from "node:net";
import { Aedes } from "aedes";

export interface Broker {
  readonly url: string;
  stop(): Promise<void>;
}

export async function startBroker(): Promise<Broker> {
  const aedes = await Aedes.createBroker();
  const server: Server = createServer(aedes.handle);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  // SAFETY: a listening TCP server has an address of this form.
  const { port } = server.address() as AddressInfo;
  return {
    url: `mqtt://127.0.0.1:${port}`,
    stop: async () => {
      await new Promise<void>((resolve) => {
        aedes.close(() => {
          server.close(() => {
            resolve();
          });
        });
      });
    },
  };
}
