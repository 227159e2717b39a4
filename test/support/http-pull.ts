/** Pulls a single-platform image by plain HTTP and checks every byte, for tests that need no real client. */
import { createHash } from 'node:crypto';
import { digestOf } from '../../src/oci/digest.ts';

export interface PulledImage {
  readonly digest: string;
  readonly blobs: readonly string[];
  readonly bytes: number;
}

const acceptManifests = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');

/** Pulls manifest, config and layers at once. @throws Error with the status, or on a body that does not match its digest */
export async function pullByHttp(
  registryUrl: string,
  repository: string,
  reference: string,
  signal: AbortSignal = AbortSignal.timeout(120_000),
): Promise<PulledImage> {
  const base = `${registryUrl}/v2/${repository}`;
  const manifest = await fetch(`${base}/manifests/${reference}`, { headers: { accept: acceptManifests }, signal });
  if (manifest.status !== 200) throw new Error(`manifest ${reference}: ${manifest.status} ${await manifest.text()}`);
  const text = Buffer.from(await manifest.arrayBuffer());
  const digest = digestOf(text);
  const named = manifest.headers.get('docker-content-digest');
  if (named !== digest) throw new Error(`manifest is ${digest}, its header says ${named}`);
  const { config, layers } = JSON.parse(text.toString('utf8')) as Record<'config', Child> & {
    layers: readonly Child[];
  };
  const children = [config, ...layers];
  await Promise.all(children.map((child) => pullBlob(`${base}/blobs/${child.digest}`, child, signal)));
  return {
    digest,
    blobs: children.map((child) => child.digest),
    bytes: children.reduce((sum, child) => sum + child.size, 0),
  };
}

interface Child {
  readonly digest: string;
  readonly size: number;
}

async function pullBlob(url: string, child: Child, signal: AbortSignal): Promise<void> {
  const answer = await fetch(url, { signal });
  if (answer.status !== 200 || answer.body === null)
    throw new Error(`blob ${child.digest}: ${answer.status} ${await answer.text()}`);
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of answer.body) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  const found = `sha256:${hash.digest('hex')}`;
  // A body that ends well and is wrong is the one thing that must never happen; a cut one has thrown above.
  if (bytes !== child.size || found !== child.digest) throw new WrongBytesError(child.digest, found, bytes);
}

/** A complete body that is not what its digest says. */
export class WrongBytesError extends Error {
  constructor(expected: string, found: string, bytes: number) {
    super(`WRONG BYTES: asked for ${expected}, got ${bytes} bytes of ${found}`);
  }
}
