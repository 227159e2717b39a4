import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PeersAnswer } from '../../admin/api.ts';
import { delay, systemClock } from '../../lib/clock.ts';
import { createAdminClient } from '../client/admin-client.ts';
import { CliError } from '../errors.ts';
import { type DemoNode, startDemoNode } from './node-process.ts';

export interface DemoFleet extends AsyncDisposable {
  readonly nodes: readonly DemoNode[];
  /** Everything the demo writes lies below it. */
  readonly directory: string;
}

export interface DemoFleetOptions {
  readonly size: number;
  readonly origin: { readonly host: string; readonly url: string };
  /** What each node runs, if not what runs this process. */
  readonly program?: readonly string[];
}

// Joining takes one dial; this covers a machine under heavy load.
const meetTimeoutMs = 30_000;
const meetPollMs = 50;

/** Starts daemons that know the first of them, and waits until each is connected to all others. @throws CLI_DEMO_NODE */
export async function startDemoFleet(options: DemoFleetOptions, signal: AbortSignal): Promise<DemoFleet> {
  await using unwinding = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'shoal-demo-'));
  unwinding.defer(() => rm(directory, { recursive: true, force: true, maxRetries: 3 }));
  const secret = randomBytes(24).toString('base64url');
  const start = async (at: number, bootstrap: readonly string[]): Promise<DemoNode> => {
    const name = `node-${at + 1}`;
    return unwinding.use(
      await startDemoNode({ ...options, name, directory: join(directory, name), secret, bootstrap }, signal),
    );
  };
  const first = await start(0, []);
  const others = await Promise.allSettled(
    Array.from({ length: options.size - 1 }, (_, at) => start(at + 1, first.peerAddresses)),
  );
  const nodes = [first, ...others.map((other) => (other.status === 'fulfilled' ? other.value : raise(other.reason)))];
  await Promise.all(nodes.map((node) => waitForPeers(node, options.size - 1, signal)));
  const stack = unwinding.move();
  return { nodes, directory, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

async function waitForPeers(node: DemoNode, count: number, signal: AbortSignal): Promise<void> {
  const client = createAdminClient({ address: node.admin, token: undefined });
  const deadlineMs = systemClock.nowMs() + meetTimeoutMs;
  for (;;) {
    const { peers } = await client.get<PeersAnswer>('/api/v1/peers', signal);
    if (peers.filter((peer) => peer.isConnected).length >= count) return;
    if (systemClock.nowMs() > deadlineMs) {
      throw new CliError('CLI_DEMO_NODE', `${node.name} did not find the other nodes; its log is ${node.logPath}`, {
        details: { node: node.name },
      });
    }
    await delay(systemClock, meetPollMs, signal);
  }
}

function raise(reason: unknown): never {
  throw reason;
}
