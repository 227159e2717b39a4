import { type Clock, delay } from '../lib/clock.ts';
import { startDeadline } from '../lib/deadline.ts';
import { isAbort } from '../lib/errors.ts';
import { ExpiringCache } from '../lib/expiring-cache.ts';
import { raceAbort } from '../lib/race-abort.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import type { Repository } from '../oci/repository.ts';
import type { OriginTag } from '../origin/origin.ts';
import type { TagRecord } from '../store/metadata-store.ts';
import type { ImagesDeps } from './deps.ts';
import { ImageError } from './errors.ts';
import type { ResolvedTag } from './images.ts';
import type { ImageMetrics } from './metrics.ts';
import type { ImagesOptions } from './options.ts';
import { TagRumours } from './tag-rumours.ts';
import { isTemporary, toImageError } from './translate-error.ts';

type Outcome = { readonly tag: TagRecord } | { readonly error: Error };

interface Question {
  readonly outcome: Promise<Outcome>;
  /** Resolves when the origin fails and goes on being asked. */
  readonly trouble: Promise<undefined>;
}

// However little patience is configured, the fleet is not asked more often than this.
const askAgainMs = 1_000;

/**
 * Decides what a tag points at:
 * fresh record -> it; else ask the origin (one question at a time per tag, whoever asks) ->
 *   answer: record and serve it; 401, 403, 404: say so, whatever is here; down, slow, limited, failing: the newest of what this
 *   node and the fleet remember, marked stale; nothing remembered: wait for the origin to the end of its time and ask the fleet again meanwhile.
 */
export class TagResolver {
  readonly #deps: ImagesDeps;
  readonly #options: ImagesOptions;
  readonly #metrics: ImageMetrics;
  readonly #tasks: TaskGroup;
  readonly #rumours: TagRumours;
  readonly #questions = new Map<string, Question>();
  readonly #refused: ExpiringCache<string, Error>;
  readonly #held: ExpiringCache<string, TagRecord>;
  /** Namespaces whose tags are served stale; only allowed ones get here, so their number is bounded. */
  readonly #silent = new Set<string>();

  constructor(deps: ImagesDeps, options: ImagesOptions, metrics: ImageMetrics, tasks: TaskGroup) {
    this.#deps = deps;
    this.#options = options;
    this.#metrics = metrics;
    this.#tasks = tasks;
    this.#rumours = new TagRumours(deps, options, tasks);
    this.#refused = new ExpiringCache(deps.clock, options.negativeEntries);
    this.#held = new ExpiringCache(deps.clock, options.negativeEntries);
  }

  get rumours(): TagRumours {
    return this.#rumours;
  }

  async resolve(repository: Repository, tag: string, signal: AbortSignal): Promise<ResolvedTag> {
    const { metadata } = this.#deps.store;
    const known = await metadata.findTag(repository, tag);
    if (known !== undefined && this.#isFresh(known)) return this.#serve(known, 'fresh');
    if (!this.#deps.origin.allows(repository.namespace)) return this.#serveUnasked(repository, tag, known);

    const key = keyOf(repository, tag);
    const refused = this.#refused.find(key);
    if (refused !== undefined) return this.#refuse(refused);
    const held = this.#held.find(key);
    if (held !== undefined) return this.#serve(held, 'stale');

    const question = this.#ask(key, repository, tag, known);
    // Somebody else may get the answer that this node still waits for: the others are asked again with each patience.
    let reasons = [question.outcome, question.trouble];
    for (let patienceMs = this.#options.originPatienceMs; ; patienceMs = Math.max(patienceMs, askAgainMs)) {
      const outcome = await this.#waitPatiently(reasons, patienceMs, signal);
      // Trouble cuts the first patience short, and no other.
      reasons = [question.outcome];
      if (outcome !== undefined && 'tag' in outcome) return this.#serve(outcome.tag, 'confirmed');
      if (outcome !== undefined && !isTemporary(outcome.error)) return this.#refuse(outcome.error);

      const remembered = await this.#rumours.findNewest(repository, tag, known, signal);
      if (remembered !== undefined) {
        this.#held.put(key, remembered.record, this.#options.staleHoldMs);
        this.#reportStale(repository);
        return this.#serve(remembered.record, remembered.isRumour ? 'hint' : 'stale');
      }
      if (outcome !== undefined) return this.#refuse(outcome.error);
    }
  }

  /** A clock set back must not make a tag fresh for ever. */
  #isFresh(record: TagRecord): boolean {
    const ageMs = this.#deps.clock.wallMs() - record.confirmedAtMs;
    return ageMs >= 0 && ageMs < this.#options.tagFreshMs;
  }

  /** Without an origin to ask, this node's word is the last one. */
  #serveUnasked(repository: Repository, tag: string, known: TagRecord | undefined): ResolvedTag {
    if (known !== undefined) return this.#serve(known, 'fresh');
    const { namespace, name } = repository;
    return this.#refuse(
      new ImageError('IMAGE_NAMESPACE_REFUSED', `${namespace} is not an origin of this node`, {
        details: { namespace, repository: name, reference: tag },
      }),
    );
  }

  /** Gives the origin its time, less if it is in trouble; undefined = it has not answered yet and its question goes on. */
  async #waitPatiently(
    reasons: readonly Promise<Outcome | undefined>[],
    patienceMs: number,
    signal: AbortSignal,
  ): Promise<Outcome | undefined> {
    const answered = new AbortController();
    const patience = delay(this.#deps.clock, patienceMs, answered.signal);
    patience.catch(() => {});
    try {
      return await raceAbort(Promise.race([...reasons, patience.then(() => undefined)]), signal);
    } finally {
      answered.abort();
    }
  }

  /** Asks once for all who wait; the question outlives them, so that a late answer still counts. */
  #ask(key: string, repository: Repository, tag: string, known: TagRecord | undefined): Question {
    const asked = this.#questions.get(key);
    if (asked !== undefined) return asked;
    const { promise: trouble, resolve: onTrouble } = Promise.withResolvers<undefined>();
    const outcome = this.#question(key, repository, tag, known, () => onTrouble(undefined)).finally(() =>
      this.#questions.delete(key),
    );
    const question = { outcome, trouble };
    this.#questions.set(key, question);
    this.#tasks.run(() => outcome);
    return question;
  }

  async #question(
    key: string,
    repository: Repository,
    tag: string,
    known: TagRecord | undefined,
    onTrouble: () => void,
  ): Promise<Outcome> {
    const { origin, store, clock } = this.#deps;
    try {
      const answer = await askWithin(clock, this.#options.originTimeouts.tagMs, this.#tasks.signal, (signal) =>
        origin.resolveTag(repository, tag, {
          signal,
          onTrouble,
          ...(known !== undefined && { known: toOriginTag(known) }),
        }),
      );
      const record: TagRecord = { ...answer, confirmedAtMs: clock.wallMs() };
      await store.metadata.putTag(repository, tag, record);
      this.#held.delete(key);
      this.#refused.delete(key);
      this.#rumours.spread(repository, tag);
      this.#reportConfirmed(repository);
      return { tag: record };
    } catch (thrown) {
      const error = toImageError(thrown, { kind: 'manifest', repository, reference: tag });
      if (!(error instanceof ImageError)) {
        if (isAbort(error)) return { error };
        throw error;
      }
      if (!isTemporary(error)) this.#refused.put(key, error, this.#options.negativeMs);
      return { error };
    }
  }

  #reportStale(repository: Repository): void {
    this.#silent.add(repository.namespace);
    this.#deps.health.set({
      code: 'IMAGE_TAGS_STALE',
      severity: 'notice',
      text: `${[...this.#silent].sort().join(', ')} cannot be asked; tags are served as they were when it last answered.`,
      remedy: 'Check that the origin can be reached from this node, and its rate limit.',
    });
  }

  #reportConfirmed(repository: Repository): void {
    if (!this.#silent.delete(repository.namespace)) return;
    if (this.#silent.size === 0) this.#deps.health.clear('IMAGE_TAGS_STALE');
  }

  #serve(record: TagRecord, outcome: 'fresh' | 'confirmed' | 'stale' | 'hint'): ResolvedTag {
    this.#metrics.tags.add(1, { outcome });
    const { digest, mediaType, sizeBytes } = record;
    return { digest, mediaType, sizeBytes, isStale: outcome === 'stale' || outcome === 'hint' };
  }

  #refuse(error: Error): never {
    this.#metrics.tags.add(1, { outcome: isTemporary(error) ? 'failed' : 'refused' });
    throw error;
  }
}

/** Runs a call to the origin within its time; running out of it counts as the origin being unavailable. */
export async function askWithin<Answer>(
  clock: Clock,
  timeoutMs: number,
  signal: AbortSignal,
  call: (signal: AbortSignal) => Promise<Answer>,
): Promise<Answer> {
  using deadline = startDeadline(clock, timeoutMs, signal);
  try {
    return await raceAbort(call(deadline.signal), deadline.signal);
  } catch (error) {
    if (!deadline.isOver) throw error;
    throw new ImageError('IMAGE_UNAVAILABLE', `the origin did not answer within ${timeoutMs} ms`, { cause: error });
  }
}

function keyOf(repository: Repository, tag: string): string {
  return `${repository.namespace}/${repository.name}:${tag}`;
}

function toOriginTag({ digest, mediaType, sizeBytes, etag }: TagRecord): OriginTag {
  return { digest, mediaType, sizeBytes, ...(etag !== undefined && { etag }) };
}
