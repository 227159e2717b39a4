import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { askOwnRegistry } from '../../../src/daemon/own-request.ts';
import { type Logger, silentLogger } from '../../../src/lib/logger.ts';

const { signal } = new AbortController();
let stack: AsyncDisposableStack;
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

async function listen(host: string, answer: RequestListener): Promise<{ host: string; port: number }> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  stack.defer(() => new Promise<void>((resolve) => server.close(() => resolve())));
  return { host, port: (server.address() as AddressInfo).port };
}

function recordWarnings(): { logger: Logger; warnings: unknown[][] } {
  const warnings: unknown[][] = [];
  return { logger: { ...silentLogger, warn: (...args: unknown[]) => void warnings.push(args) }, warnings };
}

const hasIpv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));

it.each(['127.0.0.1', '0.0.0.0', ...(hasIpv6 ? ['::'] : [])])(
  'a node that listens on %s asks itself once what clients ask first',
  async (host) => {
    const { logger, warnings } = recordWarnings();
    const asked: unknown[] = [];
    const address = await listen(host, ({ method, url }, response) => {
      asked.push([method, url]);
      response.end('{}');
    });
    await askOwnRegistry({ logger }, address, signal);
    expect(asked).toEqual([['GET', '/v2/']]);
    expect(warnings).toEqual([]);
  },
);

it('a registry that refuses, or is not there, is told of', async () => {
  const { logger, warnings } = recordWarnings();
  const address = await listen('127.0.0.1', (_request, response) => response.writeHead(503).end('no'));
  await askOwnRegistry({ logger }, address, signal);
  expect(warnings).toMatchObject([[{ url: `http://127.0.0.1:${address.port}/v2/`, status: 503 }, expect.anything()]]);
  await askOwnRegistry({ logger }, { host: '127.0.0.1', port: 1 }, signal);
  expect(warnings).toMatchObject([{}, [{ error: { code: 'ORIGIN_UNAVAILABLE' } }, expect.anything()]]);
});

it('nothing is said when the node stops meanwhile', async () => {
  const { logger, warnings } = recordWarnings();
  const stopping = new AbortController();
  const address = await listen('127.0.0.1', () => stopping.abort());
  await askOwnRegistry({ logger }, address, stopping.signal);
  expect(warnings).toEqual([]);
});
