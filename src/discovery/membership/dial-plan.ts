import type { PeerId } from '../../content/peer-id.ts';
import type { Random } from '../../lib/clock.ts';
import type { Member } from '../membership.ts';

/**
 * Decides whom to dial when; knows nothing of sockets. A target is an address:
 *
 *   waiting   due at a time; dialled unless its peer is connected or being dialled at another address
 *   dialling  until `succeeded` or `failed`
 *
 * Failures back off exponentially with full jitter, for ever. Configured targets stay; others are forgotten when nobody has offered
 * them for a while and they do not answer. An address that turned out to be this node is left alone until the address may have moved.
 */
export interface DialPlanOptions {
  readonly self: PeerId;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  readonly forgetAfterMs: number;
  readonly maxTargets: number;
}

export type TargetSource = Exclude<Member['source'], 'inbound'>;

export interface DialTarget {
  readonly address: string;
  readonly source: TargetSource;
  /** Who answers there, as offered or as met the last time. */
  readonly peer: PeerId | undefined;
}

interface Target extends DialTarget {
  peer: PeerId | undefined;
  isDialling: boolean;
  attempts: number;
  failures: number;
  dueAtMs: number;
  offeredAtMs: number;
}

export class DialPlan {
  readonly #random: Random;
  readonly #options: DialPlanOptions;
  readonly #targets = new Map<string, Target>();
  readonly #connected = new Set<PeerId>();
  #dialling = 0;

  constructor(random: Random, options: DialPlanOptions) {
    this.#random = random;
    this.#options = options;
  }

  get size(): number {
    return this.#targets.size;
  }

  get dialling(): number {
    return this.#dialling;
  }

  /** Tells whether every target has been tried once, or need not be. */
  get isSettled(): boolean {
    if (this.#dialling > 0) return false;
    for (const target of this.#targets.values()) if (target.attempts === 0 && !this.#isHeld(target)) return false;
    return true;
  }

  /** Adds a target, or keeps it from being forgotten. */
  offer(address: string, source: TargetSource, nowMs: number, peer?: PeerId): void {
    if (peer === this.#options.self) return;
    const known = this.#targets.get(address);
    if (known !== undefined) {
      known.offeredAtMs = nowMs;
      return;
    }
    if (this.#targets.size >= this.#options.maxTargets && source !== 'static') return;
    this.#targets.set(address, {
      address,
      source,
      peer,
      isDialling: false,
      attempts: 0,
      failures: 0,
      dueAtMs: nowMs,
      offeredAtMs: nowMs,
    });
  }

  /** Takes up to `count` targets to dial now, at most `maxLearnt` of them told of by other members. */
  take(nowMs: number, count: number, maxLearnt: number): DialTarget[] {
    let learnt = 0;
    const taken: Target[] = [];
    const peers = new Set<PeerId>();
    for (const target of this.#targets.values()) if (target.isDialling && target.peer) peers.add(target.peer);
    for (const target of this.#targets.values()) {
      if (taken.length >= count) break;
      if (target.isDialling || target.dueAtMs > nowMs || this.#isHeld(target)) continue;
      if (target.source === 'dht' && learnt >= maxLearnt) continue;
      if (target.peer !== undefined) {
        if (peers.has(target.peer)) continue;
        peers.add(target.peer);
      }
      if (target.source === 'dht') learnt += 1;
      target.isDialling = true;
      target.attempts += 1;
      this.#dialling += 1;
      taken.push(target);
    }
    return taken;
  }

  succeeded(address: string, peer: PeerId, nowMs: number): void {
    const target = this.#end(address);
    if (target === undefined) return;
    if (peer === this.#options.self) {
      this.#leaveAlone(target, nowMs);
      return;
    }
    target.peer = peer;
    target.failures = 0;
    target.dueAtMs = nowMs + this.#jitter(this.#options.retryMinMs);
    target.offeredAtMs = nowMs;
  }

  failed(address: string, nowMs: number, reason: 'unreachable' | 'untrusted' | 'self'): void {
    const target = this.#end(address);
    if (target === undefined) return;
    if (reason === 'self') {
      this.#leaveAlone(target, nowMs);
      return;
    }
    const { retryMinMs, retryMaxMs } = this.#options;
    // Who refuses the secret, or has banned this node, will do so in a second too; but the operator may correct it.
    const ceilingMs = reason === 'untrusted' ? retryMaxMs : Math.min(retryMaxMs, retryMinMs * 2 ** target.failures);
    target.failures += 1;
    target.dueAtMs = nowMs + this.#jitter(ceilingMs);
  }

  connected(peer: PeerId): void {
    this.#connected.add(peer);
  }

  disconnected(peer: PeerId, nowMs: number): void {
    this.#connected.delete(peer);
    for (const target of this.#targets.values()) {
      if (target.peer !== peer || target.isDialling) continue;
      target.failures = 0;
      target.offeredAtMs = nowMs;
      // Spread, because a node that restarts loses everyone at once.
      target.dueAtMs = nowMs + this.#jitter(this.#options.retryMinMs);
    }
  }

  /** Drops what is neither configured nor offered lately nor connected. */
  forget(nowMs: number): void {
    for (const [address, target] of this.#targets) {
      if (target.source === 'static' || target.isDialling) continue;
      if (target.peer !== undefined && this.#connected.has(target.peer)) continue;
      if (nowMs - target.offeredAtMs >= this.#options.forgetAfterMs) this.#targets.delete(address);
    }
  }

  /** When `take` may have something next; undefined when nothing waits. */
  nextDueAtMs(): number | undefined {
    let next: number | undefined;
    for (const target of this.#targets.values()) {
      if (target.isDialling || this.#isHeld(target)) continue;
      if (next === undefined || target.dueAtMs < next) next = target.dueAtMs;
    }
    return next;
  }

  /** How a peer was found, best known source first. */
  sourceOf(peer: PeerId): TargetSource | undefined {
    const sources = new Set<TargetSource>();
    for (const target of this.#targets.values()) if (target.peer === peer) sources.add(target.source);
    return (['static', 'dns', 'mdns', 'dht'] as const).find((source) => sources.has(source));
  }

  #isHeld(target: Target): boolean {
    return target.peer !== undefined && this.#connected.has(target.peer);
  }

  #end(address: string): Target | undefined {
    const target = this.#targets.get(address);
    if (target?.isDialling !== true) return undefined;
    target.isDialling = false;
    this.#dialling -= 1;
    return target;
  }

  /** A container's address may belong to another node tomorrow: look again after the time in which others are forgotten. */
  #leaveAlone(target: Target, nowMs: number): void {
    target.dueAtMs = nowMs + this.#options.forgetAfterMs;
  }

  #jitter(ceilingMs: number): number {
    return Math.ceil(this.#random.next() * ceilingMs);
  }
}
