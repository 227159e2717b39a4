import type { PeerId } from '../../content/peer-id.ts';
import type { Clock } from '../../lib/clock.ts';
import { delay } from '../../lib/clock.ts';
import { ExpiringCache } from '../../lib/expiring-cache.ts';
import type { Logger } from '../../lib/logger.ts';
import { type Digest, digestAlgorithm, digestOf } from '../../oci/digest.ts';
import type { PeerNetwork } from '../../peer/peer-network.ts';
import type { ManifestQuery, PeerManifest, TagHint, TagHints, TagSource } from '../tag-hints.ts';
import { TagClient } from './tag-client.ts';
import { maxManifestBytes, maxWaitMs, type TagRequest } from './tag-messages.ts';
import { serveTags } from './tag-server.ts';

export interface TagHintsDeps {
  readonly network: PeerNetwork;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface TagHintsOptions {
  /** Peers asked for one tag, manifest or size. */
  readonly maxAsked: number;
  /** Time for all answers to one question. */
  readonly timeoutMs: number;
  /** Time for further answers once the first one is there. */
  readonly graceMs: number;
  /** A further peer is asked for a manifest when the ones before took this long. */
  readonly hedgeMs: number;
  /** Time for a whole manifest, beside the waiting the asker allowed. */
  readonly manifestTimeoutMs: number;
  readonly maxChannels: number;
  readonly maxRequestsPerPeer: number;
}

// An honest peer answers within this on a busy machine, beside the waiting it is allowed.
const silentAfterMs = 500;
// Peers that gave no answer are asked last for this long.
const silentForMs = 60_000;
const maxSilentPeers = 256;

/** Asks and answers over the control plane. Disposing stops both. */
export function createTagHints(deps: TagHintsDeps, options: TagHintsOptions): TagHints & AsyncDisposable {
  const { network, clock, logger } = deps;
  const client = new TagClient(network, options.maxChannels);
  const silent = new ExpiringCache<PeerId, true>(clock, maxSilentPeers);
  const servings = new Set<() => Promise<void>>();
  const stopped: Promise<void>[] = [];

  const candidates = (providers: readonly PeerId[], includesConnected: boolean): PeerId[] => {
    const connected = includesConnected ? network.peers().map(({ peer }) => peer) : [];
    const all = new Set([...providers, ...connected]);
    all.delete(network.self);
    const wasSilent = (peer: PeerId) => (silent.find(peer) === undefined ? 0 : 1);
    return [...all].sort((left, right) => wasSilent(left) - wasSilent(right)).slice(0, options.maxAsked);
  };

  /** Asks all at once; ends when all have answered, or the time is over, or the first answer is `graceMs` old. */
  async function askAll<Found>(
    peers: readonly PeerId[],
    request: TagRequest,
    select: (peer: PeerId, answer: Awaited<ReturnType<TagClient['ask']>>) => Found | undefined,
    signal: AbortSignal,
  ): Promise<Found[]> {
    const found: Found[] = [];
    if (peers.length === 0) return found;
    const ended = new AbortController();
    const limit = AbortSignal.any([signal, ended.signal]);
    const end = () => ended.abort(new DOMException('enough answers', 'AbortError'));
    const cancelTimeout = clock.schedule(options.timeoutMs, end);
    let cancelGrace: (() => void) | undefined;
    const asking = peers.map(async (peer) => {
      const selected = select(peer, await client.ask(peer, request, limit));
      if (selected === undefined) return;
      found.push(selected);
      cancelGrace ??= clock.schedule(options.graceMs, end);
    });
    await Promise.allSettled(asking);
    cancelTimeout();
    cancelGrace?.();
    signal.throwIfAborted();
    return found;
  }

  async function fetchFrom(peer: PeerId, digest: Digest, waitMs: number, signal: AbortSignal) {
    const slices: Uint8Array[] = [];
    let mediaType = '';
    let sizeBytes = maxManifestBytes;
    for (let offset = 0; offset < sizeBytes; ) {
      const answer = await client.ask(peer, { kind: 'manifest', digest, offset, waitMs }, signal);
      const isFirst = offset === 0;
      if (answer.kind !== 'manifest' || answer.slice.length === 0) return undefined;
      if (!isFirst && answer.sizeBytes !== sizeBytes) return undefined;
      ({ mediaType, sizeBytes } = answer);
      slices.push(answer.slice);
      offset += answer.slice.length;
    }
    const bytes = Buffer.concat(slices);
    if (digestOf(bytes, digestAlgorithm(digest)) !== digest) {
      logger.warn({ peer, digest }, 'a peer sent a manifest with another digest');
      return undefined;
    }
    return { peer, mediaType, bytes };
  }

  /** Asks one peer after the other, not waiting for a slow one; the first that gives the right bytes wins. */
  async function fetchManifest(
    digest: Digest,
    query: ManifestQuery,
    signal: AbortSignal,
  ): Promise<PeerManifest | undefined> {
    const peers = candidates(query.providers, query.includesConnected ?? false);
    const waitMs = Math.min(Math.floor(query.waitMs), maxWaitMs);
    const ended = new AbortController();
    const limit = AbortSignal.any([signal, ended.signal]);
    const end = () => ended.abort(new DOMException('enough', 'AbortError'));
    const cancelTimeout = clock.schedule(options.manifestTimeoutMs + waitMs, end);
    let won: PeerManifest | undefined;
    const asking: Promise<void>[] = [];
    for (const peer of peers) {
      if (won !== undefined || limit.aborted) break;
      const askedMs = clock.nowMs();
      const turn = fetchFrom(peer, digest, waitMs, limit).then(
        (manifest) => {
          silent.delete(peer);
          if (manifest === undefined) return;
          won ??= manifest;
          end();
        },
        () => {
          if (clock.nowMs() - askedMs >= waitMs + silentAfterMs) silent.put(peer, true, silentForMs);
        },
      );
      asking.push(turn);
      const hedge = new AbortController();
      const patience = delay(clock, options.hedgeMs + waitMs, AbortSignal.any([limit, hedge.signal])).catch(() => {});
      await Promise.race([turn, patience]);
      hedge.abort();
      await patience;
    }
    await Promise.all(asking);
    cancelTimeout();
    end();
    if (won === undefined) signal.throwIfAborted();
    return won;
  }

  return {
    async find(repository, tag, providers, signal): Promise<TagHint[]> {
      const request = { kind: 'tag', namespace: repository.namespace, name: repository.name, tag } as const;
      return await askAll(
        candidates(providers, true),
        request,
        (peer, answer) => {
          if (answer.kind !== 'tag') return undefined;
          const { kind: _, ...hint } = answer;
          return { peer, ...hint };
        },
        signal,
      );
    },
    fetchManifest,
    wasSilent: (peer) => silent.find(peer) !== undefined,
    async findSize(digest, providers, signal) {
      const sizes = await askAll(
        candidates(providers, true),
        { kind: 'size', digest },
        (_, answer) => (answer.kind === 'size' ? answer.sizeBytes : undefined),
        signal,
      );
      return mostFrequent(sizes);
    },
    serve(source: TagSource) {
      const stop = serveTags(network, source, options, (error) => logger.error({ error }, 'answering peers failed'));
      servings.add(stop);
      return () => {
        servings.delete(stop);
        stopped.push(stop());
      };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([client.stop(), ...stopped, ...[...servings].map((stop) => stop())]);
    },
  };
}

/** One liar among several peers must not decide alone. */
function mostFrequent(sizes: readonly number[]): number | undefined {
  const counts = new Map<number, number>();
  for (const size of sizes) counts.set(size, (counts.get(size) ?? 0) + 1);
  return [...counts].sort((left, right) => right[1] - left[1])[0]?.[0];
}
