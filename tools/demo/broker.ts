/** The embedded broker of `demo` and `dev`: aedes on the loopback interface. */
import type { AddressInfo, Server } from "node:net";
import { createServer } from "node:net";
import { Aedes } from "aedes";

export interface Broker {
  readonly url: string;
  stop(): Promise<void>;
}

/** @param port a free one where it is 0. @throws Error where the port is taken */
export async function startBroker(port = 0): Promise<Broker> {
  const aedes = await Aedes.createBroker();
  const server: Server = createServer(aedes.handle);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  // SAFETY: a listening TCP server has an address of this form.
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: `mqtt://127.0.0.1:${bound}`,
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
