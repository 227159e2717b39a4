import { Key } from 'interface-datastore';
import { describe, expect, it } from 'vitest';
import { BoundedDatastore } from '../../../src/peer/libp2p/bounded-datastore.ts';

const value = Buffer.from('value');
const bounds = { providerRecords: 6, providerRecordsPerPeer: 4, peers: 2, others: 2, valueBytes: 8 };

function setUp(keys: readonly string[] = []) {
  const datastore = new BoundedDatastore(bounds);
  for (const key of keys) datastore.put(new Key(key), value);
  return datastore;
}

async function keysOf(datastore: BoundedDatastore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of datastore.query({ prefix })) keys.push(key.toString());
  return keys;
}

const record = (provided: string, peer: string) => `/dht/provider/${provided}/${peer}`;

describe('the datastore of libp2p', () => {
  it('finds what is under a prefix: one thing’s providers, all of them, the address book, everything', async () => {
    const records = [record('x', 'ann'), record('x', 'ben'), record('y', 'ann')];
    const datastore = setUp([...records, '/peers/ann', '/dht/record/z']);
    expect(await keysOf(datastore, '/dht/provider/x')).toEqual(records.slice(0, 2));
    expect((await keysOf(datastore, '/dht/provider')).sort()).toEqual(records);
    expect(await keysOf(datastore, '/peers/')).toEqual(['/peers/ann']);
    expect(await keysOf(datastore, '/')).toHaveLength(5);
    expect(await keysOf(datastore, '/dht/provider/none')).toEqual([]);
    // Without a look at the others, which may be many.
    const looked = (prefix: string) => [...datastore._allKeys({ prefix })].length;
    expect(['/dht/provider/none', '/dht/provider/x', '/peers'].map(looked)).toEqual([0, 2, 1]);
  });

  it('goes on while what it walks over is deleted', async () => {
    const datastore = setUp([record('x', 'ann'), record('x', 'ben'), record('x', 'cid')]);
    const found: string[] = [];
    for await (const { key } of datastore.query({ prefix: '/dht/provider/x' })) {
      found.push(key.toString());
      for (const peer of ['ann', 'ben']) datastore.delete(new Key(record('x', peer)));
    }
    expect(found).toEqual([record('x', 'ann'), record('x', 'cid')]);
    expect(await keysOf(datastore, '/')).toEqual([record('x', 'cid')]);
  });

  it('forgets a peer’s own oldest record when it has too many, and counts one put again once, as its latest', async () => {
    const datastore = setUp(['1', '2', '3', '4', '1', '5'].map((provided) => record(provided, 'ann')));
    expect((await keysOf(datastore, '/')).sort()).toEqual(['1', '3', '4', '5'].map((it) => record(it, 'ann')));
  });

  it('takes room from whoever has most when there are too many records', async () => {
    const datastore = setUp([record('1', 'ben'), record('2', 'cid'), record('3', 'cid')]);
    for (const provided of ['1', '2', '3', '4', '5']) datastore.put(new Key(record(provided, 'ann')), value);
    expect((await keysOf(datastore, '/')).sort()).toEqual(
      [
        record('1', 'ben'),
        record('2', 'cid'),
        record('3', 'cid'),
        ...['3', '4', '5'].map((it) => record(it, 'ann')),
      ].sort(),
    );
    // Deleted ones count no more.
    for (const provided of ['3', '4', '5']) datastore.delete(new Key(record(provided, 'ann')));
    for (const provided of ['6', '7', '8']) datastore.put(new Key(record(provided, 'dan')), value);
    expect(await keysOf(datastore, '/')).toHaveLength(6);
  });

  it('bounds the address book and the rest as well, and the length of a value', async () => {
    const datastore = setUp(['/peers/ann', '/peers/ben', '/peers/cid', '/a', '/b', '/c', '/dht/provider/x']);
    expect((await keysOf(datastore, '/')).sort()).toEqual(['/c', '/dht/provider/x', '/peers/ben', '/peers/cid']);
    expect(() => datastore.put(new Key('/peers/dan'), Buffer.alloc(9))).toThrow(RangeError);
    expect(datastore.has(new Key('/peers/dan'))).toBe(false);
    expect(() => datastore.get(new Key('/a'))).toThrow();
  });
});
