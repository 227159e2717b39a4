/**
 * What goes wrong while a real client pulls through a node, and how each client must come out of it. The client has no other
 * endpoint, so an outcome is the node's doing. Every outcome is reached within the limit: nothing hangs, and since clients check
 * digests (and the skopeo copy is checked again), "pulls" means right bytes.
 */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ChaosRegistry, Fault } from './chaos-registry.ts';
import { waitUntil } from './child.ts';
import type { ClientName } from './lab/client.ts';
import { runCommand } from './lab/client.ts';
import { answersOk, type ShoalNode } from './shoal-node.ts';

/** `second try`: the first pull may fail, quickly; a pull after it must work without anyone mending anything. */
export type Expectation = 'pulls' | 'fails' | 'second try';

export interface Cell {
  readonly origin: ChaosRegistry;
  /** The node that the client pulls through. */
  readonly node: ShoalNode;
  /** A node that holds the image; only in rows that ask for a peer. */
  readonly peer: ShoalNode | undefined;
  /** Digest of the image's large layer. */
  readonly layer: string;
  /** Pulls the image into a node by HTTP. */
  warm(node: ShoalNode): Promise<void>;
  stopOrigin(): Promise<void>;
  startOrigin(): Promise<void>;
}

export interface FaultRow {
  readonly name: string;
  readonly expected: Expectation | Readonly<Record<ClientName & ('docker' | 'ctr' | 'podman' | 'skopeo'), Expectation>>;
  /** The origin is stopped before the node starts. */
  readonly isOriginDownAtStart?: boolean;
  readonly peer?: { readonly env?: Readonly<Record<string, string>> };
  arrange?(cell: Cell): Promise<void> | void;
  /** Runs beside the pull; aborted when the pull is over. */
  during?(cell: Cell, signal: AbortSignal): Promise<void>;
  /** Runs between a failed first pull and the second. */
  before2nd?(cell: Cell): Promise<void> | void;
}

const mebibyte = 1024 ** 2;
const unlessAborted = async (signal: AbortSignal, delayMs: number) => {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, delayMs);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
  return !signal.aborted;
};

const status = (code: number, headers?: Record<string, string>): Fault => ({
  kind: 'status',
  status: code,
  ...(headers === undefined ? {} : { headers }),
});

const always = (name: string, fault: Fault, expected: FaultRow['expected']): FaultRow => ({
  name,
  expected,
  arrange: ({ origin }) => void origin.fail({ fault }),
});

const onBlobs = (name: string, fault: Fault, times: number): FaultRow => ({
  name,
  expected: 'pulls',
  arrange: ({ origin }) => void origin.fail({ kinds: ['blob-get'], fault, times }),
});

const slowOrigin = (origin: ChaosRegistry, bytesPerSecond: number) =>
  void origin.fail({ kinds: ['blob-get'], fault: { kind: 'slow', bytesPerSecond } });

/** Flips one byte in the largest blob that a node keeps, as a bad disk would: size and times stay. */
function rot(node: ShoalNode): void {
  const root = join(node.directory, 'data', 'blobs');
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((name) => join(root, name))
    .filter((path) => statSync(path).isFile())
    .toSorted((left, right) => statSync(right).size - statSync(left).size);
  const path = files[0];
  if (path === undefined) throw new Error('the node keeps no blob');
  const bytes = readFileSync(path);
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] ?? 0) ^ 0xff;
  writeFileSync(path, bytes);
}

export const faultRows: readonly FaultRow[] = [
  { name: 'cold', expected: 'pulls' },
  { name: 'warm', expected: 'pulls', arrange: (cell) => cell.warm(cell.node) },
  {
    name: 'warm, origin down',
    expected: 'pulls',
    async arrange(cell) {
      await cell.warm(cell.node);
      await cell.stopOrigin();
    },
  },
  {
    name: 'origin down at start, then up',
    expected: 'second try',
    isOriginDownAtStart: true,
    async before2nd(cell) {
      await cell.startOrigin();
      // The node leaves a failing origin alone for a while (originLimits.breakerPause), then tries it by itself.
      const url = `${cell.node.registryUrl}/v2/library/demo/manifests/v1`;
      await waitUntil('the node to try the origin again', () => answersOk(url), { timeoutMs: 20_000, intervalMs: 250 });
    },
  },
  always('origin 401', status(401), 'fails'),
  always('origin 403', status(403), 'fails'),
  always('origin 404', status(404), 'fails'),
  always('origin 429 for ever', status(429, { 'retry-after': '1' }), 'fails'),
  always('origin 500 for ever', status(500), 'fails'),
  always('origin 503 for ever', status(503), 'fails'),
  onBlobs('origin 429 twice', status(429, { 'retry-after': '1' }), 2),
  onBlobs('origin 500 once', status(500), 1),
  onBlobs('origin 503 twice', status(503), 2),
  { name: 'origin slow', expected: 'pulls', arrange: ({ origin }) => slowOrigin(origin, 2 * mebibyte) },
  onBlobs('origin cuts three times', { kind: 'cut', afterBytes: 700_000 }, 3),
  {
    name: 'origin corrupt once',
    // Bytes of the origin can be judged only at the end; the client that has them already is cut off, never given a wrong body.
    expected: 'second try',
    arrange: ({ origin, layer }) =>
      void origin.fail({ kinds: ['blob-get'], reference: layer, fault: { kind: 'corrupt', atByte: 1000 }, times: 1 }),
  },
  {
    name: 'origin corrupt for ever',
    expected: 'fails',
    arrange: ({ origin, layer }) =>
      void origin.fail({ kinds: ['blob-get'], reference: layer, fault: { kind: 'corrupt', atByte: 1000 } }),
  },
  {
    name: 'origin silent in the middle of a blob, once',
    expected: 'pulls',
    arrange: ({ origin }) =>
      void origin.fail({ kinds: ['blob-get'], fault: { kind: 'stall', afterBytes: 500_000 }, times: 1 }),
  },
  {
    name: 'only a peer has it',
    expected: 'pulls',
    peer: {},
    arrange: (cell) => cell.stopOrigin(),
  },
  {
    name: 'peer slow',
    expected: 'pulls',
    peer: { env: { SHOAL_SWARM_UPLOAD_BYTES_PER_SECOND: '200KiB' } },
  },
  {
    name: 'peer connections cut again and again',
    expected: 'pulls',
    peer: { env: { SHOAL_SWARM_UPLOAD_BYTES_PER_SECOND: '2MiB' } },
    async during({ peer }, signal) {
      // The kernel resets the connections of the peer's bulk port, on both sides.
      while (await unlessAborted(signal, 300)) await runCommand('ss', ['-K', 'sport', '=', `:${peer?.bulk.port}`]);
    },
  },
  {
    name: 'peer gone in the middle',
    expected: 'pulls',
    peer: { env: { SHOAL_SWARM_UPLOAD_BYTES_PER_SECOND: '2MiB' } },
    async during({ peer }, signal) {
      if (await unlessAborted(signal, 700)) await peer?.kill();
    },
  },
  {
    name: 'peer frozen',
    expected: 'pulls',
    peer: {},
    arrange: ({ peer }) => peer?.child().kill('SIGSTOP'),
  },
  {
    name: 'peer with a rotten blob',
    expected: 'pulls',
    peer: {},
    arrange: ({ peer }) => (peer === undefined ? undefined : rot(peer)),
  },
  {
    name: 'node killed and restarted in the middle',
    // Only dockerd waits long enough before it tries again.
    expected: { docker: 'pulls', ctr: 'second try', podman: 'second try', skopeo: 'second try' },
    arrange: ({ origin }) => slowOrigin(origin, mebibyte / 8),
    async during({ node }, signal) {
      if (!(await unlessAborted(signal, 1500))) return;
      await node.kill();
      await node.restart();
    },
    before2nd: ({ node }) => waitUntil('the node to be back', () => !node.child().hasExited(), { timeoutMs: 30_000 }),
  },
];
