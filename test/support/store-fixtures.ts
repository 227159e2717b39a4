import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { base58btc } from 'multiformats/bases/base58';
import { findPeerId } from '../../src/content/peer-id.ts';
import { pieceHash } from '../../src/content/piece-hash.ts';
import { pieceRange, planPieces } from '../../src/content/piece-plan.ts';
import { type NodeIdentity, type SignedPiece, signPiece } from '../../src/content/signed-piece.ts';
import { type Digest, digestOf } from '../../src/oci/digest.ts';
import type { ManifestRecord, TagRecord } from '../../src/store/metadata-store.ts';

export interface SampleBlob {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
  /** Signed by the sample identity, in order. */
  readonly pieces: readonly SignedPiece[];
  pieceBytes(index: number): Uint8Array;
}

const sampleIdentity: NodeIdentity = createIdentity();

export function createIdentity(): NodeIdentity {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
  const peerId = findPeerId(base58btc.baseEncode(Buffer.concat([Buffer.from('002408011220', 'hex'), raw])));
  if (peerId === undefined) throw new Error('generated key has no peer ID');
  return { peerId, sign: (message) => sign(null, message, privateKey) };
}

export function sampleBlob(sizeBytes: number): SampleBlob {
  return blobOf(randomBytes(sizeBytes));
}

export function blobOf(bytes: Uint8Array): SampleBlob {
  const digest = digestOf(bytes);
  const plan = planPieces(bytes.length);
  const pieceBytes = (index: number) => {
    const { start, end } = pieceRange(plan, index);
    return bytes.subarray(start, end);
  };
  const pieces = Array.from({ length: plan.pieceCount }, (_, index) => {
    const piece = signPiece(sampleIdentity, { digest, sizeBytes: bytes.length }, index, pieceHash(pieceBytes(index)));
    // Plain arrays instead of Buffers, as they come back from a store.
    return { ...piece, hash: Uint8Array.from(piece.hash), signature: Uint8Array.from(piece.signature) };
  });
  return { bytes, digest, pieces, pieceBytes };
}

export interface SampleManifest extends SampleBlob {
  readonly record: ManifestRecord;
}

/** An OCI image manifest over the given children; the first is its config. */
export function sampleManifest(children: readonly SampleBlob[], subject?: SampleManifest): SampleManifest {
  const descriptors = children.map((child, index) => ({
    mediaType: index === 0 ? 'application/vnd.oci.image.config.v1+json' : 'application/vnd.oci.image.layer.v1.tar+gzip',
    digest: child.digest,
    size: child.bytes.length,
  }));
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const document = {
    schemaVersion: 2,
    mediaType,
    config: descriptors[0],
    layers: descriptors.slice(1),
    ...(subject && {
      subject: { mediaType: subject.record.mediaType, digest: subject.digest, size: subject.bytes.length },
    }),
  };
  const blob = blobOf(Buffer.from(JSON.stringify(document)));
  return {
    ...blob,
    record: {
      digest: blob.digest,
      mediaType,
      sizeBytes: blob.bytes.length,
      children: descriptors.map(({ size, ...rest }) => ({ ...rest, sizeBytes: size })),
      ...(subject && { subject: subject.digest }),
      provenance: 'cache',
      storedAtMs: 1,
    },
  };
}

export function tagOf(manifest: SampleManifest, confirmedAtMs = 1): TagRecord {
  const { digest, mediaType, sizeBytes } = manifest.record;
  return { digest, mediaType, sizeBytes, confirmedAtMs };
}

export async function collect<Value>(values: AsyncIterable<Value>): Promise<Value[]> {
  const all: Value[] = [];
  for await (const value of values) all.push(value);
  return all;
}
