/** A fleet of simulated gateways: the real update agent, store and verification in each, on memory disks; no modules. */

import { UpdateAgent } from "../../gateway/trust/agent.ts";
import { bootVerify } from "../../gateway/trust/boot.ts";
import type { Runtime } from "../../gateway/trust/effects.ts";
import { openGatewayKey } from "../../gateway/trust/gateway-key.ts";
import { UPDATE_TIMES } from "../../gateway/trust/limits.ts";
import { Store } from "../../gateway/trust/store.ts";
import { Refusal } from "../../kernel/index.ts";
import { FaultDisk, seededRandom } from "../../tools/powercut/fault-disk.ts";
import { benchClock, deliveredAs, IDENTITY, ownConfigurations, rootBytes } from "../updates/bench.ts";
import type { Made } from "../updates/bench.ts";
import { MqttTransport } from "../updates/mqtt.ts";

const FOLDER = "/data";

/** Whether a gateway finds this release bad once it runs: what a bad release does in the field. */
export type Judge = (gateway: string, sequence: number) => boolean;

export class FleetGateway {
  readonly id: string;
  readonly publicKey: Uint8Array;
  readonly agent: UpdateAgent;
  readonly transport: MqttTransport;

  constructor(id: string, delivered: readonly Made[], transport: MqttTransport, isBad: Judge) {
    this.id = id;
    this.transport = transport;
    const disk = new FaultDisk(seededRandom(1));
    const store = new Store(disk, FOLDER);
    const key = openGatewayKey(disk, FOLDER);
    const identity = { ...IDENTITY, gatewayId: id };
    const configurations = ownConfigurations();
    const boot = bootVerify({
      store,
      identity,
      rootEnvelope: rootBytes,
      delivered: delivered.map(deliveredAs),
      configurations,
    });
    this.publicKey = key.publicKey;
    this.agent = new UpdateAgent({
      identity,
      store,
      boot,
      configurations,
      key,
      transport,
      runtime: runtimeOf(id, isBad),
      clock: benchClock(),
      times: { ...UPDATE_TIMES, probationMs: 10 },
    });
    transport.onMessage = (topic, payload) => {
      this.agent.message(topic, payload);
    };
    this.agent.start();
  }

  get sequence(): number | undefined {
    return this.agent.running.modules.get("threshold")?.document.sequence;
  }

  async stop(): Promise<void> {
    await this.agent.stop();
    await this.transport.client.endAsync(true);
  }
}

function runtimeOf(id: string, isBad: Judge): Runtime {
  let staged = 0;
  return {
    policy: () => Promise.resolve([]),
    stage: (changed) => {
      staged = changed[0]?.document.sequence ?? 0;
      return Promise.resolve();
    },
    swap: () => Promise.resolve({ pauseMs: 0 }),
    probation: (milliseconds) => {
      const { promise, resolve, reject } = Promise.withResolvers<undefined>();
      setTimeout(() => {
        if (isBad(id, staged)) reject(new Refusal("E_PROBATION", "module threshold trapped: unreachable"));
        else resolve(undefined);
      }, milliseconds);
      return promise;
    },
    commit: () => Promise.resolve(),
    rollback: () => Promise.resolve(),
  };
}

/** Connections opened at a time: a broker's listen queue is short. */
const CONNECTIONS_AT_ONCE = 50;

export async function startFleet(
  size: number,
  url: string,
  delivered: readonly Made[],
  isBad: Judge,
): Promise<FleetGateway[]> {
  const fleet: FleetGateway[] = [];
  for (let start = 0; start < size; start += CONNECTIONS_AT_ONCE) {
    const count = Math.min(CONNECTIONS_AT_ONCE, size - start);
    const transports = await Promise.all(Array.from({ length: count }, () => MqttTransport.connect(url)));
    transports.forEach((transport, index) => {
      const id = `gw-${String(start + index).padStart(4, "0")}`;
      fleet.push(new FleetGateway(id, delivered, transport, isBad));
    });
  }
  return fleet;
}

export async function stopFleet(fleet: readonly FleetGateway[]): Promise<void> {
  await Promise.all(fleet.map((gateway) => gateway.stop()));
}
