import { Bitfield } from '../../src/content/bitfield.ts';
import type { PeerId } from '../../src/content/peer-id.ts';
import { pieceRange, planPieces } from '../../src/content/piece-plan.ts';
import { type Clock, type Random, seededRandom } from '../../src/lib/clock.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { ScheduleOptions } from '../../src/swarm/schedule/options.ts';
import { type Action, Scheduler } from '../../src/swarm/schedule/scheduler.ts';
import { type DownloadState, extentsOf, type RequestState } from '../../src/swarm/schedule/state.ts';
import { Stalls } from '../../src/swarm/stalls.ts';
import { UploadQueue, type UploadTicket } from '../../src/swarm/upload-queue.ts';

/**
 * A fleet under a virtual clock: the production scheduler and upload queue of every node, over links with fluid max-min fair
 * sharing. CPU costs nothing here; everything that the swarm decides is real.
 */
export interface SimulationOptions {
  readonly nodes: number;
  readonly layers: readonly number[];
  readonly rateBytesPerSecond: number;
  readonly schedule: ScheduleOptions;
  readonly uploadSlots: number;
  readonly maxWaiting?: number;
  readonly busyMs?: number;
  readonly latencyMs?: number;
  readonly seed?: number;
  /** Seconds between the starts of nodes. */
  readonly staggerMs?: number;
  readonly parallelLayers?: number;
  /** Nodes that hold everything from the start. */
  readonly seeders?: number;
  readonly originRate?: (nowMs: number) => number;
  readonly events?: readonly { readonly atMs: number; readonly run: (simulation: SwarmSimulation) => void }[];
  readonly limitMs?: number;
  /** A starved machine: nodes find each other by a tracker, and hear nothing while something else holds their event loop. */
  readonly starvation?: Starvation;
  /** What a node's link gives upwards; the rate of all by default. */
  readonly uplink?: (index: number) => number;
  /** What the origin gives to one request of a node at most. */
  readonly originRequestRate?: (index: number) => number;
  /** Nodes that the origin takes requests of and never answers. */
  readonly originIgnores?: (index: number) => boolean;
  /** Nodes that take requests for pieces and never send a byte of one. */
  readonly isMute?: (index: number) => boolean;
  readonly liar?: Liar;
  /** How a node answers requests for pieces, whatever it holds; undefined = as it should. */
  readonly answers?: (index: number, nowMs: number) => 'busy' | 'absent' | 'failed' | undefined;
}

/** One that is no node of the simulation: it says what it likes to all of them again and again, and has nothing. */
export interface Liar {
  readonly peer: PeerId;
  readonly everyMs: number;
  readonly answer: 'busy' | 'absent' | 'failed';
  readonly say: (scheduler: Scheduler, download: DownloadState, nowMs: number) => void;
}

export interface Starvation {
  /** Event loops stand still for up to `stallMs` again and again, until `untilMs`. */
  readonly stallMs: number;
  readonly untilMs: number;
  readonly cpuMsPerPiece: number;
  readonly cpuMsPerMessage: number;
  readonly directoryTimeoutMs: number;
  readonly settleMs: number;
  readonly settleMaxMs: number;
}

interface Flow {
  readonly from: number;
  readonly to: number;
  readonly request: RequestState;
  readonly sizeBytes: number;
  remaining: number;
  piece: number;
  pieceRemaining: number;
  rate: number;
  readonly done: () => void;
}

interface Running {
  readonly digest: Digest;
  flow?: Flow;
  ticket?: UploadTicket;
  cancelled: boolean;
}

interface SimNode {
  readonly index: number;
  readonly peer: PeerId;
  readonly scheduler: Scheduler;
  readonly uploads: UploadQueue;
  readonly running: Map<number, Running>;
  readonly has: Map<Digest, Set<number>>;
  finishedMs: number | undefined;
  firstByteMs: number | undefined;
  isDead: boolean;
  isFrozen: boolean;
  /** Until when its event loop is held. */
  blockedUntilMs: number;
  /** Until when it is held for so long that its sockets stand still too. */
  heldUntilMs: number;
  /** What happened meanwhile, in order. */
  readonly backlog: (() => void)[];
  isDraining: boolean;
  /** Members that were greeted and have not answered. */
  readonly silent: Set<SimNode>;
  readonly met: Set<SimNode>;
  readonly stalls: Stalls;
}

const ORIGIN = -1;
// As the production node's.
const tickMs = 100;
const claimEveryTicks = 5;
// Stream, protocol, hello.
const linkRoundTrips = 3;
const trackerCount = 4;

export class SwarmSimulation {
  readonly nodes: SimNode[] = [];
  readonly options: SimulationOptions;
  readonly originPieces = new Map<string, number>();
  duplicatePeerPieces = 0;
  /** When the last node had each layer. */
  readonly layerMs = new Map<Digest, number>();
  originBytes = 0;
  #nowMs = 0;
  readonly #random: Random;
  readonly #timers: { atMs: number; run: () => void; order: number }[] = [];
  #order = 0;
  #flows: Flow[] = [];
  readonly #dirty = new Set<SimNode>();
  readonly rates: number[];
  readonly #announced = new Map<SimNode, Set<SimNode>>();
  originUp = true;

  constructor(options: SimulationOptions) {
    this.options = options;
    this.#random = seededRandom(options.seed ?? 1);
    this.rates = Array.from({ length: options.nodes }, () => options.rateBytesPerSecond);
    const clock: Clock = {
      nowMs: () => this.#nowMs,
      wallMs: () => this.#nowMs,
      schedule: (delayMs, callback) => {
        let isOn = true;
        this.after(delayMs, () => isOn && callback());
        return () => {
          isOn = false;
        };
      },
    };
    for (let index = 0; index < options.nodes; index += 1) {
      const peer = `peer-${index}` as PeerId;
      this.nodes.push({
        index,
        peer,
        scheduler: new Scheduler(
          { self: peer, clock, random: seededRandom((options.seed ?? 1) * 1000 + index) },
          options.schedule,
        ),
        uploads: new UploadQueue({ slots: options.uploadSlots, maxWaiting: options.maxWaiting ?? 4 }),
        running: new Map(),
        has: new Map(),
        finishedMs: undefined,
        firstByteMs: undefined,
        isDead: false,
        isFrozen: false,
        blockedUntilMs: 0,
        heldUntilMs: 0,
        backlog: [],
        isDraining: false,
        silent: new Set(),
        met: new Set(),
        stalls: new Stalls(clock, options.schedule),
      });
    }
    if (options.liar !== undefined) this.#lie(options.liar);
    for (const event of options.events ?? []) this.after(event.atMs, () => event.run(this));
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  digests(): { digest: Digest; sizeBytes: number }[] {
    return this.options.layers.map((sizeBytes, at) => ({ digest: `sha256:layer-${at}` as Digest, sizeBytes }));
  }

  after(delayMs: number, run: () => void): void {
    this.#timers.push({ atMs: this.#nowMs + delayMs, run, order: this.#order++ });
  }

  /** Stops a node without a word: its links go silent, nobody is told. */
  freeze(index: number): void {
    const node = this.nodes[index];
    if (node !== undefined) node.isFrozen = true;
  }

  /** Takes the origin down, failing what it was sending, or brings it back. */
  setOrigin(isUp: boolean): void {
    this.originUp = isUp;
    if (isUp) return;
    for (const flow of this.#flows.filter((other) => other.from === ORIGIN)) {
      this.#endFlow(flow, false);
      const node = this.nodes[flow.to];
      node?.running.delete(flow.request.id);
      if (node === undefined) continue;
      this.#release(node, flow.request);
      node.scheduler.requestEnded(flow.request.id, { kind: 'originFailed', isFinal: false, retryAfterMs: undefined });
    }
  }

  /** Runs until every living node has everything, or the limit. */
  run(): { seconds: number[]; originRatio: number; ttfb: number } {
    const total = this.options.layers.reduce((sum, size) => sum + size, 0);
    for (const node of this.nodes) {
      if (node.index < (this.options.seeders ?? 0)) {
        for (const { digest, sizeBytes } of this.digests()) {
          const set = new Set<number>();
          for (let piece = 0; piece < planPieces(sizeBytes).pieceCount; piece += 1) set.add(piece);
          node.has.set(digest, set);
        }
        node.finishedMs = 0;
        continue;
      }
      this.after((this.options.staggerMs ?? 0) * node.index + this.#random.next() * 5, () => this.#startNode(node));
    }
    for (const node of this.nodes) this.#tick(node, 1);
    if (this.options.starvation !== undefined)
      for (const node of this.nodes) this.#stall(node, this.options.starvation);
    const limit = this.options.limitMs ?? 600_000;
    while (
      this.nodes.some((node) => node.finishedMs === undefined && !node.isDead && !node.isFrozen) &&
      this.#nowMs < limit
    )
      this.#step();
    return {
      seconds: this.nodes.map((node) => (node.finishedMs ?? Number.NaN) / 1000),
      originRatio: this.originBytes / total,
      ttfb: Math.max(...this.nodes.map((node) => node.firstByteMs ?? 0)) / 1000,
    };
  }

  kill(index: number): void {
    const node = this.nodes[index];
    if (node === undefined) return;
    node.isDead = true;
    for (const flow of [...this.#flows])
      if (flow.from === index || flow.to === index) this.#endFlow(flow, flow.to !== index);
    for (const other of this.nodes) {
      if (other === node) continue;
      this.#send(other, () => other.scheduler.peerGone(node.peer));
    }
  }

  /** As a node's own timer: late when its event loop was held, and then the node knows. */
  #tick(node: SimNode, count: number): void {
    const dueMs = this.#nowMs + tickMs;
    this.after(tickMs, () =>
      this.#handle(node, () => {
        const lateMs = this.#nowMs - dueMs;
        node.scheduler.lagged(lateMs);
        this.#dirty.add(node);
        if (count % claimEveryTicks === 0) this.#claimProgress(node);
        this.#tick(node, count + 1);
      }),
    );
  }

  #stall(node: SimNode, starvation: Starvation): void {
    if (this.#nowMs > starvation.untilMs) return;
    this.#block(node, this.#random.next() * starvation.stallMs);
    node.heldUntilMs = node.blockedUntilMs;
    this.after(node.blockedUntilMs - this.#nowMs + this.#random.next() * starvation.stallMs, () =>
      this.#stall(node, starvation),
    );
  }

  #block(node: SimNode, forMs: number): void {
    node.blockedUntilMs = Math.max(node.blockedUntilMs, this.#nowMs) + forMs;
  }

  /** Runs what happens at a node now, or when its event loop is free. */
  #handle(node: SimNode, run: () => void): void {
    if (node.blockedUntilMs <= this.#nowMs && node.backlog.length === 0) {
      run();
      return;
    }
    node.backlog.push(run);
    this.#drain(node);
  }

  #drain(node: SimNode): void {
    if (node.isDraining) return;
    node.isDraining = true;
    this.after(Math.max(0, node.blockedUntilMs - this.#nowMs), () => {
      node.isDraining = false;
      while (node.backlog.length > 0 && node.blockedUntilMs <= this.#nowMs) node.backlog.shift()?.();
      this.#dirty.add(node);
      if (node.backlog.length > 0) this.#drain(node);
    });
  }

  #startNode(node: SimNode): void {
    if (this.options.starvation !== undefined) {
      this.#handle(node, () => this.#startStarved(node, this.options.starvation as Starvation));
      return;
    }
    for (const other of this.nodes) if (other !== node && !other.isDead) node.scheduler.peerSeen(other.peer, false);
    for (const { digest, sizeBytes } of this.digests()) {
      node.scheduler.addDownload({ digest, sizeBytes, originDelayMs: 60, canAskOrigin: true, held: [] });
      node.has.set(digest, new Set());
    }
    for (const other of this.nodes) {
      if (other === node || other.isDead) continue;
      this.#send(other, () => this.#exchangeState(node, other));
    }
    this.#readers(node);
    this.#dirty.add(node);
  }

  /** As `startDownloads`: announce, greet who is found, hear them out, then the origin. The first nodes are the trackers. */
  #startStarved(node: SimNode, starvation: Starvation): void {
    const { directoryTimeoutMs, settleMs, settleMaxMs } = starvation;
    const originDelayMs = directoryTimeoutMs + settleMs + settleMaxMs;
    for (const { digest, sizeBytes } of this.digests()) {
      node.scheduler.addDownload({ digest, sizeBytes, originDelayMs, canAskOrigin: true, held: [] });
      node.has.set(digest, new Set());
    }
    this.#readers(node);
    let isSettling = false;
    const settle = () => {
      if (isSettling) return;
      isSettling = true;
      const untilMs = this.#nowMs + settleMs + settleMaxMs;
      const release = () => {
        if (node.silent.size > 0 && this.#nowMs < untilMs) {
          this.after(5, () => this.#handle(node, release));
          return;
        }
        for (const { digest } of this.digests()) node.scheduler.releaseOrigin(digest, 0);
        this.#dirty.add(node);
      };
      this.after(settleMs, () => this.#handle(node, release));
    };
    let asked = 0;
    for (const tracker of this.nodes.slice(0, trackerCount)) {
      asked += 1;
      this.#send(tracker, () => {
        const others = [...(this.#announced.get(tracker) ?? [])];
        this.#announced.set(tracker, new Set([...others, node]));
        this.#send(node, () => {
          for (const other of others) this.#meet(node, other);
          asked -= 1;
          if (asked === 0) settle();
        });
        for (const other of others) this.#send(other, () => this.#meet(other, node));
      });
    }
    this.after(directoryTimeoutMs, () => this.#handle(node, settle));
  }

  #meet(node: SimNode, other: SimNode): void {
    if (node === other || node.met.has(other)) return;
    node.met.add(other);
    node.silent.add(other);
    this.#afterRoundTrips(node, other, linkRoundTrips, () => {
      // Greeted before it heard of the other: it answers all the same.
      other.met.add(node);
      other.scheduler.peerSeen(node.peer, false);
      for (const { digest } of this.digests()) this.#tell(node, other, digest);
      this.#send(node, () => {
        node.silent.delete(other);
        node.scheduler.peerSeen(other.peer, false);
        for (const { digest } of this.digests()) this.#tell(other, node, digest);
        this.#tellClaims(other, node);
      });
    });
  }

  /** A link has to be negotiated before the first message is through. */
  #afterRoundTrips(from: SimNode, to: SimNode, count: number, run: () => void): void {
    this.#send(to, () => {
      if (count === 0) run();
      else this.#send(from, () => this.#afterRoundTrips(from, to, count - 1, run));
    });
  }

  #tellClaims(from: SimNode, to: SimNode): void {
    for (const request of from.scheduler.requests.values()) {
      const download = from.scheduler.downloads.get(request.digest);
      if (request.peer !== undefined || download === undefined) continue;
      for (const extent of extentsOf(download, request))
        to.scheduler.memberClaims(request.digest, from.peer, extent, request.receivedBytes);
    }
  }

  #exchangeState(node: SimNode, other: SimNode): void {
    for (const { digest } of this.digests()) {
      if (!other.has.has(digest)) continue;
      other.scheduler.peerSeen(node.peer, false);
      this.#tell(node, other, digest);
      this.#send(node, () => this.#tell(other, node, digest));
    }
  }

  #lie(liar: Liar): void {
    this.after(liar.everyMs, () => {
      for (const node of this.nodes) {
        this.#send(node, () => {
          node.scheduler.peerSeen(liar.peer, false);
          for (const download of node.scheduler.downloads.values()) liar.say(node.scheduler, download, this.#nowMs);
        });
      }
      this.#lie(liar);
    });
  }

  #tell(from: SimNode, to: SimNode, digest: Digest): void {
    const download = to.scheduler.downloads.get(digest);
    if (download === undefined) return;
    const has = from.has.get(digest) ?? new Set();
    to.scheduler.memberState(digest, from.peer, {
      pieces: undefined,
      isFetching: false,
      canAskOrigin: false,
      ...(has.size === download.plan.pieceCount
        ? {}
        : { pieces: this.#bitfieldOf(download.held.size, has), isFetching: true, canAskOrigin: true }),
    });
    this.#dirty.add(to);
  }

  #bitfieldOf(size: number, has: Set<number>) {
    const bitfield = new Bitfield(size);
    for (const piece of has) bitfield.add(piece);
    return bitfield;
  }

  #readers(node: SimNode): void {
    // As docker reads: so many layers at once, each in order.
    let open = 0;
    for (const { digest } of this.digests()) {
      const download = node.scheduler.downloads.get(digest);
      if (download === undefined || download.held.isFull) continue;
      if (open >= (this.options.parallelLayers ?? 3)) break;
      open += 1;
      node.scheduler.readerAt(digest, 1, download.held.runFrom(0));
    }
  }

  #claimProgress(node: SimNode): void {
    if (node.isDead || node.isFrozen) return;
    for (const request of node.scheduler.requests.values()) {
      if (request.peer !== undefined || request.receivedBytes === 0) continue;
      const download = node.scheduler.downloads.get(request.digest);
      if (download === undefined) continue;
      const { digest, receivedBytes } = request;
      for (const other of this.nodes) {
        if (other === node || other.isDead) continue;
        for (const extent of extentsOf(download, request)) {
          this.#send(other, () => other.scheduler.memberClaims(digest, node.peer, extent, receivedBytes));
        }
      }
    }
  }

  #send(to: SimNode, run: () => void): void {
    this.after(this.options.latencyMs ?? 2, () => {
      if (to.isDead || to.isFrozen) return;
      this.#handle(to, () => {
        if (to.isDead || to.isFrozen) return;
        this.#block(to, this.options.starvation?.cpuMsPerMessage ?? 0);
        run();
        this.#dirty.add(to);
      });
    });
  }

  #step(): void {
    for (const node of this.#dirty) {
      if (node.blockedUntilMs > this.#nowMs) this.#drain(node);
      else if (!node.isDead && !node.isFrozen) this.#act(node);
    }
    this.#dirty.clear();
    this.#share();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const timer of this.#timers) nextMs = Math.min(nextMs, timer.atMs);
    for (const flow of this.#flows) {
      if (flow.rate > 0) nextMs = Math.min(nextMs, this.#nowMs + (flow.pieceRemaining / flow.rate) * 1000);
    }
    const passedMs = nextMs - this.#nowMs;
    this.#nowMs = nextMs;
    const arrived: Flow[] = [];
    for (const flow of this.#flows) {
      const bytes = (flow.rate * passedMs) / 1000;
      flow.remaining -= bytes;
      flow.pieceRemaining -= bytes;
      if (flow.from === ORIGIN) this.originBytes += bytes;
      if (flow.pieceRemaining < 0.5) arrived.push(flow);
    }
    for (const flow of arrived) this.#flowed(flow);
    const due = this.#timers
      .filter((timer) => timer.atMs <= this.#nowMs + 1e-9)
      .sort((a, b) => a.atMs - b.atMs || a.order - b.order);
    for (const timer of due) this.#timers.splice(this.#timers.indexOf(timer), 1);
    for (const timer of due) timer.run();
  }

  #act(node: SimNode): void {
    for (const flow of this.#flows) {
      if (flow.to === node.index && flow.rate > 0) {
        node.scheduler.requestProgress(flow.request.id, flow.sizeBytes - flow.remaining);
      }
    }
    const actions = node.scheduler.decide();
    for (const action of actions) this.#check(node, action);
    for (const action of actions) this.#do(node, action);
  }

  /** What must hold of every action, whatever happened before. */
  #check(node: SimNode, action: Action): void {
    if (action.kind === 'cancel') return;
    const { request } = action;
    const download = node.scheduler.downloads.get(request.digest);
    if (download === undefined) throw new Error('a request for a download that is gone');
    let requests = 0;
    for (const peer of node.scheduler.peers.values()) requests += peer.requests.size;
    if (requests > this.options.schedule.maxRequests) throw new Error(`${requests} requests in flight`);
    for (let piece = request.first; piece < request.first + request.count; piece += 1) {
      if (action.kind === 'fetchExtent') continue;
      if (download.held.has(piece) && !action.isHedge) throw new Error(`piece ${piece} is held already`);
      if (download.members.get(action.request.peer)?.have.has(piece) !== true)
        throw new Error(`the peer lacks piece ${piece}`);
      const flights = download.flights.get(piece)?.size ?? 0;
      if (flights > 1 && !action.isHedge) throw new Error(`piece ${piece} is asked for ${flights} times`);
      if (node.scheduler.peers.get(action.request.peer)?.isBanned !== false) throw new Error('a banned peer is asked');
    }
  }

  #do(node: SimNode, action: Action): void {
    if (action.kind === 'cancel') {
      const running = node.running.get(action.requestId);
      if (running === undefined) return;
      running.cancelled = true;
      const stood = node.scheduler.requests.get(action.requestId);
      const supplier = this.nodes.find((other) =>
        other.running === node.running ? false : other.peer === node.scheduler.requests.get(action.requestId)?.peer,
      );
      if (running.ticket !== undefined) supplier?.uploads.leave(running.ticket);
      if (running.flow !== undefined) this.#endFlow(running.flow, false);
      node.running.delete(action.requestId);
      if (stood?.peer === undefined && stood !== undefined) this.#release(node, stood);
      const doubted = node.scheduler.requestEnded(action.requestId, { kind: 'cancelled' });
      const peer = this.nodes.find((other) => other.peer === doubted?.peer);
      if (peer !== undefined && stood !== undefined && this.#banSilent(node, peer, stood)) return;
      if (doubted === undefined || peer === undefined) return;
      this.after(doubted.pauseMs, () => {
        if (!peer.isDead && !peer.isFrozen)
          this.#send(peer, () => this.#send(node, () => this.#tell(peer, node, running.digest)));
      });
      return;
    }
    const { request } = action;
    const download = node.scheduler.downloads.get(request.digest);
    if (download === undefined) return;
    if (action.kind === 'fetchExtent') {
      for (const other of this.nodes) {
        if (other !== node && !other.isDead) {
          for (const extent of extentsOf(download, request)) {
            this.#send(other, () => other.scheduler.memberClaims(request.digest, node.peer, extent, 0));
          }
        }
      }
      const running: Running = { digest: request.digest, cancelled: false };
      node.running.set(request.id, running);
      this.after(this.options.latencyMs ?? 2, () => {
        if (running.cancelled || node.isDead || this.options.originIgnores?.(node.index) === true) return;
        if (!this.originUp) {
          node.running.delete(request.id);
          this.#release(node, request);
          node.scheduler.requestEnded(request.id, { kind: 'originFailed', isFinal: false, retryAfterMs: undefined });
          return;
        }
        this.#startFlow(node, ORIGIN, request, () => {});
      });
      return;
    }
    const supplier = this.nodes.find((other) => other.peer === request.peer);
    const running: Running = { digest: request.digest, cancelled: false };
    node.running.set(request.id, running);
    this.after(this.options.latencyMs ?? 2, () => {
      if (running.cancelled) return;
      if (supplier === undefined) {
        this.#handle(node, () => this.#refuse(node, request, this.options.liar?.answer ?? 'failed'));
        return;
      }
      if (supplier.isDead) {
        node.running.delete(request.id);
        node.scheduler.requestEnded(request.id, { kind: 'failed' });
        return;
      }
      const ticket: UploadTicket = {
        peer: node.peer,
        pieceKey: `${request.digest}/${request.first}`,
        isUrgent: request.first < download.plan.headPieces,
        grant: () => {
          if (running.cancelled || node.isDead) {
            this.after(0, () => supplier.uploads.release(ticket));
            return;
          }
          this.#startFlow(node, supplier.index, request, () => supplier.uploads.release(ticket));
        },
      };
      running.ticket = ticket;
      this.#handle(supplier, () => {
        const answer = this.options.answers?.(supplier.index, this.#nowMs);
        if (running.cancelled || (answer === undefined && supplier.uploads.enter(ticket))) return;
        this.#handle(node, () => this.#refuse(node, request, answer ?? 'busy'));
      });
    });
  }

  /** The others hear that the turn is free again, as from the production node. */
  #release(node: SimNode, request: RequestState): void {
    const { digest, count } = request;
    const download = node.scheduler.downloads.get(digest);
    if (download === undefined || (download.isOriginWhole && count < download.plan.pieceCount)) return;
    for (const other of this.nodes) {
      if (other === node || other.isDead) continue;
      for (const extent of extentsOf(download, request))
        this.#send(other, () => other.scheduler.memberReleases(digest, node.peer, extent));
    }
  }

  #refuse(node: SimNode, request: RequestState, answer: 'busy' | 'absent' | 'failed'): void {
    node.running.delete(request.id);
    const retryAfterMs = this.options.busyMs ?? 200;
    node.scheduler.requestEnded(request.id, answer === 'busy' ? { kind: 'busy', retryAfterMs } : { kind: answer });
  }

  /** As the production node: who lets requests stand still again and again is banned. Returns whether it was. */
  #banSilent(node: SimNode, peer: SimNode, stood: RequestState): boolean {
    if (
      stood.receivedBytes > 0 ||
      (!stood.isStalled && stood.promisedMs === undefined) ||
      node.stalls.silent({ ...stood, peer: peer.peer }) === undefined
    )
      return false;
    node.scheduler.ban(peer.peer);
    return true;
  }

  #startFlow(node: SimNode, from: number, request: RequestState, done: () => void): void {
    const download = node.scheduler.downloads.get(request.digest);
    if (download === undefined) {
      done();
      return;
    }
    const start = pieceRange(download.plan, request.first).start;
    const end = pieceRange(download.plan, request.first + request.count - 1).end;
    const range = pieceRange(download.plan, request.first);
    const flow: Flow = {
      from,
      to: node.index,
      request,
      sizeBytes: end - start,
      remaining: end - start,
      piece: request.first,
      pieceRemaining: range.end - range.start,
      rate: 0,
      done,
    };
    const running = node.running.get(request.id);
    if (running !== undefined) running.flow = flow;
    if (from !== ORIGIN) node.scheduler.requestPromised(request.id);
    this.#flows.push(flow);
  }

  /** A piece is through; its receiver hears of it once its event loop is free. */
  #flowed(flow: Flow): void {
    const node = this.nodes[flow.to];
    const plan = node?.scheduler.downloads.get(flow.request.digest)?.plan;
    if (node === undefined || plan === undefined || !this.#flows.includes(flow)) return;
    const { piece } = flow;
    flow.piece += 1;
    const isLast = flow.piece >= flow.request.first + flow.request.count;
    if (isLast) {
      this.#endFlow(flow, false);
    } else {
      const range = pieceRange(plan, flow.piece);
      flow.pieceRemaining = range.end - range.start;
    }
    this.#handle(node, () => this.#pieceArrived(node, flow, piece, isLast));
  }

  #pieceArrived(node: SimNode, flow: Flow, piece: number, isLast: boolean): void {
    const { digest } = flow.request;
    const download = node.scheduler.downloads.get(digest);
    if (download === undefined) return;
    this.#block(node, this.options.starvation?.cpuMsPerPiece ?? 0);
    if (flow.from === ORIGIN) {
      const key = `${digest}/${piece}`;
      this.originPieces.set(key, (this.originPieces.get(key) ?? 0) + 1);
    }
    node.scheduler.requestProgress(flow.request.id, flow.sizeBytes - flow.remaining);
    const isNew = node.scheduler.pieceStored(digest, piece, flow.request.id);
    if (!isNew) this.duplicatePeerPieces += 1;
    if (isLast) {
      node.running.delete(flow.request.id);
      const bytes =
        pieceRange(download.plan, flow.request.first + flow.request.count - 1).end -
        pieceRange(download.plan, flow.request.first).start;
      node.scheduler.requestEnded(flow.request.id, { kind: 'done', bytes });
    }
    if (isNew) {
      node.has.get(digest)?.add(piece);
      if (piece === 0) node.firstByteMs ??= this.#nowMs;
      for (const other of this.nodes) {
        if (other !== node && !other.isDead)
          this.#send(other, () => other.scheduler.memberHas(digest, node.peer, [piece]));
      }
      this.#readers(node);
      if (download.held.isFull) this.layerMs.set(digest, this.#nowMs);
      if ([...node.scheduler.downloads.values()].every((state) => state.held.isFull)) node.finishedMs ??= this.#nowMs;
    }
    this.#dirty.add(node);
  }

  #endFlow(flow: Flow, isFailure: boolean): void {
    this.#flows = this.#flows.filter((other) => other !== flow);
    flow.done();
    if (!isFailure) return;
    const node = this.nodes[flow.to];
    node?.running.delete(flow.request.id);
    node?.scheduler.requestEnded(flow.request.id, { kind: 'failed' });
  }

  #rateOf(link: string): number {
    if (link === 'origin') return this.options.originRate?.(this.#nowMs) ?? this.options.rateBytesPerSecond;
    const index = Number(link.replace(/\D+/, '').split('.')[0]);
    if (link.startsWith('request')) return this.options.originRequestRate?.(index) ?? Number.POSITIVE_INFINITY;
    const rate = this.rates[index] ?? 0;
    return link.startsWith('up') ? Math.min(rate, this.options.uplink?.(index) ?? rate) : rate;
  }

  #standsStill(index: number): boolean {
    const node = this.nodes[index];
    return node !== undefined && (node.isFrozen || node.heldUntilMs > this.#nowMs);
  }

  /** Max-min fair rates by progressive filling over every node's up and down link and the origin's up link. */
  #share(): void {
    const capacity = new Map<string, number>();
    const users = new Map<string, Set<Flow>>();
    const linksOf = new Map<Flow, string[]>();
    for (const flow of this.#flows) {
      flow.rate = 0;
      const isFrozen = this.#standsStill(flow.to) || this.#standsStill(flow.from);
      const isDown = flow.from === ORIGIN ? !this.originUp : this.options.isMute?.(flow.from) === true;
      if (isFrozen || isDown) continue;
      const links = [flow.from === ORIGIN ? 'origin' : `up${flow.from}`, `down${flow.to}`];
      if (flow.from === ORIGIN && this.options.originRequestRate !== undefined)
        links.push(`request${flow.to}.${flow.request.id}`);
      linksOf.set(flow, links);
      for (const link of links) {
        if (!capacity.has(link)) {
          capacity.set(link, this.#rateOf(link));
          users.set(link, new Set());
        }
        users.get(link)?.add(flow);
      }
    }
    while (users.size > 0) {
      let tightest: string | undefined;
      let share = Number.POSITIVE_INFINITY;
      for (const [link, flows] of users) {
        const each = (capacity.get(link) ?? 0) / flows.size;
        if (each < share) {
          share = each;
          tightest = link;
        }
      }
      if (tightest === undefined) break;
      for (const flow of [...(users.get(tightest) ?? [])]) {
        flow.rate = share;
        for (const link of linksOf.get(flow) ?? []) {
          capacity.set(link, Math.max(0, (capacity.get(link) ?? 0) - share));
          users.get(link)?.delete(flow);
          if (users.get(link)?.size === 0) users.delete(link);
        }
      }
      users.delete(tightest);
    }
  }
}
