import type { PeerId } from '../../src/content/peer-id.ts';
import { createMemoryDirectoryHub, type MemoryDirectoryHub } from '../../src/discovery/memory/memory-directory.ts';
import { createTagHints, type TagHintsOptions } from '../../src/discovery/tags/channel-tag-hints.ts';
import { createHealth } from '../../src/health/conditions.ts';
import type { Health } from '../../src/health/health.ts';
import { createImages, type RunningImages } from '../../src/image/create-images.ts';
import type { ImagesDeps } from '../../src/image/deps.ts';
import type { ImagesOptions } from '../../src/image/options.ts';
import { type Clock, systemClock } from '../../src/lib/clock.ts';
import { silentLogger } from '../../src/lib/logger.ts';
import type { Repository } from '../../src/oci/repository.ts';
import {
  createMemoryOrigin,
  type MemoryOrigin,
  type MemoryOriginOptions,
} from '../../src/origin/memory/memory-origin.ts';
import { generateIdentity } from '../../src/peer/identity.ts';
import { createMemoryNetworkHub, type MemoryPeerNetwork } from '../../src/peer/memory/memory-network.ts';
import type { BlobStore } from '../../src/store/blob-store.ts';
import { createMemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Store } from '../../src/store/store.ts';
import { createMemorySwarm } from '../../src/swarm/memory/memory-swarm.ts';
import type { Swarm } from '../../src/swarm/swarm.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import type { BuiltImage } from './image-builder.ts';

/** Nodes whose every part below the use cases is its memory twin, sharing an origin, a directory and a network. */
export interface MemoryFleet extends AsyncDisposable {
  readonly origin: MemoryOrigin;
  readonly directory: MemoryDirectoryHub;
  join(options?: JoinOptions): Promise<MemoryNode>;
}

interface JoinOptions {
  readonly images?: Partial<ImagesOptions>;
  /** Wraps or replaces parts before the use cases get them. */
  readonly deps?: (deps: ImagesDeps) => Partial<ImagesDeps>;
}

export interface MemoryNode {
  readonly peer: PeerId;
  readonly store: Store;
  readonly swarm: Swarm;
  readonly images: RunningImages;
  readonly network: MemoryPeerNetwork;
  readonly health: Health;
}

const tagHintsOptions: TagHintsOptions = {
  maxAsked: 32,
  timeoutMs: 3_000,
  graceMs: 50,
  hedgeMs: 100,
  manifestTimeoutMs: 5_000,
  maxChannels: 8,
  maxRequestsPerPeer: 8,
};

const testImagesOptions: ImagesOptions = {
  tagFreshMs: 30_000,
  staleHoldMs: 5_000,
  negativeMs: 10_000,
  negativeEntries: 100,
  originPatienceMs: 1_000,
  originTimeouts: { tagMs: 5_000, manifestMs: 5_000, sizeMs: 5_000, listMs: 5_000 },
  directoryTimeoutMs: 2_000,
  fleetWaitMs: 400,
  leaseMs: 3_600_000,
  platform: { os: 'linux', architecture: 'amd64' },
  prefetch: true,
  prefetchRepeatMs: 10_000,
  manifestCacheBytes: 1024 * 1024,
  progressMs: 20,
};

export function createMemoryFleet(
  options: { readonly clock?: Clock; readonly origin?: MemoryOriginOptions } = {},
): MemoryFleet {
  const clock = options.clock ?? systemClock;
  const origin = createMemoryOrigin(options.origin);
  const directory = createMemoryDirectoryHub();
  const hub = createMemoryNetworkHub();
  const nodes: MemoryNode[] = [];
  const stack = new AsyncDisposableStack();

  return {
    origin,
    directory,
    async join({ images: imagesOptions = {}, deps: alter = () => ({}) } = {}) {
      const identity = await generateIdentity();
      const peer = identity.peerId;
      const store = stack.use(createMemoryStore({ clock }));
      const network = stack.use(hub.join(peer));
      for (const other of nodes) await network.dial(other.network.addresses()[0]!, AbortSignal.timeout(15_000));
      const peers = () =>
        nodes.filter((node) => node.peer !== peer).map((node) => ({ peer: node.peer, blobs: node.store.blobs }));
      const swarm = stack.use(createMemorySwarm({ blobs: store.blobs, origin, identity, clock, peers }));
      const tagHints = stack.use(createTagHints({ network, clock, logger: silentLogger }, tagHintsOptions));
      const health = createHealth(clock);
      const whole: ImagesDeps = {
        store,
        origin,
        swarm,
        directory: stack.use(directory.join(peer)),
        tagHints,
        clock,
        logger: silentLogger,
        metrics: noMetrics,
        health,
      };
      const images = stack.use(createImages({ ...whole, ...alter(whole) }, { ...testImagesOptions, ...imagesOptions }));
      const node = { peer, store, swarm, images, network, health };
      nodes.push(node);
      return node;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Puts an image and its tags at the origin. */
export function pushImage(
  origin: MemoryOrigin,
  repository: Repository,
  image: BuiltImage,
  tags: readonly string[] = ['latest'],
): void {
  for (const blob of image.blobs) origin.putBlob(repository, blob);
  for (const manifest of image.manifests) {
    origin.putManifest(repository, manifest, manifest === image.manifests.at(-1) ? tags : []);
  }
}

/** Waits until the condition holds, looking again whenever the event loop has gone round. */
export async function eventually(condition: () => boolean | Promise<boolean>, timeoutMs = 15_000): Promise<void> {
  const untilMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > untilMs) throw new Error('the condition did not come to hold in time');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Returns the store with some of its methods replaced; the others keep working on it. */
export function alterBlobs(blobs: BlobStore, changes: Partial<BlobStore>): BlobStore {
  return {
    findBlob: (digest) => blobs.findBlob(digest),
    openBlob: (digest) => blobs.openBlob(digest),
    walkBlobs: () => blobs.walkBlobs(),
    walkLeastRecentlyUsed: () => blobs.walkLeastRecentlyUsed(),
    openIngest: (digest, sizeBytes) => blobs.openIngest(digest, sizeBytes),
    writeBlob: (digest, bytes) => blobs.writeBlob(digest, bytes),
    findSignedPieces: (digest) => blobs.findSignedPieces(digest),
    writeSignedPieces: (digest, pieces) => blobs.writeSignedPieces(digest, pieces),
    quarantineBlob: (digest, reason) => blobs.quarantineBlob(digest, reason),
    removeBlob: (digest) => blobs.removeBlob(digest),
    usage: () => blobs.usage(),
    ...changes,
  };
}
