import { extentOf } from '../content/piece-plan.ts';
import type { TaskGroup } from '../lib/task-group.ts';
import type { Digest } from '../oci/digest.ts';
import type { BlobDownload } from './blob-download.ts';
import { type CompletionDeps, failDownload } from './completion.ts';
import { SwarmError } from './errors.ts';
import type { MemberTalk } from './member-talk.ts';
import { type OriginRequestsDeps, runOriginRequest } from './origin-requests.ts';
import { type PeerRequestsDeps, runPeerRequest } from './peer-requests.ts';
import type { RequestOutcome } from './schedule/request-ends.ts';
import type { Action, Scheduler } from './schedule/scheduler.ts';
import type { RequestState } from './schedule/state.ts';
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
}

export class RequestRunner {
  readonly #deps: RequestRunnerDeps;
  readonly #running = new Map<number, AbortController>();

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
    if (action.isHedge) {
      download.hedges += 1;
      this.#deps.metrics.hedges.add(1);
    }
    const peerRequest = action.request;
    this.#run(download, request, (signal) => runPeerRequest(this.#deps.peers, download, peerRequest, signal));
  }

  stop(): void {
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
        metrics.requests.add(1, { target, outcome: outcome.kind });
        if (request.peer === undefined) this.#originEnded(download, request, outcome);
        const doubted = scheduler.requestEnded(request.id, outcome);
        if (doubted !== undefined) this.#deps.talk.greet(download.digest, doubted);
        this.#deps.decideSoon();
      }
    });
  }

  /** Lets the others know that the turn is free again. */
  #originEnded(download: BlobDownload, request: RequestState, outcome: RequestOutcome): void {
    if (outcome.kind === 'done') return;
    const isFinal = outcome.kind === 'originFailed' && outcome.isFinal;
    const extent = isFinal ? undefined : extentOf(download.plan, request.first);
    this.#deps.talk.tell(download.digest, { kind: 'release', digest: download.digest, extent });
  }
}
