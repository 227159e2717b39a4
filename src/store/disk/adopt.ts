import type { Logger } from '../../lib/logger.ts';
import { createDigestHash, type Digest, digestAlgorithm } from '../../oci/digest.ts';
import { maxManifestBytes, parseManifest } from '../../oci/manifest.ts';
import type { Files } from '../files/files.ts';
import { openIfThere } from '../files/open-file.ts';
import type { KeyValue } from '../key-value.ts';
import { keys } from '../metadata/keys.ts';
import { encodeRecord } from '../metadata/records.ts';
import type { ManifestRecord } from '../metadata-store.ts';
import type { DiskBlobStore } from './disk-blob-store.ts';
import type { Layout } from './layout.ts';
import type { Orphan } from './scan.ts';

export interface AdoptDeps {
  readonly files: Files;
  readonly layout: Layout;
  readonly blobs: DiskBlobStore;
  readonly keyValue: KeyValue;
  readonly logger: Logger;
}

// A millisecond of SHA-256 at a time, so that a start-up rehash does not hold up requests.
const hashStepBytes = 256 * 1024;

/**
 * Hashes a file without a record; takes it over when it is what its name says, else puts it aside. A file that cannot be read
 * is left alone and stays absent.
 */
export async function adoptOrphan(
  deps: AdoptDeps,
  orphan: Orphan,
  options: { isIndexLost: boolean },
  signal: AbortSignal,
): Promise<void> {
  const { digest, sizeBytes } = orphan;
  const { files, layout, blobs, logger } = deps;
  let actual: Digest | undefined;
  try {
    actual = await hashFile(files, layout.blob(digest), digest, signal);
  } catch (error) {
    signal.throwIfAborted();
    logger.error({ error, digest }, 'blob file without a record cannot be read');
  }
  if (actual === undefined) return;
  if (actual !== digest) {
    await blobs.rejectOrphan(digest);
    return;
  }
  if (options.isIndexLost) await describe(deps, orphan);
  await blobs.adopt(digest, sizeBytes);
  logger.info({ digest, sizeBytes }, 'blob file without a record was taken over');
}

/** Reads what a stored manifest says; undefined when it is not here or is no manifest. */
export async function readStoredManifest(
  files: Files,
  layout: Layout,
  digest: Digest,
  rest: Pick<ManifestRecord, 'provenance' | 'storedAtMs'> & { mediaType?: string },
): Promise<ManifestRecord | undefined> {
  const bytes = await readSmallFile(files, layout.blob(digest));
  if (bytes === undefined) return undefined;
  try {
    const { mediaType, children, subject, artifactType } = parseManifest(bytes, rest.mediaType);
    return {
      digest,
      mediaType,
      sizeBytes: bytes.length,
      children,
      ...(subject === undefined ? {} : { subject: subject.digest }),
      ...(artifactType === undefined ? {} : { artifactType }),
      provenance: rest.provenance,
      storedAtMs: rest.storedAtMs,
    };
  } catch {
    return undefined;
  }
}

/** A manifest whose repositories nobody remembers is still worth finding by its digest. */
async function describe({ files, layout, keyValue }: AdoptDeps, { digest, sizeBytes }: Orphan): Promise<void> {
  if (sizeBytes > maxManifestBytes || (await keyValue.find(keys.description(digest))) !== undefined) return;
  const storedAtMs = (await files.stat(layout.blob(digest)))?.modifiedAtMs ?? 0;
  const manifest = await readStoredManifest(files, layout, digest, { provenance: 'cache', storedAtMs });
  if (manifest === undefined) return;
  const value = encodeRecord(manifest);
  await keyValue.batch([{ type: 'put', key: keys.description(digest), value }], { isDurable: false });
}

async function readSmallFile(files: Files, path: string): Promise<Uint8Array | undefined> {
  const file = await openIfThere(files, path, 'read');
  if (file === undefined) return undefined;
  try {
    if (file.sizeBytes > maxManifestBytes) return undefined;
    const bytes = Buffer.alloc(file.sizeBytes);
    return (await file.readFully(bytes, 0)) === bytes.length ? bytes : undefined;
  } finally {
    await file.close();
  }
}

async function hashFile(files: Files, path: string, digest: Digest, signal: AbortSignal): Promise<Digest | undefined> {
  const file = await openIfThere(files, path, 'read');
  if (file === undefined) return undefined;
  try {
    const algorithm = digestAlgorithm(digest);
    const hash = createDigestHash(algorithm);
    const buffer = Buffer.allocUnsafe(hashStepBytes);
    for (let position = 0; ; ) {
      signal.throwIfAborted();
      const length = await file.readFully(buffer, position);
      if (length === 0) return `${algorithm}:${hash.digest('hex')}` as Digest;
      hash.update(buffer.subarray(0, length));
      position += length;
    }
  } finally {
    await file.close();
  }
}
