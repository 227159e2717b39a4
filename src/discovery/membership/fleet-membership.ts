import { isIP } from 'node:net';
import type { PeerId } from '../../content/peer-id.ts';
import type { Health } from '../../health/health.ts';
import { type Clock, delay, type Random } from '../../lib/clock.ts';
import { CodedError, isCode, toError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/logger.ts';
import { raceAbort } from '../../lib/race-abort.ts';
import { TaskGroup } from '../../lib/task-group.ts';
import type { PeerChange, PeerNetwork } from '../../peer/peer-network.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Member, Membership } from '../membership.ts';
import { createDiscoveryMetrics, type DiscoveryMetrics } from '../metrics.ts';
import { type BootstrapEntry, parseBootstrapEntry } from './bootstrap-entry.ts';
import { DialPlan, type DialTarget } from './dial-plan.ts';
import type { PeerSource } from './mdns-service.ts';
import { MemberBook } from './member-book.ts';
import { MembersExchange, type MembersExchangeOptions } from './members-exchange.ts';
import type { MemberAddresses } from './members-protocol.ts';
import { type Resolver, resolveEntry } from './resolver.ts';

export interface MembershipDeps {
  readonly network: PeerNetwork;
  readonly resolver: Resolver;
  /** mDNS, where it is switched on. */
  readonly mdns?: PeerSource;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly health: Health;
  readonly metrics: Metrics;
}

export interface MembershipOptions extends MembersExchangeOptions {
  /** `host:port`, `name:port` resolving to many, SRV name, or multiaddr. */
  readonly bootstrap: readonly string[];
  readonly dialTimeoutMs: number;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** How often names are resolved again; while alone, at every retry. */
  readonly resolveIntervalMs: number;
  /** Over so many connections, members heard of are not dialled. */
  readonly maxConnections: number;
  readonly maxParallelDials: number;
  readonly maxMembers: number;
  /** After so long without a sign, an address or a member that is not configured is forgotten. */
  readonly forgetAfterMs: number;
  /** `settled` waits no longer than this. */
  readonly settleTimeoutMs: number;
}

/**
 * Starts looking for the fleet.
 * @throws DISCOVERY_BOOTSTRAP_INVALID
 */
export async function startMembership(
  deps: MembershipDeps,
  options: MembershipOptions,
): Promise<Membership & AsyncDisposable> {
  const membership = new FleetMembership(deps, options, options.bootstrap.map(parseBootstrapEntry));
  membership.start();
  return membership;
}

class FleetMembership implements Membership, AsyncDisposable {
  readonly #deps: MembershipDeps;
  readonly #options: MembershipOptions;
  readonly #entries: readonly BootstrapEntry[];
  readonly #metrics: DiscoveryMetrics;
  readonly #tasks: TaskGroup;
  readonly #plan: DialPlan;
  readonly #book: MemberBook;
  readonly #exchange: MembersExchange;
  readonly #settled = Promise.withResolvers<void>();
  readonly #refused = new Set<string>();
  #stopWatching: readonly ((() => void) | undefined)[] = [];
  #wake = Promise.withResolvers<void>();
  #hasResolved = false;
  #isSettled = false;

  constructor(deps: MembershipDeps, options: MembershipOptions, entries: readonly BootstrapEntry[]) {
    const { network, clock, random, logger } = deps;
    this.#deps = deps;
    this.#options = options;
    this.#entries = entries;
    this.#metrics = createDiscoveryMetrics(deps.metrics);
    this.#tasks = new TaskGroup((error) => logger.error({ err: error }, 'membership task failed'));
    this.#plan = new DialPlan(random, { ...options, self: network.self, maxTargets: options.maxMembers * 2 });
    this.#book = new MemberBook(options.maxMembers);
    this.#exchange = new MembersExchange(
      {
        network,
        clock,
        random,
        logger,
        tasks: this.#tasks,
        book: this.#book,
        onMembers: (from, members) => this.#learn(from, members),
        onIdle: () => this.#step(),
      },
      options,
    );
  }

  start(): void {
    const { network, mdns, clock } = this.#deps;
    const nowMs = clock.nowMs();
    this.#stopWatching = [
      network.onPeerChange((change) => this.#onPeerChange(change)),
      mdns?.onPeer((peer, addresses) => this.#offerAll(addresses, 'mdns', peer)),
      clock.schedule(this.#options.settleTimeoutMs, () => this.#settle()),
    ];
    for (const entry of this.#entries) {
      if (entry.kind === 'address') this.#plan.offer(entry.address, 'static', nowMs);
    }
    this.#exchange.start();
    for (const { peer } of network.peers()) this.#onPeerChange({ kind: 'connected', peer });
    this.#tasks.run((signal) => this.#resolveLoop(signal));
    this.#tasks.run((signal) => this.#dialLoop(signal));
  }

  members(): readonly Member[] {
    const { network } = this.#deps;
    return this.#book.all().map(({ peer, addresses, lastSeenMs }) => {
      const isConnected = network.findPeer(peer) !== undefined;
      const source = this.#plan.sourceOf(peer) ?? 'inbound';
      return { peer, isConnected, source, addresses, lastSeenMs: isConnected ? this.#deps.clock.wallMs() : lastSeenMs };
    });
  }

  async settled(signal: AbortSignal): Promise<void> {
    await raceAbort(this.#settled.promise, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stopWatching) stop?.();
    this.#exchange.stop();
    await this.#tasks.stop();
    this.#settled.resolve();
    this.#deps.health.clear('DISCOVERY_ALONE');
  }

  #onPeerChange({ kind, peer }: PeerChange): void {
    const { clock, logger, network } = this.#deps;
    this.#book.saw(peer, clock.wallMs());
    if (kind === 'connected') {
      logger.info({ peer, host: network.findPeer(peer)?.host }, 'member connected');
      this.#plan.connected(peer);
      this.#exchange.connected(peer);
    } else {
      logger.info({ peer }, 'member disconnected');
      this.#plan.disconnected(peer, clock.nowMs());
    }
    this.#step();
  }

  /** Takes what a member says of itself as its addresses, and what it says of others as hints to dial. */
  #learn(from: PeerId, members: readonly MemberAddresses[]): void {
    const { network, clock } = this.#deps;
    for (const { peer, addresses } of members) {
      if (peer === network.self) continue;
      const told = peer === from ? withObservedHost(addresses, network.findPeer(peer)?.host) : addresses;
      if (peer === from) this.#book.saw(peer, clock.wallMs(), told);
      this.#offerAll(told, 'dht', peer);
    }
  }

  #offerAll(addresses: readonly string[], source: 'mdns' | 'dht', peer: PeerId): void {
    const nowMs = this.#deps.clock.nowMs();
    for (const address of addresses) this.#plan.offer(address, source, nowMs, peer);
    this.#step();
  }

  async #resolveLoop(signal: AbortSignal): Promise<void> {
    const names = this.#entries.filter((entry) => entry.kind !== 'address');
    const { clock, network } = this.#deps;
    if (names.length === 0) {
      this.#hasResolved = true;
      this.#step();
      return;
    }
    while (!signal.aborted) {
      await Promise.all(names.map((entry) => this.#resolve(entry, signal)));
      this.#hasResolved = true;
      this.#step();
      const isAlone = network.peers().length === 0;
      const waitMs = isAlone
        ? Math.min(this.#options.resolveIntervalMs, this.#options.retryMaxMs / 4)
        : this.#options.resolveIntervalMs;
      await delay(clock, waitMs, signal);
    }
  }

  async #resolve(entry: BootstrapEntry, signal: AbortSignal): Promise<void> {
    const { resolver, clock, logger, network } = this.#deps;
    try {
      const addresses = await resolveEntry(entry, resolver);
      signal.throwIfAborted();
      const own = new Set(network.addresses().map(hostPortOf));
      for (const address of addresses) if (!own.has(address)) this.#plan.offer(address, 'dns', clock.nowMs());
    } catch (error) {
      if (!isCode(error, 'DISCOVERY_RESOLVE_FAILED')) throw error;
      logger.debug({ code: error.code, ...error.details }, 'bootstrap name does not resolve');
    }
  }

  async #dialLoop(signal: AbortSignal): Promise<void> {
    const { clock, network } = this.#deps;
    while (!signal.aborted) {
      const nowMs = clock.nowMs();
      this.#plan.forget(nowMs);
      const forgetBefore = clock.wallMs() - this.#options.forgetAfterMs;
      this.#book.forget(forgetBefore, (peer) => network.findPeer(peer) !== undefined);
      const connections = network.peers().length;
      const free = this.#options.maxParallelDials - this.#plan.dialling;
      const room = this.#options.maxConnections - connections - this.#plan.dialling;
      const targets = this.#plan.take(nowMs, free, room);
      for (const target of targets) this.#tasks.run(() => this.#dial(target, signal));
      this.#report();
      await this.#waitForDue(signal);
    }
  }

  async #waitForDue(signal: AbortSignal): Promise<void> {
    const { clock, network } = this.#deps;
    const nowMs = clock.nowMs();
    const { maxParallelDials, maxConnections } = this.#options;
    const isFull = this.#plan.dialling >= maxParallelDials || network.peers().length >= maxConnections;
    const dueAtMs = isFull ? undefined : this.#plan.nextDueAtMs();
    // At least a step of time: what is due and was not taken waits for another dial or a free connection.
    const waitMs = Math.max(this.#options.retryMinMs / 4, (dueAtMs ?? Number.POSITIVE_INFINITY) - nowMs);
    const woken = new AbortController();
    const bounded = Math.min(waitMs, this.#options.resolveIntervalMs);
    const waiting = delay(clock, bounded, AbortSignal.any([signal, woken.signal])).catch(() => {});
    await Promise.race([waiting, this.#wake.promise]);
    woken.abort();
    this.#wake = Promise.withResolvers();
  }

  async #dial(target: DialTarget, signal: AbortSignal): Promise<void> {
    const { network, clock, logger } = this.#deps;
    const deadline = new AbortController();
    const cancel = clock.schedule(this.#options.dialTimeoutMs, () => {
      deadline.abort(new DOMException('the dial took too long', 'TimeoutError'));
    });
    try {
      const peer = await network.dial(target.address, AbortSignal.any([signal, deadline.signal]));
      this.#plan.succeeded(target.address, peer, clock.nowMs());
      this.#refused.delete(target.address);
      this.#metrics.dials.add(1, { result: 'ok' });
    } catch (error) {
      signal.throwIfAborted();
      const reason = failureReason(error);
      this.#plan.failed(target.address, clock.nowMs(), reason);
      this.#metrics.dials.add(1, { result: reason });
      const fields = { address: target.address, source: target.source, reason: toError(error).message };
      if (
        reason === 'untrusted' &&
        !isBannedHere(error) &&
        !isClosedEarly(error) &&
        !this.#refused.has(target.address)
      ) {
        if (this.#refused.size >= this.#options.maxMembers) this.#refused.clear();
        this.#refused.add(target.address);
        logger.warn(fields, 'a node is not let in: its secret or its identity differs, or it has banned this node');
      } else {
        logger.debug(fields, 'member could not be reached');
      }
    } finally {
      cancel();
      this.#step();
    }
  }

  /** Something changed: look again what to dial, and whether the first round has ended. */
  #step(): void {
    this.#wake.resolve();
    if (!this.#isSettled && this.#hasResolved && this.#plan.isSettled && this.#exchange.isIdle) this.#settle();
    else if (this.#isSettled) this.#reportAlone();
  }

  #settle(): void {
    this.#isSettled = true;
    this.#settled.resolve();
    this.#reportAlone();
  }

  #reportAlone(): void {
    const { health, network, mdns } = this.#deps;
    const isLooking = this.#entries.length > 0 || mdns !== undefined;
    if (!isLooking || network.peers().length > 0) {
      health.clear('DISCOVERY_ALONE');
      return;
    }
    health.set({
      code: 'DISCOVERY_ALONE',
      severity: 'notice',
      text: 'No other node of the fleet has been reached; images come from their origins only.',
      remedy:
        'Check that fleet.bootstrap names running nodes, that their peer port is open from here, and that all nodes have the same fleet secret.',
    });
  }

  #report(): void {
    const { network } = this.#deps;
    const connected = network.peers().length;
    this.#metrics.members.set(connected, { state: 'connected' });
    this.#metrics.members.set(Math.max(0, this.#book.all().length - connected), { state: 'known' });
  }
}

function failureReason(error: unknown): 'unreachable' | 'untrusted' | 'self' {
  if (isCode(error, 'PEER_UNTRUSTED') || isClosedEarly(error)) return 'untrusted';
  return error instanceof CodedError && error.details['reason'] === 'self' ? 'self' : 'unreachable';
}

/** Who has banned this node closes without a word behind the handshake, and will again; but so does, rarely, one that is stopping. */
function isClosedEarly(error: unknown): boolean {
  return isCode(error, 'PEER_UNREACHABLE') && error.details['reason'] === 'closed';
}

/** Whom this node banned it has named in its log already. */
function isBannedHere(error: unknown): boolean {
  return isCode(error, 'PEER_UNTRUSTED') && error.details['reason'] === 'banned';
}

/** Adds the address the connection really comes from: behind NAT or in a container a node may not know it itself. */
function withObservedHost(addresses: readonly string[], host: string | undefined): readonly string[] {
  const family = host === undefined ? 0 : isIP(host);
  const tail = addresses
    .map((address) => /\/tcp\/\d+\/p2p\/[^/]+$/.exec(address)?.[0])
    .find((part) => part !== undefined);
  if (family === 0 || tail === undefined) return addresses;
  const observed = `/ip${family}/${host}${tail}`;
  return addresses.includes(observed) ? addresses : [...addresses, observed];
}

function hostPortOf(address: string): string {
  const [, family, host, , port] = address.split('/');
  return family === 'ip6' ? `[${host}]:${port}` : `${host}:${port}`;
}
