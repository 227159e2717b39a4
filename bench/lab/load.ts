/** Repeats one request from many clients at once and measures each. */
import { createHash } from 'node:crypto';
import type { LoadOrder, LoadOutcome } from './agent-protocol.ts';
import { HttpConnection } from './http-connection.ts';
import { percentile } from './statistics.ts';

/** Runs the load; bodies are kept and hashed after the clock has stopped. */
export async function runLoad(order: LoadOrder): Promise<LoadOutcome> {
  const failures: string[] = [];
  const latencies: number[] = [];
  let ttfbSecondsMax = 0;
  let bytes = 0;
  const bodyBytes = order.method === 'HEAD' ? 0 : order.sizeBytes;
  // Touched now, so that page faults are not part of the figures; each client reuses its own.
  const targets = Array.from({ length: order.clients }, () => Buffer.alloc(bodyBytes, 1));
  const connections = targets.map(() => new HttpConnection(order.host, order.port));
  for (const connection of connections) await connection.request({ method: 'GET', path: '/v2/' });

  const total = order.clients * order.requestsPerClient;
  const startedAt = performance.now();
  let sent = 0;
  const runClient = async (index: number) => {
    const connection = connections[index] as HttpConnection;
    const target = targets[index] as Buffer;
    while (sent < total) {
      const number = sent;
      sent += 1;
      if (order.requestsPerSecond !== undefined) {
        const dueInMs = startedAt + (number * 1000) / order.requestsPerSecond - performance.now();
        if (dueInMs > 0) await new Promise((resolve) => setTimeout(resolve, dueInMs));
      }
      const sentAt = performance.now();
      try {
        const answer = await connection.request({
          method: order.method,
          path: order.path,
          target,
          ...(order.headers === undefined ? {} : { headers: order.headers }),
        });
        if (answer.status !== 200 || answer.body.length !== bodyBytes)
          failures.push(`${answer.status}, ${answer.body.length} bytes`);
        latencies.push((performance.now() - sentAt) / 1000);
        ttfbSecondsMax = Math.max(ttfbSecondsMax, (answer.firstByteAtMs - sentAt) / 1000);
        bytes += answer.body.length;
      } catch (error) {
        failures.push(error instanceof Error ? error.message : String(error));
      }
    }
  };
  await Promise.all(connections.map((_, index) => runClient(index)));
  const seconds = (performance.now() - startedAt) / 1000;
  for (const connection of connections) connection.close();

  let wrongBytes = 0;
  if (order.expectedDigest !== undefined) {
    for (const target of targets) {
      if (`sha256:${createHash('sha256').update(target).digest('hex')}` !== order.expectedDigest)
        wrongBytes += target.length;
    }
  }
  const latencySeconds = {
    p50: percentile(latencies, 50),
    p99: percentile(latencies, 99),
    max: percentile(latencies, 100),
  };
  return {
    seconds,
    requests: total,
    bytes,
    failures: failures.slice(0, 5),
    wrongBytes,
    latencySeconds,
    ttfbSecondsMax,
  };
}
