/**
 * The bench's hand in a network namespace: pushes, probes and pulls there on the order of the bench that started it.
 * Not meant to be run by hand: orders come as JSON lines on stdin, answers go to stdout, the end of stdin is its end.
 */
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { AgentMessage, AgentOperation, AgentOrders, AgentRequest, PushOrder } from './lab/agent-protocol.ts';
import { DockerPull } from './lab/docker-pull.ts';
import { HttpConnection } from './lab/http-connection.ts';
import { runLoad } from './lab/load.ts';

let armed: DockerPull | undefined;

async function withConnection<Result>(
  at: { readonly host: string; readonly port: number },
  use: (connection: HttpConnection) => Promise<Result>,
): Promise<Result> {
  const connection = new HttpConnection(at.host, at.port);
  try {
    return await use(connection);
  } finally {
    connection.close();
  }
}

// Few requests, and less than Node takes in one call.
const partBytes = 64 * 2 ** 20;
const octets = { 'Content-Type': 'application/octet-stream' };

async function push(order: PushOrder): Promise<void> {
  await withConnection(order, async (connection) => {
    const expect = (what: string, status: number, wanted: number) => {
      if (status !== wanted) throw new Error(`${what}: ${status}`);
    };
    const fileOf = (digest: string) => join(order.directory, digest.slice(digest.indexOf(':') + 1));
    const pathOf = (location = '') => {
      const { pathname, searchParams } = new URL(location, `http://${order.host}:${order.port}`);
      return `${pathname}?${searchParams}`;
    };
    for (const digest of order.blobDigests) {
      const held = await connection.request({ method: 'HEAD', path: `/v2/${order.repository}/blobs/${digest}` });
      if (held.status === 200) continue;
      const begun = await connection.request({ method: 'POST', path: `/v2/${order.repository}/blobs/uploads/` });
      expect('POST upload', begun.status, 202);
      let path = pathOf(begun.headers.get('location'));
      for await (const body of createReadStream(fileOf(digest), { highWaterMark: partBytes })) {
        const sent = await connection.request({ method: 'PATCH', path, headers: octets, body });
        expect('PATCH upload', sent.status, 202);
        path = pathOf(sent.headers.get('location'));
      }
      const done = await connection.request({ method: 'PUT', path: `${path}&digest=${encodeURIComponent(digest)}` });
      expect('PUT upload', done.status, 201);
    }
    const put = await connection.request({
      method: 'PUT',
      path: `/v2/${order.repository}/manifests/${order.tag}`,
      headers: { 'Content-Type': order.mediaType },
      body: await readFile(fileOf(order.manifestDigest)),
    });
    expect('PUT manifest', put.status, 201);
  });
}

function send(message: AgentMessage): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

async function pull(order: AgentOrders['pull']['order']): Promise<AgentOrders['pull']['answer']> {
  const current = armed;
  if (current === undefined) throw new Error('pull before arm');
  const waitMs = Number(BigInt(order.atNs) - process.hrtime.bigint()) / 1e6;
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, waitMs)));
  return await current.run();
}

type Operations = {
  readonly [Name in AgentOperation]: (order: AgentOrders[Name]['order']) => Promise<AgentOrders[Name]['answer']>;
};

const operations: Operations = {
  async push(order) {
    await push(order);
    return {};
  },
  get: (order) =>
    withConnection(order, async (connection) => {
      const answer = await connection.request({ method: 'GET', path: order.path });
      return { status: answer.status, body: answer.body.toString('utf8') };
    }),
  async arm({ order, poolBytes }) {
    armed = new DockerPull(order, Buffer.alloc(poolBytes, 1));
    return {};
  },
  pull,
  async verify() {
    const wrongBytes = armed?.countWrongBytes() ?? 0;
    armed = undefined;
    return { wrongBytes };
  },
  load: runLoad,
};

async function handle(request: AgentRequest): Promise<void> {
  const operation = operations[request.operation] as (order: unknown) => Promise<unknown>;
  try {
    send({ id: request.id, answer: await operation(request.order) });
  } catch (error) {
    send({ id: request.id, error: error instanceof Error ? error.message : String(error) });
  }
}

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => void handle(JSON.parse(line) as AgentRequest));
lines.on('close', () => process.exit(0));
