/** A thousand gateways at one Mosquitto: all converge on a good release, and a bad one ends at its threshold. */

import { expect, it } from "vitest";
import { BrokerSession } from "../../tools/push/broker.ts";
import { readRelease } from "../../tools/push/index.ts";
import { rollOut } from "../../tools/push/rollout.ts";
import type { RolloutOptions } from "../../tools/push/rollout.ts";
import { deploy, makeModule } from "../updates/bench.ts";
import { findBroker, startMosquitto } from "../updates/brokers.ts";
import { startFleet, stopFleet } from "./fleet.ts";

const SIZE = Number(process.env["BULKHEAD_FLEET"] ?? 1_000);
/** Of the fleet, so many fail with the bad release: far above the threshold. */
const BAD_SHARE = 0.3;
const first = makeModule("threshold", 1);
const good = makeModule("threshold", 2, { size: 60_000 });
const bad = makeModule("threshold", 3, { size: 60_000 });

const mosquitto = findBroker("mosquitto");
if (mosquitto === undefined)
  console.warn("SKIPPED: mosquitto is not installed, so no fleet ran (apt-get install mosquitto)");

it.skipIf(mosquitto === undefined)(
  `${SIZE} gateways converge, and a bad release stops at its threshold`,
  { timeout: 600_000 },
  async () => {
    const broker = await startMosquitto(mosquitto ?? "");
    const isBad = (id: string, sequence: number) => sequence === 3 && Number(id.slice(3)) % 10 < BAD_SHARE * 10;
    const fleet = await startFleet(SIZE, broker.url, [first], isBad);
    const session = await BrokerSession.connect({ url: broker.url });
    const issued = Math.floor(Date.now() / 1000);
    const options: RolloutOptions = {
      session,
      id: "good",
      issued,
      validSeconds: 86_400,
      version: issued,
      modules: [readRelease(good.whole)],
      gateways: fleet.map(({ id, publicKey }) => ({ id, key: publicKey })),
      waves: [0.01, 0.1, 0.5, 1],
      soakMs: 100,
      timeoutMs: 300_000,
      abortShare: 0.05,
      deployKey: deploy,
    };
    const counted = (sequence: number) => fleet.filter((gateway) => gateway.sequence === sequence).length;
    try {
      const converged = await rollOut(options);
      expect(converged).toMatchObject({ outcome: "done", counts: { committed: SIZE, failed: 0, late: 0, absent: 0 } });
      expect(counted(2)).toBe(SIZE);

      const release = { id: "bad", version: issued + 1, modules: [readRelease(bad.whole)], waves: [0.1, 1] };
      const aborted = await rollOut({ ...options, ...release });
      await Promise.all(fleet.map(({ agent }) => agent.idle()));
      expect(aborted).toMatchObject({ outcome: "aborted", waves: 1 });
      expect(counted(3)).toBeLessThanOrEqual(SIZE * 0.1);
      expect(counted(2)).toBe(SIZE - counted(3));
      const figures = {
        gateways: SIZE,
        convergedSeconds: Number(converged.seconds.toFixed(1)),
        abortedSeconds: Number(aborted.seconds.toFixed(1)),
        failed: aborted.counts.failed,
        tookTheBadRelease: counted(3),
      };
      console.info(`fleet ${JSON.stringify(figures)}`);
    } finally {
      await session.close();
      await stopFleet(fleet);
      await broker.close();
    }
  },
);
