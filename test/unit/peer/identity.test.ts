import { chmod, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { pieceHash } from '../../../src/content/piece-hash.ts';
import { isSignatureValid, signPiece } from '../../../src/content/signed-piece.ts';
import { digestOf } from '../../../src/oci/digest.ts';
import { generateIdentity, loadIdentity } from '../../../src/peer/identity.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-identity-'));
});
afterEach(() => rm(folder, { recursive: true }));

it('creates a key only its owner can read and loads the same one again', async () => {
  const path = join(folder, 'deep', 'node.key');
  const first = await loadIdentity(path);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect((await loadIdentity(path)).peerId).toBe(first.peerId);
  expect(await readdir(join(folder, 'deep'))).toEqual(['node.key']);
});

it('gives one key to all who create it at once', async () => {
  const path = join(folder, 'node.key');
  const identities = await Promise.all(Array.from({ length: 5 }, () => loadIdentity(path)));
  expect(new Set(identities.map((identity) => identity.peerId)).size).toBe(1);
  expect(await readdir(folder)).toEqual(['node.key']);
});

it('refuses a file that is no key', async () => {
  const path = join(folder, 'node.key');
  await writeFile(path, 'not a key');
  await expect(loadIdentity(path)).rejects.toMatchObject({ code: 'PEER_IDENTITY', details: { path } });
  await writeFile(path, Buffer.alloc(5000));
  await expect(loadIdentity(path)).rejects.toMatchObject({ code: 'PEER_IDENTITY' });
});

it('says that a folder cannot be used', async () => {
  const path = join(folder, 'file', 'node.key');
  await writeFile(join(folder, 'file'), '');
  await expect(loadIdentity(path)).rejects.toMatchObject({ code: 'PEER_IDENTITY' });
  await chmod(folder, 0o700);
});

it('signs what others can verify by its peer ID', async () => {
  const identity = await generateIdentity();
  const blob = { digest: digestOf(Buffer.from('blob')), sizeBytes: 4 };
  const piece = signPiece(identity, blob, 0, pieceHash(Buffer.from('blob')));
  expect(isSignatureValid(blob, piece)).toBe(true);
  expect(isSignatureValid(blob, { ...piece, signer: (await generateIdentity()).peerId })).toBe(false);
});
