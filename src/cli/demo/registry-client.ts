import { createHash } from 'node:crypto';
import { Agent, get, type IncomingMessage } from 'node:http';
import { Semaphore } from '../../lib/semaphore.ts';
import { CliError } from '../errors.ts';

export interface VerifiedPull {
  /** Config first, then layers, as the manifest lists them. */
  readonly blobList: readonly { readonly digest: string; readonly sizeBytes: number }[];
  readonly durationMs: number;
}

export interface ClientPullOptions {
  /** Name of the node in errors. */
  readonly node: string;
  /** `host:port` of the mirror. */
  readonly registry: string;
  readonly namespace: string;
  readonly repository: string;
  readonly tag: string;
  readonly architecture: string;
}

interface Descriptor {
  readonly digest: string;
  readonly size: number;
  readonly mediaType?: string;
  readonly platform?: { readonly architecture: string };
}

// dockerd's and containerd's own default (max-concurrent-downloads).
const parallelBlobs = 3;
const accept = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');

/**
 * Pulls an image as a container client does: tag, index, the manifest of one platform, then blobs three at a time. Every answer is
 * hashed; the bytes themselves are thrown away. @throws CLI_DEMO_UNVERIFIED
 */
export async function pullAsClient(options: ClientPullOptions, signal: AbortSignal): Promise<VerifiedPull> {
  const startedAt = performance.now();
  const agent = new Agent({ keepAlive: true });
  const base = `http://${options.registry}/v2/${options.repository}`;
  const query = `?ns=${encodeURIComponent(options.namespace)}`;
  const refuse = (what: string, digest: string) =>
    new CliError('CLI_DEMO_UNVERIFIED', `${options.node}: ${what} (${digest})`, {
      details: { node: options.node, digest },
    });

  const readManifest = async (reference: string): Promise<{ digest: string; json: Record<string, unknown> }> => {
    const response = await request(agent, `${base}/manifests/${reference}${query}`, signal);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const bytes = Buffer.concat(chunks);
    if (response.statusCode !== 200)
      throw refuse(`manifest answered ${response.statusCode}: ${bytes.toString().slice(0, 300)}`, reference);
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const claimed = reference.startsWith('sha256:') ? reference : response.headers['docker-content-digest'];
    if (claimed !== digest) throw refuse(`manifest hashes to ${digest}`, String(claimed));
    return { digest, json: JSON.parse(bytes.toString()) as Record<string, unknown> };
  };
  const verifyBlob = async (blob: Descriptor): Promise<void> => {
    const response = await request(agent, `${base}/blobs/${blob.digest}${query}`, signal);
    if (response.statusCode !== 200) {
      response.resume();
      throw refuse(`blob answered ${response.statusCode}`, blob.digest);
    }
    const hash = createHash('sha256');
    let received = 0;
    for await (const chunk of response) {
      hash.update(chunk as Buffer);
      received += (chunk as Buffer).length;
    }
    const digest = `sha256:${hash.digest('hex')}`;
    if (digest !== blob.digest || received !== blob.size)
      throw refuse(`blob hashes to ${digest} after ${received} bytes`, blob.digest);
  };

  try {
    const index = await readManifest(options.tag);
    const children = index.json['manifests'] as readonly Descriptor[];
    const child = children.find((entry) => entry.platform?.architecture === options.architecture);
    if (child === undefined) throw refuse(`no manifest for ${options.architecture}`, index.digest);
    const manifest = await readManifest(child.digest);
    const blobs = [manifest.json['config'] as Descriptor, ...(manifest.json['layers'] as readonly Descriptor[])];
    const slots = new Semaphore(parallelBlobs);
    await Promise.all(
      blobs.map(async (blob) => {
        const release = await slots.acquire(signal);
        await verifyBlob(blob).finally(release);
      }),
    );
    return {
      blobList: blobs.map(({ digest, size }) => ({ digest, sizeBytes: size })),
      durationMs: performance.now() - startedAt,
    };
  } finally {
    agent.destroy();
  }
}

function request(agent: Agent, url: string, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    get(url, { agent, signal, headers: { accept } }, resolve).on('error', reject);
  });
}
