import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import type { Digest } from '../oci/digest.ts';
import type { BlobDownload } from './blob-download.ts';
import { type CompletionDeps, failDownload } from './completion.ts';
import { SwarmError } from './errors.ts';
import type { MemberTalk } from './member-talk.ts';
import { type OriginRequestsDeps, runOriginRequest } from './origin-requests.ts';
import { type PeerRequestsDeps, runPeerRequest } from './peer-requests.ts';
import type { Doubt, RequestOutcome } from './schedule/request-ends.ts';
import type { Action, Scheduler } from './schedule/scheduler.ts';
import { extentsOf, type RequestState } from './schedule/state.ts';
import type { SwarmMetrics } from './swarm-metrics.ts';

/** Carries out the scheduler's actions: one task per request, cancelled for real, its end told to the scheduler exactly once. */
export interface RequestRunnerDeps {
  readonly scheduler: Scheduler;
  readonly talk: MemberTalk;
  readonly tasks: TaskGroup;
  readonly metrics: SwarmMetrics;
  readonly peers: PeerRequestsDeps;
  readonly origin: OriginRequestsDeps;
  readonly completion: CompletionDeps;
  readonly findDownload: (digest: Digest) => BlobDownload | undefined;
  readonly decideSoon: () => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class RequestRunner {
  readonly #deps: RequestRunnerDeps;
  readonly #running = new Map<number, AbortController>();
  /** Cancel the greetings of doubted peers that are still to come; as many as peers in their pause. */
  readonly #greetings = new Set<() => void>();

  constructor(deps: RequestRunnerDeps) {
    this.#deps = deps;
  }

  act(action: Action): void {
    if (action.kind === 'cancel') {
      this.#running.get(action.requestId)?.abort(new DOMException('not needed any more', 'AbortError'));
      return;
    }
    const { request } = action;
    const download = this.#deps.findDownload(request.digest);
    if (download === undefined) {
      this.#deps.scheduler.requestEnded(request.id, { kind: 'cancelled' });
      return;
    }
    if (action.kind === 'fetchExtent') {
      this.#deps.talk.tellClaim(request);
      this.#run(download, request, (signal) => runOriginRequest(this.#deps.origin, download, request, signal));
      return;
    }
    // A second request for what is late goes out at once; the next ones pay for it.
    if (!action.isHedge && !this.#deps.peers.pace.admits()) {
      this.#deps.scheduler.requestEnded(request.id, { kind: 'cancelled' });
      return;
    }
    if (action.isHedge) {
      download.hedges += 1;
      this.#deps.metrics.hedges.add(1);
    }
    const peerRequest = action.request;
    this.#run(download, request, (signal) => runPeerRequest(this.#deps.peers, download, peerRequest, signal));
  }

  stop(): void {
    for (const cancel of this.#greetings) cancel();
    for (const controller of this.#running.values())
      controller.abort(new SwarmError('SWARM_STOPPED', 'the node is stopping'));
  }

  #run(download: BlobDownload, request: RequestState, call: (signal: AbortSignal) => Promise<RequestOutcome>): void {
    const { scheduler, completion, metrics, tasks } = this.#deps;
    const controller = new AbortController();
    this.#running.set(request.id, controller);
    tasks.run(async (stopping) => {
      let outcome: RequestOutcome = { kind: 'cancelled' };
      const stop = () => controller.abort(stopping.reason);
      stopping.addEventListener('abort', stop, { once: true });
      try {
        outcome = await call(controller.signal);
      } catch (error) {
        await failDownload(completion, download, error);
      } finally {
        stopping.removeEventListener('abort', stop);
        this.#running.delete(request.id);
        const target = request.peer === undefined ? 'origin' : 'peer';
        const isStill = request.isStalled || request.stoodStill;
        if (isStill && request.peer !== undefined) download.account.stalled(request.peer);
        metrics.requests.add(1, { target, outcome: outcome.kind });
        const { id, first, count, receivedBytes } = request;
        // Progress is told in steps; this is the rest.
        if (outcome.kind === 'done')
          download.account.received(request.peer, Math.max(0, outcome.bytes - receivedBytes));
        this.#deps.logger.trace(
          {
            id,
            peer: request.peer,
            digest: download.digest,
            first,
            count,
            receivedBytes,
            outcome: outcome.kind,
            durationMs: this.#deps.clock.nowMs() - request.startedMs,
          },
          'request ended',
        );
        if (request.peer === undefined) this.#originEnded(download, request, outcome);
        const doubted = scheduler.requestEnded(request.id, outcome);
        if (doubted !== undefined) this.#greetLater(download.digest, doubted);
        this.#deps.decideSoon();
      }
    });
  }

  /** Until then the peer counts as holding nothing, so that the origin and others have their chance. */
  #greetLater(digest: Digest, { peer, pauseMs }: Doubt): void {
    const cancel = this.#deps.clock.schedule(pauseMs, () => {
      this.#greetings.delete(cancel);
      this.#deps.talk.greet(digest, peer);
    });
    this.#greetings.add(cancel);
  }

  /** Lets the others know that the turn is free again. */
  #originEnded(download: BlobDownload, request: RequestState, outcome: RequestOutcome): void {
    const state = this.#deps.scheduler.downloads.get(download.digest);
    if (outcome.kind === 'done' || state === undefined) return;
    const { digest } = download;
    if (outcome.kind === 'originFailed' && outcome.isFinal) {
      this.#deps.talk.tell(digest, { kind: 'release', digest, extent: undefined });
      return;
    }
    // A part given up for the whole: everybody was told so, and this node is still in for its turn.
    if (state.isOriginWhole && request.count < download.plan.pieceCount) return;
    for (const extent of extentsOf(state, request)) this.#deps.talk.tell(digest, { kind: 'release', digest, extent });
  }
}
