import { createPrivateKey, randomBytes, sign } from 'node:crypto';
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { generateKeyPairFromSeed, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys';
import type { Ed25519PrivateKey } from '@libp2p/interface';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { findPeerId } from '../content/peer-id.ts';
import type { NodeIdentity } from '../content/signed-piece.ts';
import { isCode } from '../lib/errors.ts';
import { PeerError } from './errors.ts';

/** The node's key with all this folder needs of it; other folders see `NodeIdentity`. */
export interface PeerIdentity extends NodeIdentity {
  readonly libp2pKey: Ed25519PrivateKey;
}

// RFC 8410: the fixed DER head of an Ed25519 PrivateKeyInfo; the 32-byte seed follows.
const pkcs8Head = Buffer.from('302e020100300506032b657004220420', 'hex');
/** Far over the 68 bytes of an Ed25519 protobuf: anything longer is not a key. */
const maxKeyFileBytes = 1024;

/**
 * Loads the node's key, or creates it atomically in a file only the owner can read.
 * @throws PEER_IDENTITY when the file is not an Ed25519 key or cannot be read or written
 */
export async function loadIdentity(path: string): Promise<PeerIdentity> {
  try {
    return decodeIdentity(await readKeyFile(path), path);
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw asIdentityError(error, path);
  }
  try {
    await createKeyFile(path, privateKeyToProtobuf((await generateIdentity()).libp2pKey));
    // Read back what won: another process may have created the file meanwhile.
    return decodeIdentity(await readKeyFile(path), path);
  } catch (error) {
    throw asIdentityError(error, path);
  }
}

/** Makes a new key, kept nowhere. */
export async function generateIdentity(seed: Uint8Array = randomBytes(32)): Promise<PeerIdentity> {
  return toIdentity(await generateKeyPairFromSeed('Ed25519', seed));
}

function toIdentity(libp2pKey: Ed25519PrivateKey): PeerIdentity {
  const peerId = findPeerId(peerIdFromPrivateKey(libp2pKey).toString());
  if (peerId === undefined) throw new TypeError('an Ed25519 key gave no Ed25519 peer ID');
  // libp2p's raw private key is seed and public key; the seed is the first half.
  const seed = libp2pKey.raw.subarray(0, 32);
  const key = createPrivateKey({ key: Buffer.concat([pkcs8Head, seed]), format: 'der', type: 'pkcs8' });
  return { peerId, libp2pKey, sign: (message) => sign(null, message, key) };
}

function decodeIdentity(bytes: Uint8Array, path: string): PeerIdentity {
  const key = privateKeyFromProtobuf(bytes);
  if (key.type !== 'Ed25519') {
    throw new PeerError('PEER_IDENTITY', `${path} holds a key of type ${key.type}, not Ed25519`, { details: { path } });
  }
  return toIdentity(key);
}

async function readKeyFile(path: string): Promise<Uint8Array> {
  const bytes = await readFile(path);
  if (bytes.length > maxKeyFileBytes) throw new RangeError('the file is too long to be a key');
  return bytes;
}

async function createKeyFile(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const draft = `${path}.${randomBytes(6).toString('hex')}`;
  const file = await open(draft, 'wx', 0o600);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    // link() and not rename(): it never replaces a key that appeared meanwhile.
    await link(draft, path);
  } catch (error) {
    if (!isCode(error, 'EEXIST')) throw error;
  } finally {
    await unlink(draft);
  }
  const directory = await open(dirname(path), 'r');
  await directory.sync().finally(() => directory.close());
}

function asIdentityError(error: unknown, path: string): PeerError {
  if (isCode(error, 'PEER_IDENTITY')) return error as PeerError;
  return new PeerError('PEER_IDENTITY', `cannot load the node key from ${path}`, { cause: error, details: { path } });
}
