import { getEventListeners } from 'node:events';
import { beforeEach, describe, expect, it } from 'vitest';
import { digestOf } from '../../../src/oci/digest.ts';
import { PeerError } from '../../../src/peer/errors.ts';
import { generateIdentity, type PeerIdentity } from '../../../src/peer/identity.ts';
import { formatTarget } from '../../../src/peer/tls/bulk-request.ts';
import { maxRequestHeadBytes } from '../../../src/peer/tls/request-head.ts';
import { type BulkDialogueOptions, startBulkDialogue } from '../../support/bulk-dialogue.ts';
import { MemoryPieceSource, makeBlob, type TestBlob } from '../../support/memory-piece-source.ts';

const never = () => new Promise<never>(() => {});
const KiB = 1024;

let identity: PeerIdentity;
let blob: TestBlob;
let source: MemoryPieceSource;
beforeEach(async () => {
  identity ??= await generateIdentity();
  blob ??= makeBlob(identity, 2048 * KiB, 5);
  source = new MemoryPieceSource();
  source.add(blob);
});

function start(changes: BulkDialogueOptions['changes'] = {}, isMember = true) {
  const dialogue = startBulkDialogue({ peer: identity.peerId, source, changes, isMember });
  dialogue.listen();
  return dialogue;
}

function get(first: number, count = 1, headers = '', digest = blob.key.digest): string {
  return `GET ${formatTarget({ digest, first, count })} HTTP/1.1\r\nHost: shoal\r\n${headers}\r\n`;
}
const getAbsent = () => get(0, 1, '', digestOf(Buffer.from('absent')));

/** How much of the blob, from its start, is what came behind the heads, joined; -1 when it is something else. */
function receivedBytes(text: string): number {
  let found = '';
  for (let rest = text; rest !== ''; ) {
    const start = rest.indexOf('\r\n\r\n') + 4;
    const end = start + Number(/content-length: (\d+)/.exec(rest.slice(0, start))?.[1]);
    found += rest.slice(start, end);
    rest = rest.slice(end);
  }
  return Buffer.from(found, 'latin1').equals(blob.bytes.subarray(0, found.length)) ? found.length : -1;
}

describe('requests', () => {
  it('are answered one after the other, with the bytes', async () => {
    const dialogue = start();
    dialogue.say(get(0));
    await dialogue.until(() => expect(source.releasedBytes).toEqual([64 * KiB]));
    dialogue.say(get(1, 2, 'Range: bytes=65536-262143\r\n'));
    await dialogue.until(() => expect(source.releasedBytes).toEqual([64 * KiB, 192 * KiB]));
    await dialogue.until(() => expect(receivedBytes(dialogue.text())).toBe(256 * KiB));
    expect(dialogue.statuses()).toEqual([206, 206]);
    expect(dialogue.text()).toMatch(
      /^HTTP\/1\.1 206 Partial Content\r\ncontent-type: application\/octet-stream\r\ncontent-length: 65536\r\ncontent-range: bytes 0-65535\/2097152\r\nshoal-pieces: [\w+/=]+\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\n\r\n/,
    );
    expect(dialogue.outcomes).toEqual(['sent', 'sent']);
    expect(dialogue.pool.usedBytes).toBe(0);
  });

  it('are answered in order when they come at once', async () => {
    const dialogue = start();
    dialogue.say(get(0) + getAbsent() + get(1) + get(99) + get(2));
    await dialogue.until(() => expect(dialogue.statuses()).toEqual([206, 404, 206, 404, 206]));
    await dialogue.until(() => expect(receivedBytes(dialogue.text())).toBe(256 * KiB));
    expect(source.openRuns).toBe(0);
  });

  it('wait for the one before, whatever its source does', async () => {
    const dialogue = start();
    const opening = Promise.withResolvers<void>();
    source.beforeOpen = () => opening.promise;
    dialogue.say(get(0));
    dialogue.say('POST / HTTP/1.1\r\nHost: shoal\r\n\r\n');
    await dialogue.pass(5_000);
    expect(source.opened).toBe(1);
    expect(dialogue.text()).toBe('');
    opening.resolve();
    await dialogue.until(() => expect(dialogue.statuses()).toEqual([206, 405]));
  });

  it('are read from as many parts as there are bytes, a second one too', async () => {
    const dialogue = start();
    for (const byte of get(0) + get(1)) dialogue.say(byte);
    await dialogue.until(() => expect(source.releasedBytes).toEqual([64 * KiB, 64 * KiB]));
  });

  it('that come faster than they are answered end the connection and the run', async () => {
    const dialogue = start();
    source.read = never;
    dialogue.say(get(0));
    await dialogue.until(() => expect(source.openRuns).toBe(1));
    dialogue.say('x'.repeat(maxRequestHeadBytes));
    await dialogue.pass(0);
    expect(dialogue.theirs.destroyed).toBe(false);
    dialogue.say('x');
    await dialogue.until(() => expect(source.releasedBytes).toEqual([0]));
    expect(dialogue.theirs.destroyed).toBe(true);
    expect(dialogue.connection.signal.reason).toMatchObject({ code: 'PEER_OVERFLOW' });
    expect(dialogue.outcomes).toEqual(['failed']);
    expect(dialogue.pool.usedBytes).toBe(0);
  });

  it('leave nothing behind on the signal of the connection', async () => {
    const dialogue = start();
    for (let round = 1; round <= 20; round += 1) {
      dialogue.say(get(0));
      await dialogue.until(() => expect(source.releasedBytes).toHaveLength(round));
    }
    expect(getEventListeners(dialogue.connection.signal, 'abort')).toHaveLength(0);
    expect(dialogue.clock.pending).toBeLessThanOrEqual(1);
  });
});

describe('refusals', () => {
  it.each([
    ['a target that is none', 'GET /v1/other HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['too many pieces', () => get(0, 17), 400],
    ['another method', 'DELETE / HTTP/1.1\r\nHost: x\r\n\r\n', 405],
    ['another range', () => get(0, 1, 'Range: bytes=0-9\r\n'), 416],
    ['a range that is none', () => get(0, 1, 'Range: pieces=0-9\r\n'), 416],
    ['absent pieces', getAbsent, 404],
  ])('keep the connection: %s', async (_case, text, status) => {
    const dialogue = start();
    dialogue.say(typeof text === 'string' ? text : text());
    await dialogue.until(() => expect(dialogue.statuses()).toEqual([status]));
    expect(dialogue.text()).toContain('content-length: 0\r\nConnection: keep-alive\r\n');
    dialogue.say(get(0));
    await dialogue.until(() => expect(source.releasedBytes.at(-1)).toBe(64 * KiB));
  });

  it.each([
    ['a request line that is none', 'SSH-2.0-OpenSSH\r\n', 400],
    ['a bare line feed', 'GET / HTTP/1.1\nHost: x\n\n', 400],
    ['a head that is too long', `GET / HTTP/1.1\r\nHost: x\r\nA: ${'x'.repeat(20_000)}`, 431],
    ['a body', () => get(0, 1, 'Content-Length: 9000\r\n') + 'x'.repeat(9000), 400],
    ['a transfer coding', () => `${get(0, 1, 'Transfer-Encoding: chunked\r\n')}0\r\n\r\n`, 400],
    ['a body of another method', `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n${'x'.repeat(9000)}`, 405],
  ])('end the connection in good order: %s', async (_case, text, status) => {
    const dialogue = start();
    dialogue.say(typeof text === 'string' ? text : text());
    dialogue.say(get(0));
    await dialogue.until(() => expect(dialogue.theirs.destroyed).toBe(true));
    await dialogue.until(() => expect(dialogue.statuses()).toEqual([status]));
    expect(dialogue.text()).toContain('\r\nConnection: close\r\n');
    expect(dialogue.outcomes).toEqual(['invalid']);
    expect(source.opened).toBe(0);
  });

  it('come at once for a first part that is no HTTP, and else when the head is complete: it is not read anew for each part', async () => {
    const early = start();
    early.say('SSH-2.0-OpenSSH\r\n');
    await early.until(() => expect(early.statuses()).toEqual([400]));
    const late = start();
    late.say('GET / HTTP/1.1\r\n');
    await late.pass(0);
    for (const byte of 'no header\r\nHost: x\r\n\r') {
      late.say(byte);
      await late.pass(0);
    }
    expect(late.statuses()).toEqual([]);
    late.say('\n');
    await late.until(() => expect(late.statuses()).toEqual([400]));
    const long = start();
    long.say('GET / HTTP/1.1\r\nA: ');
    await long.pass(0);
    long.say('x'.repeat(maxRequestHeadBytes));
    await long.until(() => expect(long.statuses()).toEqual([431]));
  });

  it('end the connection of a stranger', async () => {
    const dialogue = start({}, false);
    dialogue.say(get(0) + get(0));
    await dialogue.until(() => expect(dialogue.theirs.destroyed).toBe(true));
    await dialogue.until(() => expect(dialogue.statuses()).toEqual([403]));
    expect(source.opened).toBe(0);
  });

  it('say when to come back, and that pieces could not be read', async () => {
    const dialogue = start();
    source.beforeOpen = async () => {
      source.beforeOpen = () => Promise.reject(new Error('disk on fire'));
      throw new PeerError('PEER_BUSY', 'full', { details: { retryAfterMs: 12.3 } });
    };
    dialogue.say(get(0) + get(0));
    await dialogue.until(() => expect(dialogue.statuses()).toEqual([503, 500]));
    expect(dialogue.text()).toContain('\r\nshoal-retry-after-ms: 13\r\n');
  });

  it('say when to come back to who asks too much at once', async () => {
    const dialogue = start({ maxRequestsPerPeer: 0 });
    dialogue.say(get(0));
    await dialogue.until(() => expect(dialogue.statuses()).toEqual([503]));
    expect(dialogue.text()).toContain('\r\nshoal-retry-after-ms: 250\r\n');
  });
});

describe('the end of a connection', () => {
  it('is behind the answer when the peer wants it there', async () => {
    const dialogue = start();
    dialogue.say(get(0, 1, 'Connection: close\r\n'));
    await dialogue.until(() => expect(dialogue.theirs.destroyed).toBe(true));
    await dialogue.until(() => expect(receivedBytes(dialogue.text())).toBe(64 * KiB));
    expect(dialogue.text()).toContain('\r\nConnection: close\r\n');
    expect(dialogue.outcomes).toEqual(['sent']);
  });

  it('comes for a head that is not complete in time, from its first byte, however it drips', async () => {
    const dialogue = start();
    dialogue.say(get(0));
    await dialogue.until(() => expect(source.releasedBytes).toHaveLength(1));
    await dialogue.pass(50_000);
    const before = dialogue.text().length;
    for (let second = 0; second < 9; second += 1) {
      dialogue.say('GET /v1/bl'.charAt(second));
      await dialogue.pass(1_000);
    }
    expect(dialogue.text()).toHaveLength(before);
    await dialogue.pass(1_000);
    expect(dialogue.text().slice(before)).toMatch(
      /^HTTP\/1\.1 408 Request Timeout\r\n.*\r\nConnection: close\r\n\r\n$/s,
    );
    await dialogue.until(() => expect(dialogue.theirs.destroyed).toBe(true));
  });

  it('comes without a word for who has not asked yet, as between requests', async () => {
    const dialogue = start();
    await dialogue.pass(59_999);
    expect(dialogue.theirs.destroyed).toBe(false);
    await dialogue.pass(1);
    expect(dialogue.theirs.destroyed).toBe(true);
    expect([dialogue.text(), dialogue.outcomes]).toEqual(['', []]);
  });

  it('comes without a word between requests', async () => {
    const dialogue = start();
    dialogue.say(get(0));
    await dialogue.until(() => expect(source.releasedBytes).toHaveLength(1));
    const before = dialogue.text().length;
    await dialogue.pass(59_999);
    expect(dialogue.theirs.destroyed).toBe(false);
    await dialogue.pass(1);
    expect(dialogue.theirs.destroyed).toBe(true);
    expect(dialogue.text()).toHaveLength(before);
  });

  it('waits for a connection that may stay, but not for half a request on it', async () => {
    const dialogue = start();
    await dialogue.pass(60_000, true);
    await dialogue.pass(59_999);
    expect(dialogue.theirs.destroyed).toBe(false);
    dialogue.say('GET');
    await dialogue.pass(10_000, true);
    await dialogue.until(() => expect(dialogue.statuses()).toEqual([408]));
  });

  it('never comes for a peer that waits for a slot', async () => {
    const dialogue = start();
    source.beforeOpen = never;
    dialogue.say(get(0));
    await dialogue.pass(10_000_000);
    expect(dialogue.theirs.destroyed).toBe(false);
  });

  it.each([
    ['takes no byte of a run', 30_000, { chunkBytes: 16 * KiB }, 2],
    ['takes too long for a run', 900_000, { stallTimeoutMs: 10_000_000 }, 1],
  ])('comes for who %s, and the slot is given back once', async (_case, limitMs, changes, limits) => {
    const dialogue = startBulkDialogue({ peer: identity.peerId, source, changes });
    dialogue.say(get(4, 3));
    await dialogue.until(() => expect(source.openRuns).toBe(1));
    for (let passed = 0; passed < limits; passed += 1) {
      expect(source.releasedBytes).toEqual([]);
      await dialogue.pass(limitMs);
    }
    await dialogue.until(() => expect(source.releasedBytes).toHaveLength(1));
    expect(dialogue.connection.signal.reason).toMatchObject({ code: 'PEER_STALLED' });
    expect(dialogue.theirs.destroyed).toBe(true);
    expect(dialogue.outcomes).toEqual(['failed']);
    expect(dialogue.pool.usedBytes).toBe(0);
  });

  it('comes for who takes no answer at all', async () => {
    const dialogue = startBulkDialogue({ peer: identity.peerId, source, highWaterMark: 1 });
    dialogue.say('POST / HTTP/1.1\r\nHost: x\r\n\r\n');
    await dialogue.until(() => expect(dialogue.outcomes).toEqual(['invalid']));
    await dialogue.pass(30_000);
    expect(dialogue.theirs.destroyed).toBe(true);
  });

  it.each([
    ['closes its half', (dialogue: ReturnType<typeof start>) => dialogue.mine.end()],
    ['disappears', (dialogue: ReturnType<typeof start>) => dialogue.theirs.destroy(new Error('read ECONNRESET'))],
  ])('cuts the run of a peer that %s, and the slot is given back once', async (_case, leave) => {
    const dialogue = start();
    source.read = never;
    dialogue.say(get(0));
    await dialogue.until(() => expect(dialogue.statuses()).toEqual([206]));
    leave(dialogue);
    await dialogue.until(() => expect(source.releasedBytes).toEqual([0]));
    expect(dialogue.theirs.destroyed).toBe(true);
    expect(dialogue.outcomes).toEqual(['cut']);
    expect(dialogue.pool.usedBytes).toBe(0);
    await dialogue.pass(10_000_000);
    expect(source.releasedBytes).toEqual([0]);
  });

  it('gives back a slot that the source grants to a peer that has left', async () => {
    const dialogue = start();
    const opening = Promise.withResolvers<void>();
    source.beforeOpen = () => opening.promise;
    dialogue.say(get(0));
    await dialogue.until(() => expect(source.opened).toBe(1));
    dialogue.mine.end();
    await dialogue.until(() => expect(dialogue.outcomes).toEqual(['cut']));
    opening.resolve();
    await dialogue.until(() => expect(source.releasedBytes).toEqual([0]));
    expect(source.openRuns).toBe(0);
  });

  it('comes when the source fails in the middle', async () => {
    const dialogue = start({ chunkBytes: 16 * KiB });
    source.read = async (_blob, target, position) => {
      if (position >= 32 * KiB) throw new Error('disk on fire');
      return target.length;
    };
    dialogue.say(get(0));
    await dialogue.until(() => expect(source.releasedBytes).toHaveLength(1));
    expect(dialogue.theirs.destroyed).toBe(true);
    expect(dialogue.outcomes).toEqual(['failed']);
  });
});
