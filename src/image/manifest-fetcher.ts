import type { PeerId } from '../content/peer-id.ts';
import type { Provider } from '../discovery/directory.ts';
import { type Clock, delay } from '../lib/clock.ts';
import { startDeadline } from '../lib/deadline.ts';
import { toError } from '../lib/errors.ts';
import { raceAbort } from '../lib/race-abort.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import type { Digest } from '../oci/digest.ts';
import { type ParsedManifest, parseManifest } from '../oci/manifest.ts';
import type { Repository } from '../oci/repository.ts';
import type { ImagesDeps } from './deps.ts';
import { ImageError } from './errors.ts';
import type { ImagesOptions } from './options.ts';
import { askWithin } from './tag-resolver.ts';
import { isTemporary, toImageError } from './translate-error.ts';

export interface FetchedManifest {
  readonly mediaType: string;
  readonly bytes: Uint8Array;
  readonly parsed: ParsedManifest;
  readonly source: 'peer' | 'origin';
}

interface PeerQuestion {
  readonly peers: readonly PeerId[];
  readonly waitMs: number;
}

// The first to arrive at the tracker is the one that asks the origin; two more are reserves should it be gone.
const earlierFetchersAsked = 3;

// What an honest peer needs to answer on a busy machine, beside the waiting it is allowed; silent ones cost a client no more.
const peerHeadStartMs = 1_000;
// The next kind of provider is asked when the one before took this long.
const nextKindAfterMs = 300;

// A manifest that nobody has, from an origin that takes its whole time: a handful of questions to the fleet, not one a second.
const maxSearchPauseMs = 8_000;

/**
 * Gets one manifest from outside, asking the origin as few times as the fleet allows:
 * announce "fetching" -> somebody has it: take it from there; somebody was earlier: wait a little for that node;
 * nobody, or it failed, or it is silent for a second: the origin, and while it does not answer the fleet again, whoever is first;
 * the origin is down: whoever is connected.
 * A node that itself waits for a peer answers "absent" at once, so that no two nodes wait for each other.
 */
export class ManifestFetcher {
  readonly #deps: ImagesDeps;
  readonly #options: ImagesOptions;
  readonly #tasks: TaskGroup;
  readonly #fetching = new Map<Digest, Promise<FetchedManifest>>();

  constructor(deps: ImagesDeps, options: ImagesOptions, tasks: TaskGroup) {
    this.#deps = deps;
    this.#options = options;
    this.#tasks = tasks;
  }

  /** Returns a manifest whose bytes and structure are checked. @throws ImageError */
  async fetch(repository: Repository, digest: Digest): Promise<FetchedManifest> {
    const { signal } = this.#tasks;
    const providers = await this.#announce(digest, signal);
    const { questions, headStartMs } = this.#planQuestions(providers);
    const decided = new AbortController();
    const fromPeers = this.#askInTurn(digest, questions, AbortSignal.any([signal, decided.signal]));
    fromPeers.catch(() => {});
    try {
      if (await settlesWithin(this.#deps.clock, fromPeers, headStartMs, signal)) {
        const found = await fromPeers;
        if (found !== undefined) return found;
      }
      return await this.#askOriginAndFleet(repository, digest, fromPeers, signal);
    } catch (thrown) {
      const error = toImageError(thrown, { kind: 'manifest', repository, reference: digest });
      const mayPeersHelp =
        isTemporary(error) || (error instanceof ImageError && error.code === 'IMAGE_NAMESPACE_REFUSED');
      const all = questions.flatMap(({ peers }) => peers);
      const query = { waitMs: 0, includesConnected: true };
      const found = mayPeersHelp ? await this.#askPeers(digest, all, query, signal) : undefined;
      const first = found ?? (await fromPeers);
      if (first === undefined) throw error;
      return first;
    } finally {
      decided.abort(new DOMException('the manifest is decided', 'AbortError'));
      await Promise.allSettled([fromPeers]);
    }
  }

  /** Waits for a manifest this node is getting from outside; undefined when it is not, or takes too long. */
  async waitForFetch(digest: Digest, waitMs: number, signal: AbortSignal): Promise<FetchedManifest | undefined> {
    const fetching = this.#fetching.get(digest);
    if (fetching === undefined || waitMs <= 0) return undefined;
    const found = fetching.catch(() => undefined);
    return (await settlesWithin(this.#deps.clock, found, waitMs, signal)) ? await found : undefined;
  }

  /** Tells the fleet that the manifest is here now. Does not wait. */
  offer(digest: Digest): void {
    this.#fetching.delete(digest);
    this.#tasks.run((signal) => this.#deps.directory.announce([{ digest, holding: 'complete' }], signal));
  }

  /** Takes the announcement back. Does not wait. */
  giveUp(digest: Digest): void {
    this.#fetching.delete(digest);
    this.#tasks.run((signal) => this.#deps.directory.withdraw([digest], signal));
  }

  /** Says what this node is about to do and learns who else does; the directory gets little time, as it only saves requests. */
  async #announce(digest: Digest, signal: AbortSignal): Promise<readonly Provider[]> {
    using deadline = startDeadline(this.#deps.clock, this.#options.directoryTimeoutMs, signal);
    try {
      const found = await raceAbort(
        this.#deps.directory.announce([{ digest, holding: 'fetching' }], deadline.signal),
        deadline.signal,
      );
      return [...(found.get(digest) ?? [])].sort((left, right) => left.rank - right.rank);
    } catch (error) {
      signal.throwIfAborted();
      this.#deps.logger.debug({ digest, error: toError(error).message }, 'directory did not answer in time');
      return [];
    }
  }

  /** Who is asked, in which order, and how long that may take before the origin is asked as well. */
  #planQuestions(providers: readonly Provider[]): { questions: readonly PeerQuestion[]; headStartMs: number } {
    const { fleetWaitMs } = this.#options;
    const isSilent = ({ peer }: Provider) => this.#deps.tagHints.wasSilent(peer);
    const lively = providers.filter((provider) => !isSilent(provider));
    const complete = lively.filter(({ holding }) => holding === 'complete').map(({ peer }) => peer);
    const earlier = lively.filter(({ holding }) => holding === 'fetching').map(({ peer }) => peer);
    const silent = providers.filter(isSilent).map(({ peer }) => peer);
    const questions = [
      { peers: complete, waitMs: 0 },
      { peers: earlier.slice(0, earlierFetchersAsked), waitMs: fleetWaitMs },
      { peers: silent, waitMs: 0 },
    ].filter(({ peers }) => peers.length > 0);
    // Nobody is waited for who gave no answer a moment ago.
    const first = lively.length === 0 ? undefined : questions[0];
    return { questions, headStartMs: first === undefined ? 0 : first.waitMs + peerHeadStartMs };
  }

  /** Asks one kind of provider after the other, not waiting for a slow one; the first that has the manifest wins. */
  async #askInTurn(
    digest: Digest,
    questions: readonly PeerQuestion[],
    signal: AbortSignal,
  ): Promise<FetchedManifest | undefined> {
    const ended = new AbortController();
    const limit = AbortSignal.any([signal, ended.signal]);
    let won: FetchedManifest | undefined;
    const turns: Promise<void>[] = [];
    for (const { peers, waitMs } of questions) {
      if (won !== undefined || signal.aborted) break;
      const turn = this.#askPeers(digest, peers, { waitMs }, limit).then(
        (found) => {
          if (found === undefined) return;
          won ??= found;
          ended.abort(new DOMException('another was first', 'AbortError'));
        },
        () => {},
      );
      turns.push(turn);
      await settlesWithin(this.#deps.clock, turn, waitMs + nextKindAfterMs, limit).catch(() => {});
    }
    await Promise.all(turns);
    if (won === undefined) signal.throwIfAborted();
    return won;
  }

  async #askPeers(
    digest: Digest,
    providers: readonly PeerId[],
    query: { waitMs: number; includesConnected?: boolean },
    signal: AbortSignal,
  ): Promise<FetchedManifest | undefined> {
    const found = await this.#deps.tagHints.fetchManifest(digest, { providers, ...query }, signal);
    const parsed = found === undefined ? undefined : findParsed(found.bytes, found.mediaType);
    if (found === undefined || parsed === undefined) return undefined;
    return { mediaType: parsed.mediaType, bytes: found.bytes, parsed, source: 'peer' };
  }

  /** An origin that cannot be reached takes 20 s to fail; others may have had its answer meanwhile. */
  async #askOriginAndFleet(
    repository: Repository,
    digest: Digest,
    fromPeers: Promise<FetchedManifest | undefined>,
    signal: AbortSignal,
  ): Promise<FetchedManifest> {
    const decided = new AbortController();
    const limit = AbortSignal.any([signal, decided.signal]);
    const fromOrigin = this.#askOrigin(repository, digest, limit);
    const fromFleet = this.#searchFleet(digest, limit);
    const orOrigin = (found: FetchedManifest | undefined) => found ?? fromOrigin;
    const first = Promise.race([fromOrigin, fromFleet.then(orOrigin), fromPeers.then(orOrigin)]);
    this.#fetching.set(digest, first);
    try {
      return await first;
    } finally {
      decided.abort(new DOMException('another was first', 'AbortError'));
      await Promise.allSettled([fromOrigin, fromFleet]);
    }
  }

  async #askOrigin(repository: Repository, digest: Digest, signal: AbortSignal): Promise<FetchedManifest> {
    const { origin, clock } = this.#deps;
    return await askWithin(clock, this.#options.originTimeouts.manifestMs, signal, async (within) => {
      const { mediaType, bytes } = await origin.fetchManifest(repository, digest, { signal: within });
      const parsed = parseManifest(bytes, mediaType);
      return { mediaType: parsed.mediaType, bytes, parsed, source: 'origin' } as const;
    });
  }

  /** Looks again and again for a peer that has the manifest by now; undefined once it is not wanted any more. */
  async #searchFleet(digest: Digest, signal: AbortSignal): Promise<FetchedManifest | undefined> {
    try {
      for (let pauseMs = this.#options.fleetWaitMs; ; pauseMs = Math.min(pauseMs * 2, maxSearchPauseMs)) {
        await delay(this.#deps.clock, pauseMs, signal);
        const complete = await this.#findComplete(digest, signal);
        const query = { waitMs: 0, includesConnected: complete.length === 0 };
        const found = await this.#askPeers(digest, complete, query, signal);
        if (found !== undefined) return found;
      }
    } catch (error) {
      if (!signal.aborted) throw error;
      return undefined;
    }
  }

  async #findComplete(digest: Digest, signal: AbortSignal): Promise<readonly PeerId[]> {
    using deadline = startDeadline(this.#deps.clock, this.#options.directoryTimeoutMs, signal);
    try {
      const found = await raceAbort(this.#deps.directory.find([digest], deadline.signal), deadline.signal);
      return (found.get(digest) ?? []).filter(({ holding }) => holding === 'complete').map(({ peer }) => peer);
    } catch {
      // A directory that fails is no reason to stop waiting for the origin.
      signal.throwIfAborted();
      return [];
    }
  }
}

/** Whether it settles before the time is over. @throws the signal's reason, once that aborts */
async function settlesWithin(
  clock: Clock,
  promise: Promise<unknown>,
  waitMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  if (waitMs <= 0) return false;
  const settled = new AbortController();
  const patience = delay(clock, waitMs, AbortSignal.any([signal, settled.signal])).catch(() => {});
  const isSettled = () => true;
  try {
    return await raceAbort(Promise.race([promise.then(isSettled, isSettled), patience.then(() => false)]), signal);
  } finally {
    settled.abort();
  }
}

/** The digest vouches for the bytes and not for the type a peer gives them: a wrong word of the peer must not spoil them. */
function findParsed(bytes: Uint8Array, mediaType: string): ParsedManifest | undefined {
  for (const contentType of [mediaType, undefined]) {
    try {
      return parseManifest(bytes, contentType);
    } catch {
      // Tried without the peer's word next, then given up.
    }
  }
  return undefined;
}
