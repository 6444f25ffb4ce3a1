/** MQTT 5, TLS and refusals, with brokers that are a few lines of mqtt-packet: what aedes cannot play. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import mqttPacket from "mqtt-packet";
import type { IConnectPacket, IPublishPacket, Packet } from "mqtt-packet";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { CborInput } from "../../kernel/index.ts";
import { RESULT } from "../../kernel/index.ts";
import { Link, listen, mqtt, until } from "./fixtures.ts";

let link: Link | undefined;
const servers: { server: Server; sockets: Set<Socket> }[] = [];

afterEach(async () => {
  await link?.stop();
  link = undefined;
  for (const { server, sockets } of servers.splice(0)) {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** A broker for one client: answers as told, and keeps what it was sent. */
async function play(
  answer: (packet: Packet, send: (reply: Packet) => void, socket: Socket) => void,
  tls?: { readonly key: Buffer; readonly cert: Buffer; readonly ca?: Buffer },
): Promise<{ readonly port: number; readonly packets: Packet[] }> {
  const packets: Packet[] = [];
  const sockets = new Set<Socket>();
  const serve = (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    let protocolVersion: 4 | 5 = 5;
    const receive = (packet: Packet) => {
      if (packet.cmd === "connect") protocolVersion = packet.protocolVersion === 5 ? 5 : 4;
      packets.push(packet);
      answer(packet, (reply) => socket.write(mqttPacket.generate(reply, { protocolVersion })), socket);
    };
    const parser = mqttPacket.parser();
    parser.on("packet", receive);
    socket.on("data", (chunk: Buffer) => parser.parse(chunk));
  };
  const server =
    tls === undefined ? createServer(serve) : createTlsServer({ ...tls, requestCert: tls.ca !== undefined }, serve);
  servers.push({ server, sockets });
  return { port: await listen(server), packets };
}

function accept(packet: Packet, send: (reply: Packet) => void): void {
  if (packet.cmd === "connect") send({ cmd: "connack", reasonCode: 0, returnCode: 0, sessionPresent: false });
  if (packet.cmd === "subscribe")
    send({
      cmd: "suback",
      messageId: packet.messageId ?? 0,
      granted: packet.subscriptions.map(() => 1),
      reasonCode: 0,
    });
  if (packet.cmd === "publish" && packet.qos === 1)
    send({ cmd: "puback", messageId: packet.messageId ?? 0, reasonCode: 0 });
  if (packet.cmd === "pingreq") send({ cmd: "pingresp" });
}

function start(port: number, bindings = [mqtt(1, ["#"], ["a/#", "a/b"])], broker: Record<string, CborInput> = {}) {
  link = new Link({ broker: { url: `mqtt://127.0.0.1:${port}`, ...broker } });
  return link.host.start(bindings).then(() => link as Link);
}

describe("MQTT 5", () => {
  it("bounds what the broker may send, and asks for no session", async () => {
    const { port, packets } = await play(accept);
    const { statuses } = await start(port);
    await until(() => statuses.length > 0);
    expect(statuses[0]).toMatch(/^online: connected to .* with MQTT 5$/);
    const connect = packets[0] as IConnectPacket;
    expect(connect).toMatchObject({ protocolVersion: 5, clean: true, clientId: "gw-test" });
    expect(connect.properties).toMatchObject({ maximumPacketSize: 512 * 1024, receiveMaximum: 32 });
  });

  it("hands a message to a binding once, though it came by two of its filters in two copies", async () => {
    const identifiers = new Map<string, number>();
    const { port } = await play((packet, send) => {
      accept(packet, send);
      if (packet.cmd !== "subscribe") return;
      const { subscriptions, properties } = packet;
      for (const { topic } of subscriptions) identifiers.set(topic, Number(properties?.subscriptionIdentifier));
      if (identifiers.size < 3) return;
      for (const filter of ["a/#", "a/b"]) {
        const identifier = identifiers.get(filter) ?? 0;
        const message: IPublishPacket = {
          cmd: "publish",
          topic: "a/b",
          payload: filter,
          qos: 0,
          dup: false,
          retain: false,
        };
        send({ ...message, properties: { subscriptionIdentifier: identifier } });
      }
    });
    const { events } = await start(port, [mqtt(1, [], ["a/#"]), mqtt(2, [], ["a/b"]), mqtt(3, [], ["c"])]);
    await until(() => events.length >= 2);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(events).toEqual([
      { binding: 1, topic: "a/b", payload: "a/#" },
      { binding: 2, topic: "a/b", payload: "a/b" },
    ]);
  });

  it("does not believe an identifier for a topic that the filter does not match", async () => {
    const { port } = await play((packet, send) => {
      accept(packet, send);
      if (packet.cmd !== "subscribe") return;
      const forged: IPublishPacket = {
        cmd: "publish",
        topic: "other/topic",
        payload: "x",
        qos: 0,
        dup: false,
        retain: false,
      };
      send({ ...forged, properties: { subscriptionIdentifier: 1 } });
      send({ ...forged, topic: "a/b", payload: "true", properties: { subscriptionIdentifier: 1 } });
    });
    const { events } = await start(port, [mqtt(1, [], ["a/#"])]);
    await until(() => events.length > 0);
    expect(events).toEqual([{ binding: 1, topic: "a/b", payload: "true" }]);
  });

  it("keeps to what the broker says that it takes", async () => {
    let underWay = 0;
    let most = 0;
    const { port, packets } = await play((packet, send) => {
      if (packet.cmd === "connect") {
        const properties = {
          receiveMaximum: 3,
          retainAvailable: false,
          maximumPacketSize: 1000,
          subscriptionIdentifiersAvailable: false,
        };
        send({ cmd: "connack", reasonCode: 0, returnCode: 0, sessionPresent: false, properties });
      } else if (packet.cmd === "publish") {
        most = Math.max(most, ++underWay);
        setTimeout(() => {
          underWay--;
          accept(packet, send);
        }, 20);
      } else accept(packet, send);
    });
    const started = await start(port);
    await started.online();
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) => started.publish(1, "a", String(index), 3)),
    );
    expect(results.every((result) => result === 0)).toBe(true);
    expect(await started.publish(1, "a", new Uint8Array(2000))).toBeLessThanOrEqual(0);
    const published = () => packets.filter((packet) => packet.cmd === "publish");
    await until(() => published().length === 20);
    expect(most).toBeLessThanOrEqual(3);
    expect(published().every(({ retain }) => !retain)).toBe(true);
    const [subscribe] = packets.filter((packet) => packet.cmd === "subscribe");
    expect(subscribe?.properties).toBeUndefined();
    await until(() => started.logs.some((line) => line.includes("takes no message of 2000 bytes")));
  });

  it("falls back to 3.1.1 at once where the broker refuses the version", async () => {
    const { port, packets } = await play((packet, send, socket) => {
      if (packet.cmd === "connect" && packet.protocolVersion === 5) {
        send({ cmd: "connack", reasonCode: 0x84, returnCode: 0x84, sessionPresent: false });
        socket.end();
      } else accept(packet, send);
    });
    const { statuses } = await start(port);
    await until(() => statuses.length > 0);
    expect(statuses).toEqual([`online: connected to 127.0.0.1:${port} with MQTT 3.1.1`]);
    expect(packets.filter(({ cmd }) => cmd === "connect")).toHaveLength(2);
  });

  it("says why it was refused, and that a filter was", async () => {
    const { port } = await play((packet, send) => {
      if (packet.cmd === "connect") send({ cmd: "connack", reasonCode: 0x86, returnCode: 0x86, sessionPresent: false });
    });
    const refused = await start(port);
    await until(() => refused.statuses.length > 0);
    expect(refused.statuses[0]).toMatch(/^offline: .*Bad User Name or Password/);
    await refused.stop();
    const other = await play((packet, send) => {
      if (packet.cmd !== "subscribe") accept(packet, send);
      else send({ cmd: "suback", messageId: packet.messageId ?? 0, granted: [0x87], reasonCode: 0x87 });
    });
    const { logs } = await start(other.port, [mqtt(1, [], ["secret/#"])]);
    await until(() => logs.some((line) => line.includes("the broker refuses to send secret/#")));
  });

  it("gives up a message that the broker refuses for good, and says so", async () => {
    const { port, packets } = await play((packet, send) => {
      if (packet.cmd === "publish") send({ cmd: "puback", messageId: packet.messageId ?? 0, reasonCode: 0x87 });
      else accept(packet, send);
    });
    const started = await start(port);
    await started.online();
    expect(await started.publish(1, "forbidden", "x")).toBe(RESULT.io);
    await until(() => started.logs.some((line) => line.includes("the broker refuses forbidden")));
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(packets.filter(({ cmd }) => cmd === "publish")).toHaveLength(1);
  });
});

describe("a broker that has no room for a while", () => {
  it("gets what it refused again after a rest, in its order, and nothing is lost or sent once too often", async () => {
    let refusals = 3;
    const taken: string[] = [];
    const { port, packets } = await play((packet, send) => {
      if (packet.cmd !== "publish") {
        accept(packet, send);
        return;
      }
      const isFull = refusals-- > 0;
      if (!isFull) taken.push(packet.payload.toString());
      send({ cmd: "puback", messageId: packet.messageId ?? 0, reasonCode: isFull ? 0x97 : 0 });
    });
    const started = await start(port);
    await started.online();
    const results = ["one", "two", "three", "four"].map((word) => started.publish(1, "a", word));
    expect(await Promise.all(results)).toEqual([0, 0, 0, 0]);
    await until(() => taken.length >= 4, 20_000);
    expect([...taken].sort()).toEqual(["four", "one", "three", "two"]);
    expect(taken.filter((word) => word !== "four")).toEqual(["one", "two", "three"]);
    expect(packets.filter(({ cmd }) => cmd === "connect")).toHaveLength(1);
    expect(started.logs.some((line) => line.includes("the broker takes no more for now"))).toBe(true);
    await until(() => refusals < 0);
    expect(packets.filter(({ cmd }) => cmd === "publish")).toHaveLength(7);
  });

  it("gets what it refused also where another is still under way and a third comes meanwhile", async () => {
    let isFull = true;
    let release: (() => void) | undefined;
    const { port, packets } = await play((packet, send) => {
      const answer = (reasonCode: number) => {
        if (packet.cmd === "publish") send({ cmd: "puback", messageId: packet.messageId ?? 0, reasonCode });
      };
      if (packet.cmd !== "publish") accept(packet, send);
      else if (packet.payload.toString() === "two") release = () => answer(0);
      else answer(isFull ? 0x97 : 0);
    });
    const started = await start(port);
    await started.online();
    const sent = () => packets.flatMap((packet) => (packet.cmd === "publish" ? [packet.payload.toString()] : []));
    const results = [started.publish(1, "a", "one"), started.publish(1, "a", "two")];
    await until(() => started.logs.some((line) => line.includes("the broker takes no more for now")));
    isFull = false;
    results.push(started.publish(1, "a", "three"));
    expect(await Promise.all(results)).toEqual([0, 0, 0]);
    await until(() => sent().length >= 4);
    expect(sent()).toEqual(["one", "two", "one", "three"]);
    release?.();
  });
});

describe("a connection that is dead and does not say so", () => {
  it("is found out by keep-alive, and loses nothing that was under way", async () => {
    let isDeaf = false;
    const { port, packets } = await play((packet, send) => {
      if (packet.cmd === "connect" && packets.length > 1) isDeaf = false;
      if (!isDeaf) accept(packet, send);
    });
    const started = await start(port, undefined, { keepAliveMs: 1000 });
    await started.online();
    expect(await started.publish(1, "a", "before")).toBe(0);
    isDeaf = true;
    const results = await Promise.all(["one", "two", "three"].map((word) => started.publish(1, "a", word)));
    expect(results).toEqual([0, 0, 0]);
    await until(() => started.statuses.length >= 3, 20_000);
    const payloads = () =>
      packets.flatMap((packet, at) => {
        const again = packets.findLastIndex(({ cmd }) => cmd === "connect");
        return packet.cmd === "publish" && at > again ? [packet.payload.toString()] : [];
      });
    await until(() => payloads().length >= 3);
    expect(payloads()).toEqual(["one", "two", "three"]);
    expect(started.statuses.map((status) => status.split(":")[0])).toEqual(["online", "offline", "online"]);
  });
});

const hasOpenssl = (() => {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

describe.skipIf(!hasOpenssl)("TLS", () => {
  let folder: string;
  const pem = (name: string) => readFileSync(join(folder, name));

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "bulkhead-tls-"));
    for (const [name, host] of [
      ["broker", "127.0.0.1"],
      ["other", "127.0.0.2"],
    ] as const) {
      const subject = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=IP:${host}`];
      const files = ["-keyout", join(folder, `${name}.key`), "-out", join(folder, `${name}.crt`)];
      execFileSync(
        "openssl",
        [
          "req",
          "-x509",
          "-newkey",
          "ec",
          "-pkeyopt",
          "ec_paramgen_curve:P-256",
          "-nodes",
          "-days",
          "2",
          ...subject,
          ...files,
        ],
        {
          stdio: "ignore",
        },
      );
    }
  });

  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  const startTls = async (serverName: string, tls: Record<string, string>) => {
    const { port, packets } = await play(accept, {
      key: pem(`${serverName}.key`),
      cert: pem(`${serverName}.crt`),
      ca: pem("broker.crt"),
    });
    const started = await start(port, [mqtt(1, ["#"])], { url: `mqtts://127.0.0.1:${port}`, tls });
    await until(() => started.statuses.length > 0);
    return { started, packets };
  };

  it("carries messages to a broker whose certificate is trusted, with the gateway's own", async () => {
    const tls = {
      ca: pem("broker.crt").toString(),
      cert: pem("broker.crt").toString(),
      key: pem("broker.key").toString(),
    };
    const { started, packets } = await startTls("broker", tls);
    expect(started.statuses[0]).toMatch(/^online/);
    expect(await started.publish(1, "a", "x")).toBe(0);
    expect(packets.some(({ cmd }) => cmd === "publish")).toBe(true);
  });

  it("says nothing to a broker whose certificate is not trusted, or is another host's", async () => {
    const untrusted = await startTls("broker", {});
    expect(untrusted.started.statuses[0]).toMatch(/^offline: .*self-signed certificate/);
    expect(untrusted.packets).toEqual([]);
    await untrusted.started.stop();
    const otherHost = await startTls("other", { ca: pem("other.crt").toString() });
    expect(otherHost.started.statuses[0]).toMatch(/^offline: .*(does not match|altnames)/i);
    expect(otherHost.packets).toEqual([]);
  });
});
