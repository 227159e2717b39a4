import type { PeerId } from '../content/peer-id.ts';
import type { BufferPool } from '../lib/buffer-pool.ts';
import type { Logger } from '../lib/logger.ts';
import { TaskGroup } from '../lib/task-group.ts';
import { TokenBucket } from '../lib/token-bucket.ts';
import type { Digest } from '../oci/digest.ts';
import type { PieceSource } from '../peer/bulk.ts';
import type { Ban } from './bans.ts';
import { BlobDownload } from './blob-download.ts';
import { CompletedBlobs } from './completed-blobs.ts';
import { type CompletionDeps, failDownload, finishDownload } from './completion.ts';
import { Disputes } from './disputes.ts';
import { DownloadPace } from './download-pace.ts';
import { SwarmError } from './errors.ts';
import { Healing } from './healing.ts';
import { Ledger, logFieldsOf } from './ledger.ts';
import { createPiecePool } from './lent-bytes.ts';
import { listPeers } from './list-peers.ts';
import { MemberLinks } from './member-links.ts';
import { MemberTalk } from './member-talk.ts';
import { swarmProtocol } from './messages.ts';
import { countProgress, type ObserveDeps, observeDownloads } from './observe-downloads.ts';
import type { SwarmOptions } from './options.ts';
import type { OriginRequestsDeps } from './origin-requests.ts';
import { Patience } from './patience.ts';
import { PeerBans } from './peer-bans.ts';
import { noRequest, type PeerRequestsDeps, takeGivenPiece } from './peer-requests.ts';
import { PieceShare } from './piece-share.ts';
import { ProvenSigners } from './proven-signers.ts';
import { RequestRunner } from './request-runner.ts';
import { Resumption } from './resumption.ts';
import { Scheduler } from './schedule/scheduler.ts';
import { startDownloads } from './start-downloads.ts';
import { Strikes } from './strikes.ts';
import type { BlobRequest, Download, Swarm, SwarmPeer, Transfer } from './swarm.ts';
import type { SwarmDeps } from './swarm-deps.ts';
import { countTransfer, createSwarmMetrics, type SwarmMetrics } from './swarm-metrics.ts';
import { Ticker } from './ticker.ts';

/**
 * The swarm of this node: turns what happens (members, pieces, readers, ends of requests) into events of the scheduler, and its
 * actions into requests. All state changes run on the event loop between awaits; decisions are made once for all events of a few milliseconds.
 */
// How often time alone may change a decision: turns taken over, stalls, hedges, heartbeats of claims.
const tickMs = 100;
const claimEveryTicks = 8;
const haveEveryTicks = 2;
// A decision looks at every missing piece: one for all that happened within a moment too short to be felt.
const decideAfterMs = 5;
// Short downloads end between ticks; where their time went is looked at when something begins, but not for every piece.
const observeStepMs = 10;

export function createSwarm(deps: SwarmDeps, options: SwarmOptions): SwarmNode {
  return new SwarmNode(deps, options);
}

export class SwarmNode implements Swarm, AsyncDisposable {
  readonly pieceSource: PieceSource;
  readonly #deps: SwarmDeps;
  readonly #options: SwarmOptions;
  readonly #logger: Logger;
  readonly #metrics: SwarmMetrics;
  readonly #scheduler: Scheduler;
  readonly #bans: PeerBans;
  readonly #links: MemberLinks;
  readonly #talk: MemberTalk;
  readonly #share: PieceShare;
  readonly #completion: CompletionDeps;
  readonly #tasks: TaskGroup;
  readonly #piecePool: BufferPool;
  readonly #downloads = new Map<Digest, BlobDownload>();
  readonly #ledger: Ledger;
  readonly #patience: Patience;
  readonly #resumption: Resumption;
  readonly #healing: Healing;
  readonly #runner: RequestRunner;
  readonly #observeDeps: ObserveDeps;
  readonly #cleanUp: (() => void)[] = [];
  readonly #ticker: Ticker;
  #isDeciding = false;

  constructor(deps: SwarmDeps, options: SwarmOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#logger = deps.logger;
    this.#metrics = createSwarmMetrics(deps.metrics);
    const { clock, random, logger, identity, network } = deps;
    this.#ledger = new Ledger(deps.findEarlierTransfer);
    this.#tasks = new TaskGroup((error) => logger.error({ error }, 'a task of the swarm failed'));
    this.#scheduler = new Scheduler({ self: identity.peerId, clock, random }, options.schedule);
    this.#patience = new Patience({ clock, scheduler: this.#scheduler }, options);
    const tasks = this.#tasks;
    this.#piecePool = createPiecePool(clock, options.uploadSlots);
    const retry = (requests: readonly BlobRequest[]) => void this.#fetch(requests);
    this.#resumption = new Resumption({ clock, random, tasks, retry }, options);
    const completed = new CompletedBlobs({ ...deps, tasks });
    this.#healing = new Healing({ ...deps, completed, tasks, fetch: (request) => void this.#fetch([request]) });
    const bansDeps = { ...deps, self: identity.peerId, scheduler: this.#scheduler, metrics: this.#metrics };
    this.#bans = new PeerBans({ ...bansDeps, decideSoon: () => this.#decideSoon() }, options);
    const prepareBulk = (peer: PeerId) => {
      const address = this.#links.findAddress(peer);
      if (address !== undefined) deps.bulk.prepare(peer, address);
    };
    this.#links = new MemberLinks(
      { network, direct: deps.direct, clock, logger, tasks: this.#tasks },
      { bulkPort: options.bulkPort, bulkHost: options.bulkHost, zone: options.zone },
      {
        ready: (peer, zone) => {
          this.#scheduler.peerSeen(peer, options.zone !== '' && zone === options.zone);
          if (this.#bans.list.has(peer)) this.#scheduler.ban(peer);
          else prepareBulk(peer);
          this.#decideSoon();
        },
        message: (peer, message) => {
          this.#talk.receive(peer, message);
          this.#decideSoon();
        },
        gone: (peer) => {
          this.#talk.peerGone(peer);
          this.#scheduler.peerGone(peer);
          this.#decideSoon();
        },
      },
    );
    this.#talk = new MemberTalk(
      {
        self: identity.peerId,
        blobs: deps.blobs,
        scheduler: this.#scheduler,
        bans: this.#bans.list,
        tasks: this.#tasks,
        clock,
        isConnected: (peer) => network.findPeer(peer) !== undefined,
        downloads: this.#downloads,
        onMark: (peer, digest, piece, mark) => this.#completion.disputes.marked(peer, digest, piece, mark),
        onSigned: (peer, digest, piece) => this.#completion.disputes.heard(peer, digest, piece),
        onPiece: (peer, digest, piece, bytes) => {
          const download = this.#downloads.get(digest);
          if (download !== undefined)
            this.#tasks.run(async (signal) => {
              try {
                await takeGivenPiece(peers, download, peer, piece, bytes, signal);
              } catch (error) {
                await failDownload(this.#completion, download, error);
              } finally {
                this.#scheduler.memberHas(digest, peer, [piece.index]);
                this.#decideSoon();
              }
            });
        },
        onGiven: (peer, bytes) => {
          this.#ledger.accountOf(peer).sent += bytes;
          this.#metrics.sentBytes.add(bytes);
        },
        mayGive: options.uploadBytesPerSecond === 0,
        onMeet: prepareBulk,
      },
      this.#links,
    );
    this.#share = new PieceShare(
      {
        ...deps,
        metrics: this.#metrics,
        bans: this.#bans.list,
        bucket: new TokenBucket(clock, { rateBytesPerSecond: options.uploadBytesPerSecond }),
        pool: this.#piecePool,
        findDownload: (digest) => this.#downloads.get(digest),
        onRot: (digest, what) => {
          this.#share.forget(digest);
          this.#healing.rotten(digest, what);
        },
        onSent: (peer, bytes) => {
          this.#ledger.accountOf(peer).sent += bytes;
        },
      },
      { slots: options.uploadSlots, maxWaiting: options.uploadWaiting, retryAfterMs: options.uploadRetryAfterMs },
    );
    this.pieceSource = this.#share;
    const bucket = new TokenBucket(clock, { rateBytesPerSecond: options.downloadBytesPerSecond });
    this.#observeDeps = { scheduler: this.#scheduler, clock, isHeldBack: () => !bucket.isOpen };
    const onProgress = (requestId: number, receivedBytes: number) =>
      countProgress(this.#downloads, this.#scheduler, requestId, receivedBytes);
    const peers: PeerRequestsDeps = {
      bulk: deps.bulk,
      bans: this.#bans.list,
      bucket,
      pace: new DownloadPace(bucket, this.#tasks.signal, () => this.#decideSoon()),
      clock,
      metrics: this.#metrics,
      logger,
      findAddress: (peer) => this.#links.findAddress(peer),
      onProgress,
      onStored: (download, index, request) => {
        const bytes = download.pieceBytes(index);
        this.#ledger.accountOf(request.peer).received += bytes;
        this.#metrics.receivedBytes.add(bytes, { source: 'peer' });
        this.#stored(download, index, request.id);
      },
      onRefused: (download, index, peer) => {
        this.#ledger.accountOf(peer).rejected += 1;
        this.#scheduler.pieceRefused(download.digest, index, peer);
      },
      onLiar: (peer, reason, evidence) => this.#bans.ban(peer, reason, evidence),
      onMoving: (peer) => this.#bans.moving(peer),
      onPromise: (requestId) => this.#scheduler.requestPromised(requestId),
      onSilence: (request) => this.#bans.silent(request),
    };
    const fromOrigin: OriginRequestsDeps = {
      origin: deps.origin,
      identity,
      bucket,
      pool: this.#piecePool,
      clock,
      logger,
      onProgress,
      onStored: (download, index, request, bytes) => {
        this.#metrics.receivedBytes.add(download.pieceBytes(index), { source: 'origin' });
        this.#stored(download, index, request.id, bytes);
      },
      onWhole: (download) => {
        this.#scheduler.originIsWhole(download.digest);
        this.#talk.tell(download.digest, { kind: 'whole', digest: download.digest });
        this.#decideSoon();
      },
    };
    const common = {
      origin: deps.origin,
      identity,
      clock,
      random,
      logger,
      scheduler: this.#scheduler,
      talk: this.#talk,
      tasks: this.#tasks,
      ban: (peer: PeerId, reason: Ban['reason'], evidence: string) => this.#bans.ban(peer, reason, evidence),
      findDownload: (digest: Digest) => this.#downloads.get(digest),
      decideSoon: () => this.#decideSoon(),
    };
    const onStored = (download: BlobDownload, index: number) => this.#stored(download, index, noRequest);
    this.#completion = {
      ...common,
      disputes: new Disputes({ ...common, onStored }),
      strikes: new Strikes(clock),
      proven: new ProvenSigners(clock),
      completed,
      directory: deps.directory,
      onEnd: (download) => this.#end(download),
    };
    this.#runner = new RequestRunner({
      ...common,
      metrics: this.#metrics,
      peers,
      origin: fromOrigin,
      completion: this.#completion,
    });
    this.#cleanUp.push(
      network.handle(swarmProtocol, (channel) => this.#links.accept(channel)),
      deps.direct.handle((channel) => this.#links.acceptDirect(channel)),
      network.onPeerChange((change) => {
        if (change.kind === 'disconnected') return this.#links.drop(change.peer);
        this.#links.prepare(change.peer);
        this.#talk.peerBack(change.peer);
      }),
      deps.directory.onProvider((digest, provider) => this.#talk.meet(digest, provider)),
    );
    for (const { peer } of network.peers()) this.#links.prepare(peer);
    this.#ticker = new Ticker(clock, tickMs, (lateMs, tick) => this.#onTick(lateMs, tick));
  }

  fetch(requests: readonly BlobRequest[]): readonly Download[] {
    for (const { digest } of requests) this.#resumption.forget(digest);
    return this.#fetch(requests);
  }

  #fetch(requests: readonly BlobRequest[]): readonly Download[] {
    const started: BlobDownload[] = [];
    const downloads = requests.map((request) => {
      const known = this.#downloads.get(request.digest);
      if (known !== undefined) {
        const isNew = known.addRepository(request.repository);
        if (isNew && this.#deps.origin.allows(request.repository.namespace)) this.#scheduler.allowOrigin(known.digest);
        return known;
      }
      const earlier = this.#ledger.takeFailed(request, this.#deps.clock.wallMs());
      const download = new BlobDownload({ ...this.#deps, proven: this.#completion.proven }, request, earlier);
      this.#downloads.set(request.digest, download);
      started.push(download);
      return download;
    });
    if (started.length > 0) {
      if (!this.#tasks.signal.aborted) this.#ticker.start();
      const deps = { ...this.#deps, completion: this.#completion };
      this.#tasks.run((signal) => startDownloads(deps, started, this.#options, signal));
    }
    if (this.#tasks.signal.aborted) {
      for (const download of started) void download.fail(new SwarmError('SWARM_STOPPED', 'the node is stopping'));
    }
    this.#metrics.activeDownloads.set(this.#downloads.size);
    return downloads;
  }

  findDownload(digest: Digest): Download | undefined {
    return this.#downloads.get(digest);
  }

  transfers(): readonly Transfer[] {
    return [...[...this.#downloads.values()].map((download) => download.transfer()), ...this.#ledger.ended];
  }

  peers(): readonly SwarmPeer[] {
    const downloads = this.#downloads.values();
    return listPeers(this.#deps.network, this.#ledger, this.#scheduler, this.#bans.list, this.#links, downloads);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const undo of this.#cleanUp.reverse()) undo();
    this.#ticker.stop();
    this.#runner.stop();
    const stopped = new SwarmError('SWARM_STOPPED', 'the node is stopping');
    await Promise.allSettled([...this.#downloads.values()].map((download) => download.fail(stopped)));
    for (const download of this.#downloads.values()) this.#deps.onTransferEnd?.(download.transfer());
    this.#links.close();
    await this.#tasks.stop();
    this.#piecePool.trim();
  }

  #decideSoon(): void {
    if (this.#isDeciding) return;
    this.#isDeciding = true;
    this.#deps.clock.schedule(decideAfterMs, () => {
      this.#isDeciding = false;
      if (this.#tasks.signal.aborted) return;
      const actions = this.#scheduler.decide();
      for (const action of actions) this.#runner.act(action);
      if (actions.length > 0) this.#observe(observeStepMs);
    });
  }

  #observe(afterMs: number): void {
    observeDownloads(this.#observeDeps, this.#downloads.values(), this.#options.schedule, afterMs);
  }

  #stored(download: BlobDownload, index: number, requestId: number, readAtOrigin?: Uint8Array): void {
    // A piece that lands just after its download failed says nothing about the one that may have taken its place.
    if (this.#downloads.get(download.digest) !== download) return;
    if (!this.#scheduler.pieceStored(download.digest, index, requestId)) return;
    this.#patience.renew(download.digest);
    const piece = readAtOrigin === undefined ? undefined : download.heldPieces.get(index);
    if (
      piece === undefined ||
      readAtOrigin === undefined ||
      !this.#talk.news.givePiece(download.digest, piece, readAtOrigin)
    )
      this.#talk.news.tellHave(download.digest, index);
    if (this.#scheduler.downloads.get(download.digest)?.held.isFull === true)
      finishDownload(this.#completion, download);
    this.#decideSoon();
  }

  #end(download: BlobDownload): void {
    const { digest } = download;
    if (this.#downloads.get(digest) !== download) return;
    this.#downloads.delete(digest);
    this.#talk.forget(digest);
    this.#patience.renew(digest);
    this.#scheduler.removeDownload(digest);
    const transfer = download.transfer();
    this.#ledger.transferEnded(transfer);
    countTransfer(this.#metrics, transfer, download.earlier);
    this.#deps.onTransferEnd?.(transfer);
    const [repository] = download.repositories;
    if (download.state === 'complete' && repository !== undefined) this.#healing.fetched(digest, repository);
    this.#resumption.ended(download);
    this.#metrics.activeDownloads.set(this.#downloads.size);
    this.#logger.info(logFieldsOf(transfer), 'download ended');
    this.#decideSoon();
  }

  #onTick(lateMs: number, tick: number): boolean {
    if (this.#tasks.signal.aborted || this.#downloads.size === 0) {
      this.#scheduler.lag.forget();
      return false;
    }
    this.#scheduler.lagged(lateMs);
    if (tick % haveEveryTicks === 0) this.#talk.news.tellUnhurried();
    if (tick % claimEveryTicks === 0) {
      const nowMs = this.#deps.clock.nowMs();
      for (const digest of this.#downloads.keys()) this.#talk.tellClaims(digest, nowMs - claimEveryTicks * tickMs);
    }
    for (const { download, error } of this.#patience.expired(this.#downloads.values())) {
      this.#tasks.run(() => failDownload(this.#completion, download, error));
    }
    this.#observe(0);
    this.#decideSoon();
    return true;
  }
}
