import { type Digest, digestOf } from '../../oci/digest.ts';
import type { Repository } from '../../oci/repository.ts';
import { OriginError } from '../errors.ts';
import type { ByteRange, Origin, OriginBody, OriginManifest, OriginOptions, OriginTag } from '../origin.ts';

/**
 * The in-memory twin of the origin: what is put in is served, and hooks make it fail the way origins do.
 * A body that a hook ends early or overfills still keeps the contract: it throws ORIGIN_CUT, or ORIGIN_BAD_ANSWER.
 */
export interface MemoryOrigin extends Origin {
  /** Every call so far, in order. */
  readonly calls: readonly MemoryOriginCall[];
  /** Bytes of blob bodies handed out. */
  readonly sentBytes: number;
  putManifest(
    repository: Repository,
    manifest: { mediaType: string; bytes: Uint8Array; digest?: Digest },
    tags?: readonly string[],
  ): Digest;
  putBlob(repository: Repository, content: Uint8Array | MemoryOriginBlob): Digest;
  deleteTag(repository: Repository, tag: string): void;
}

/** A blob whose bytes are made when they are read. */
interface MemoryOriginBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
  read(start: number, end: number): Uint8Array;
}

export interface MemoryOriginCall {
  readonly operation: 'resolveTag' | 'fetchManifest' | 'statBlob' | 'openBlob' | 'listTags';
  readonly repository: Repository;
  /** Tag or digest. */
  readonly reference?: string;
  readonly range?: ByteRange;
}

export interface MemoryOriginOptions {
  /** Absent = every namespace is allowed. */
  readonly namespaces?: readonly string[];
  /** Absent = true. */
  readonly servesRanges?: boolean;
  /** Absent = 64 KiB. */
  readonly chunkBytes?: number;
  /** Runs before each call is answered; it may wait, or throw what the call shall throw. */
  readonly beforeCall?: (
    call: MemoryOriginCall,
    signal: AbortSignal,
    onTrouble: (() => void) | undefined,
  ) => Promise<void> | void;
  /** Changes the chunks of a body: fewer of them, slower, with other bytes. */
  readonly alterBody?: (
    call: MemoryOriginCall,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ) => AsyncIterable<Uint8Array>;
}

interface RepositoryContent {
  readonly manifests: Map<Digest, OriginManifest>;
  readonly blobs: Map<Digest, MemoryOriginBlob>;
  readonly tags: Map<string, Digest>;
}

/** Creates an origin that holds only what is put into it. */
export function createMemoryOrigin(options: MemoryOriginOptions = {}): MemoryOrigin {
  const { chunkBytes = 64 * 1024 } = options;
  const repositories = new Map<string, RepositoryContent>();
  const calls: MemoryOriginCall[] = [];
  const met = new Map<string, number>();
  let sentBytes = 0;

  const ensure = (repository: Repository): RepositoryContent => {
    const key = `${repository.namespace}/${repository.name}`;
    let content = repositories.get(key);
    if (content === undefined) {
      content = { manifests: new Map(), blobs: new Map(), tags: new Map() };
      repositories.set(key, content);
    }
    return content;
  };
  const find = (repository: Repository) => repositories.get(`${repository.namespace}/${repository.name}`);
  const allows = (namespace: string) => options.namespaces?.includes(namespace) ?? true;
  const notFound = (call: MemoryOriginCall) =>
    new OriginError('ORIGIN_NOT_FOUND', 'the origin has no such manifest, blob or repository', {
      details: { namespace: call.repository.namespace, repository: call.repository.name, reference: call.reference },
    });
  const begin = async (call: MemoryOriginCall, signal: AbortSignal, onTrouble?: () => void): Promise<void> => {
    signal.throwIfAborted();
    const { namespace } = call.repository;
    if (!allows(namespace)) {
      throw new OriginError('ORIGIN_NOT_ALLOWED', 'the namespace is not an allowed origin', { details: { namespace } });
    }
    calls.push(call);
    met.set(namespace, (met.get(namespace) ?? 0) + 1);
    await options.beforeCall?.(call, signal, onTrouble);
    signal.throwIfAborted();
  };
  const findBlob = (call: MemoryOriginCall): MemoryOriginBlob => {
    const blob = find(call.repository)?.blobs.get(call.reference as Digest);
    if (blob === undefined) throw notFound(call);
    return blob;
  };

  async function* readRuns(blob: MemoryOriginBlob, start: number, end: number): AsyncGenerator<Uint8Array> {
    // A Buffer's own slice is a view: whoever changes a chunk would change the blob.
    for (let at = start; at < end; at += chunkBytes)
      yield Uint8Array.from(blob.read(at, Math.min(at + chunkBytes, end)));
  }

  async function* exactly(
    chunks: AsyncIterable<Uint8Array>,
    expectedBytes: number,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    let receivedBytes = 0;
    const aborted = Promise.withResolvers<never>();
    aborted.promise.catch(() => {});
    const onAbort = () => aborted.reject(signal.reason);
    signal.addEventListener('abort', onAbort);
    const iterator = chunks[Symbol.asyncIterator]();
    try {
      for (;;) {
        signal.throwIfAborted();
        // A hook may wait for ever; the caller's abort ends the body all the same.
        const step = await Promise.race([iterator.next(), aborted.promise]);
        if (step.done === true) break;
        receivedBytes += step.value.length;
        sentBytes += step.value.length;
        if (receivedBytes > expectedBytes) {
          throw new OriginError('ORIGIN_BAD_ANSWER', 'the body is longer than promised');
        }
        yield step.value;
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      // Not awaited: the hook may be the one that never comes back.
      iterator.return?.().catch(() => {});
    }
    if (receivedBytes < expectedBytes) {
      throw new OriginError('ORIGIN_CUT', 'the body ended early', { details: { receivedBytes, expectedBytes } });
    }
  }

  return {
    calls,
    get sentBytes() {
      return sentBytes;
    },
    allows,
    putManifest(repository, { mediaType, bytes, digest = digestOf(bytes) }, tags = []) {
      const content = ensure(repository);
      content.manifests.set(digest, { mediaType, bytes, digest });
      for (const tag of tags) content.tags.set(tag, digest);
      return digest;
    },
    putBlob(repository, content) {
      const blob =
        content instanceof Uint8Array
          ? {
              digest: digestOf(content),
              sizeBytes: content.length,
              read: (start: number, end: number) => content.subarray(start, end),
            }
          : content;
      ensure(repository).blobs.set(blob.digest, blob);
      return blob.digest;
    },
    deleteTag(repository, tag) {
      find(repository)?.tags.delete(tag);
    },

    async resolveTag(repository, tag, { signal, onTrouble }): Promise<OriginTag> {
      const call = { operation: 'resolveTag', repository, reference: tag } as const;
      await begin(call, signal, onTrouble);
      const content = find(repository);
      const digest = content?.tags.get(tag);
      const manifest = digest === undefined ? undefined : content?.manifests.get(digest);
      if (manifest === undefined) throw notFound(call);
      return { digest: manifest.digest, mediaType: manifest.mediaType, sizeBytes: manifest.bytes.length };
    },
    async fetchManifest(repository, digest, { signal }) {
      const call = { operation: 'fetchManifest', repository, reference: digest } as const;
      await begin(call, signal);
      const manifest = find(repository)?.manifests.get(digest);
      if (manifest === undefined) throw notFound(call);
      return manifest;
    },
    async statBlob(repository, digest, { signal }) {
      const call = { operation: 'statBlob', repository, reference: digest } as const;
      await begin(call, signal);
      return { sizeBytes: findBlob(call).sizeBytes };
    },
    async openBlob(repository, digest, range, { signal }: OriginOptions): Promise<OriginBody> {
      const call = { operation: 'openBlob', repository, reference: digest, range } as const;
      await begin(call, signal);
      const blob = findBlob(call);
      if (blob.sizeBytes !== range.sizeBytes) {
        throw new OriginError('ORIGIN_BAD_ANSWER', 'the blob has another size', {
          details: { expectedBytes: range.sizeBytes, actualBytes: blob.sizeBytes },
        });
      }
      const isWhole = options.servesRanges === false && (range.start > 0 || range.end < range.sizeBytes);
      const { start, end } = isWhole ? { start: 0, end: blob.sizeBytes } : range;
      const runs = readRuns(blob, start, end);
      const altered = options.alterBody?.(call, runs, signal) ?? runs;
      return { isWhole, chunks: exactly(altered, end - start, signal) };
    },
    async listTags(repository, { limit, last = '' }, { signal }) {
      const call = { operation: 'listTags', repository } as const;
      await begin(call, signal);
      const content = find(repository);
      if (content === undefined) throw notFound(call);
      const after = [...content.tags.keys()].sort().filter((tag) => tag > last);
      const tags = after.slice(0, limit);
      return { tags, hasMore: tags.length > 0 && tags.length < after.length };
    },
    status: () =>
      [...met].map(([namespace, requests]) => ({
        namespace,
        url: `memory://${namespace}`,
        state: 'ok',
        requests,
        failures: 0,
        receivedBytes: sentBytes,
      })),
  };
}
