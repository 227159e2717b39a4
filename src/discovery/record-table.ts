import type { DigestKey } from './digest-key.ts';
import type { Holding } from './directory.ts';

const none = 0xffff_ffff;
const firstCapacity = 1024;

/**
 * Which peer slot provides which digest, in columns of numbers instead of objects: 24 bytes a record plus about 110 a digest, so that
 * a million records stay near 130 MB. Each record hangs in two lists: that of its digest, circular, in order of arrival
 * (the digest knows its tail), and that of its peer, doubly linked, so that a peer's end costs what the peer had.
 */
export class RecordTable {
  readonly #topics = new Map<DigestKey, number>();
  readonly #topicKeys: DigestKey[] = [];
  #topicTail = new Uint32Array(firstCapacity);
  #topicNextRank = new Uint32Array(firstCapacity);
  readonly #freeTopics: number[] = [];

  /** Slot * 2 + 1 if complete. */
  #owner = new Uint32Array(firstCapacity);
  #rank = new Uint32Array(firstCapacity);
  #topic = new Uint32Array(firstCapacity);
  #nextInTopic = new Uint32Array(firstCapacity);
  #nextInPeer = new Uint32Array(firstCapacity);
  #previousInPeer = new Uint32Array(firstCapacity);
  readonly #peerHead: number[] = [];
  readonly #freeRecords: number[] = [];
  #used = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get digests(): number {
    return this.#topics.size;
  }

  /** Adds a record or changes its holding; `before` is undefined for an added one. */
  put(key: DigestKey, slot: number, holding: Holding): { readonly before: Holding | undefined; readonly rank: number } {
    const owner = slot * 2 + (holding === 'complete' ? 1 : 0);
    const known = this.#find(key, slot);
    if (known !== none) {
      const before = holdingOf(at(this.#owner, known));
      this.#owner[known] = owner;
      return { before, rank: at(this.#rank, known) };
    }
    const topic = this.#topics.get(key) ?? this.#addTopic(key);
    const record = this.#allocate();
    const rank = at(this.#topicNextRank, topic);
    this.#topicNextRank[topic] = rank + 1;
    this.#owner[record] = owner;
    this.#rank[record] = rank;
    this.#topic[record] = topic;
    const tail = at(this.#topicTail, topic);
    this.#nextInTopic[record] = tail === none ? record : at(this.#nextInTopic, tail);
    if (tail !== none) this.#nextInTopic[tail] = record;
    this.#topicTail[topic] = record;
    const head = this.#peerHead[slot] ?? none;
    this.#nextInPeer[record] = head;
    this.#previousInPeer[record] = none;
    if (head !== none) this.#previousInPeer[head] = record;
    this.#peerHead[slot] = record;
    this.#size += 1;
    return { before: undefined, rank };
  }

  /** Returns what a record says, or undefined when there is none. */
  find(key: DigestKey, slot: number): Holding | undefined {
    const record = this.#find(key, slot);
    return record === none ? undefined : holdingOf(at(this.#owner, record));
  }

  /** Takes a record out; returns what it said, or undefined. */
  remove(key: DigestKey, slot: number): Holding | undefined {
    const record = this.#find(key, slot);
    if (record === none) return undefined;
    const holding = holdingOf(at(this.#owner, record));
    this.#release(record, slot);
    return holding;
  }

  /** Takes out every record of a peer; returns how many. */
  removePeer(slot: number): number {
    let count = 0;
    for (let record = this.#peerHead[slot] ?? none; record !== none; record = this.#peerHead[slot] ?? none) {
      this.#release(record, slot);
      count += 1;
    }
    return count;
  }

  /** Visits the providers of a digest in order of arrival. */
  visit(key: DigestKey, visitor: (slot: number, holding: Holding, rank: number) => void): void {
    const topic = this.#topics.get(key);
    if (topic === undefined) return;
    const tail = at(this.#topicTail, topic);
    let record = tail;
    do {
      record = at(this.#nextInTopic, record);
      const owner = at(this.#owner, record);
      visitor(owner >>> 1, holdingOf(owner), at(this.#rank, record));
    } while (record !== tail);
  }

  #find(key: DigestKey, slot: number): number {
    const topic = this.#topics.get(key);
    if (topic === undefined) return none;
    const tail = at(this.#topicTail, topic);
    let record = tail;
    do {
      if (at(this.#owner, record) >>> 1 === slot) return record;
      record = at(this.#nextInTopic, record);
    } while (record !== tail);
    return none;
  }

  #release(record: number, slot: number): void {
    this.#unlinkFromTopic(record);
    const next = at(this.#nextInPeer, record);
    const previous = at(this.#previousInPeer, record);
    if (next !== none) this.#previousInPeer[next] = previous;
    if (previous === none) this.#peerHead[slot] = next;
    else this.#nextInPeer[previous] = next;
    this.#freeRecords.push(record);
    this.#size -= 1;
  }

  #unlinkFromTopic(record: number): void {
    const topic = at(this.#topic, record);
    const next = at(this.#nextInTopic, record);
    if (next === record) {
      const key = this.#topicKeys[topic];
      if (key !== undefined) this.#topics.delete(key);
      this.#freeTopics.push(topic);
      return;
    }
    let before = next;
    while (at(this.#nextInTopic, before) !== record) before = at(this.#nextInTopic, before);
    this.#nextInTopic[before] = next;
    if (at(this.#topicTail, topic) === record) this.#topicTail[topic] = before;
  }

  #addTopic(key: DigestKey): number {
    const topic = this.#freeTopics.pop() ?? this.#topicKeys.length;
    if (topic === this.#topicTail.length) {
      this.#topicTail = grown(this.#topicTail);
      this.#topicNextRank = grown(this.#topicNextRank);
    }
    this.#topicKeys[topic] = key;
    this.#topicTail[topic] = none;
    this.#topicNextRank[topic] = 0;
    this.#topics.set(key, topic);
    return topic;
  }

  #allocate(): number {
    const free = this.#freeRecords.pop();
    if (free !== undefined) return free;
    if (this.#used === this.#owner.length) {
      this.#owner = grown(this.#owner);
      this.#rank = grown(this.#rank);
      this.#topic = grown(this.#topic);
      this.#nextInTopic = grown(this.#nextInTopic);
      this.#nextInPeer = grown(this.#nextInPeer);
      this.#previousInPeer = grown(this.#previousInPeer);
    }
    this.#used += 1;
    return this.#used - 1;
  }
}

function holdingOf(owner: number): Holding {
  return (owner & 1) === 1 ? 'complete' : 'fetching';
}

/** Reads a column at a place that the lists guarantee to exist. */
function at(column: Uint32Array, place: number): number {
  return column[place] as number;
}

/** Half as much again: doubling would waste up to half of the bound that `maxRecords` stands for. */
function grown(column: Uint32Array): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(Math.ceil(column.length * 1.5));
  larger.set(column);
  return larger;
}
