import { MemoryDatastore } from 'datastore-core/memory';
import { Key, type KeyQuery, type Pair, type Query } from 'interface-datastore';

/**
 * What libp2p keeps for others, in memory and bounded: records of who provides what, which any member may send to any number, and the address
 * book. A full table forgets its oldest entry; of provider records, the oldest of the peer that has most, so that who floods the table
 * floods itself. Libp2p's own has no bound, and looks at every record it has to find those of one key.
 */
export interface DatastoreBounds {
  readonly providerRecords: number;
  readonly providerRecordsPerPeer: number;
  /** In the address book. */
  readonly peers: number;
  readonly others: number;
  /** Longest value taken, in bytes. */
  readonly valueBytes: number;
}

const datastoreBounds: DatastoreBounds = {
  // About 300 bytes each, 20 MiB.
  providerRecords: 65_536,
  // The images of a node, of which a record is kept at 8 nodes.
  providerRecordsPerPeer: 4096,
  peers: 8192,
  others: 1024,
  // A peer's keys and some hundred addresses.
  valueBytes: 16 * 1024,
};

type AbortOptions = Parameters<MemoryDatastore['put']>[2];

export class BoundedDatastore extends MemoryDatastore {
  readonly #bounds: DatastoreBounds;
  /** Keys by whom they belong to, each oldest first. */
  readonly #tables = new Map<string, Set<string>>();
  /** Keys of provider records by what is provided. */
  readonly #provided = new Map<string, Set<string>>();
  #providerRecords = 0;

  constructor(bounds: DatastoreBounds = datastoreBounds) {
    super();
    this.#bounds = bounds;
  }

  /** @throws RangeError for a value that is too long; who sent it gets an error */
  override put(key: Key, value: Uint8Array, options?: AbortOptions): Key {
    const { valueBytes } = this.#bounds;
    if (value.length > valueBytes) throw new RangeError(`${key}: ${value.length} bytes are more than ${valueBytes}`);
    const text = key.toString();
    const place = placeOf(text);
    this.#forget(text);
    super.put(key, value, options);
    addTo(this.#tables, place.table, text);
    if (place.provided !== undefined) {
      addTo(this.#provided, place.provided, text);
      this.#providerRecords += 1;
    }
    this.#evict(place);
    return key;
  }

  override delete(key: Key, options?: AbortOptions): void {
    super.delete(key, options);
    this.#forget(key.toString());
  }

  override *_all({ prefix = '' }: Query, options?: AbortOptions): Generator<Pair> {
    for (const key of this._allKeys({ prefix }, options)) {
      // Deleted since by whoever walks over them.
      if (this.has(key)) yield { key, value: this.get(key) as Uint8Array };
    }
  }

  override *_allKeys(query: KeyQuery, options?: AbortOptions): Generator<Key> {
    options?.signal?.throwIfAborted();
    for (const text of [...this.#candidates(query.prefix ?? '')]) {
      options?.signal?.throwIfAborted();
      yield new Key(text);
    }
  }

  /** Where keys with the prefix are; of others the caller gets rid. What is provided is asked for in full, never by its beginning. */
  #candidates(prefix: string): Iterable<string> {
    if (prefix.startsWith(`/${peersTable}`)) return this.#tables.get(peersTable) ?? [];
    const [, , kind, provided] = prefix.split('/');
    if (kind === 'provider' && provided !== undefined) return this.#provided.get(prefix) ?? [];
    return this.#tables.values().flatMap((table) => table.values());
  }

  #evict({ table, provided }: Place): void {
    const isProvider = provided !== undefined;
    const { peers, others, providerRecords, providerRecordsPerPeer } = this.#bounds;
    const most = isProvider ? providerRecordsPerPeer : table === peersTable ? peers : others;
    const own = this.#tables.get(table);
    if (own !== undefined && own.size > most) this.#dropOldest(own);
    if (isProvider && this.#providerRecords > providerRecords) this.#dropOldest(this.#largestOfProviders());
  }

  #largestOfProviders(): ReadonlySet<string> {
    let largest: ReadonlySet<string> = new Set();
    for (const [name, table] of this.#tables) if (isProviderTable(name) && table.size > largest.size) largest = table;
    return largest;
  }

  #dropOldest(table: ReadonlySet<string>): void {
    const [oldest] = table;
    if (oldest !== undefined) this.delete(new Key(oldest));
  }

  #forget(text: string): void {
    const { table, provided } = placeOf(text);
    if (!deleteFrom(this.#tables, table, text) || provided === undefined) return;
    deleteFrom(this.#provided, provided, text);
    this.#providerRecords -= 1;
  }
}

/** `provided`: the prefix that kad-dht looks for, when the key is that of a provider record. */
interface Place {
  readonly table: string;
  readonly provided?: string;
}

const peersTable = 'peers';
const isProviderTable = (name: string) => name.startsWith('provider ');

/** Keys are `/dht/provider/<multihash>/<peer>`, `/dht/record/…` and `/peers/…`. */
function placeOf(text: string): Place {
  const [, first = '', kind, provided, peer, ...rest] = text.split('/');
  if (kind === 'provider' && provided !== undefined && peer !== undefined && rest.length === 0)
    return { table: `provider ${peer}`, provided: `/${first}/${kind}/${provided}` };
  return { table: first === peersTable ? peersTable : 'others' };
}

function addTo(tables: Map<string, Set<string>>, name: string, text: string): void {
  const table = tables.get(name);
  if (table === undefined) tables.set(name, new Set([text]));
  else table.add(text);
}

function deleteFrom(tables: Map<string, Set<string>>, name: string, text: string): boolean {
  const table = tables.get(name);
  if (table?.delete(text) !== true) return false;
  if (table.size === 0) tables.delete(name);
  return true;
}
