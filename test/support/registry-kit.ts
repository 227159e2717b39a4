import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Images } from '../../src/image/images.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import { dockerHub } from '../../src/oci/namespace.ts';
import type { RegistryOptions } from '../../src/registry/options.ts';
import { type Registry, startRegistry } from '../../src/registry/start-registry.ts';
import { type Metrics, noMetrics } from '../../src/telemetry/metrics.ts';

const testRegistryOptions: RegistryOptions = {
  listen: { host: '127.0.0.1', port: 0 },
  defaultOrigin: dockerHub,
  allowsNamespace: (namespace) => namespace !== 'evil.example',
  maxConnections: 100,
  maxHeaderBytes: 16 * 1024,
  headersTimeoutMs: 5_000,
  requestTimeoutMs: 10_000,
  idleTimeoutMs: 5_000,
  stallTimeoutMs: 5_000,
  earlyHeadersMs: 1_000,
  maxRanges: 8,
  buffers: { largeBytes: 256 * 1024, smallBytes: 32 * 1024, maxLarge: 16 },
  drainTimeoutMs: 1_000,
};

/** A real registry on a free port, and a client that sends what it is told to, bytes and all. */
export interface RegistryKit extends AsyncDisposable {
  readonly registry: Registry;
  ask(method: string, path: string, headers?: Record<string, string>): Promise<Answer>;
  /** The status of every request answered so far; "cut" where the answer did not end. */
  statuses(): readonly string[];
  /** Opens a plain connection; `received` grows, `closed` resolves at its end. */
  dial(): Promise<RawConnection>;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface RawConnection extends Disposable {
  readonly socket: Socket;
  received(): string;
  readonly closed: Promise<void>;
}

export async function startRegistryKit(images: Images, options: Partial<RegistryOptions> = {}): Promise<RegistryKit> {
  const statuses: string[] = [];
  const metrics: Metrics = {
    ...noMetrics,
    counter: ({ name }) => ({
      add(_amount, labels?: Record<string, string>) {
        if (name === 'shoal_registry_requests_total') statuses.push(labels?.['status'] ?? '');
      },
    }),
  };
  const deps = { images, clock: systemClock, logger: silentLogger, metrics };
  const registry = await startRegistry(deps, { ...testRegistryOptions, ...options });
  const { host, port } = registry.address;
  const agent = new Agent({ keepAlive: true });
  return {
    registry,
    statuses: () => statuses,
    ask: (method, path, headers = {}) =>
      new Promise((resolve, reject) => {
        const sent = request({ host, port, method, path, headers, agent }, (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () => {
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) });
          });
        });
        sent.on('error', reject);
        sent.end();
      }),
    dial: () =>
      new Promise((resolve, reject) => {
        const socket = connect(port, host);
        const chunks: Buffer[] = [];
        const closed = new Promise<void>((end) => socket.once('close', () => end()));
        socket.on('data', (chunk) => chunks.push(chunk));
        socket.once('error', reject);
        socket.on('error', () => {});
        socket.once('connect', () =>
          resolve({
            socket,
            received: () => Buffer.concat(chunks).toString('latin1'),
            closed,
            [Symbol.dispose]: () => socket.destroy(),
          }),
        );
      }),
    async [Symbol.asyncDispose]() {
      agent.destroy();
      await registry[Symbol.asyncDispose]();
    },
  };
}
