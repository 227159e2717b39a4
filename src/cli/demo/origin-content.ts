import { type Digest, digestOf } from '../../oci/digest.ts';

/** A blob the embedded origin can serve; `read` makes the bytes of a range when they are asked for, so size costs no memory. */
export interface OriginBlob {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Returns the bytes from `start` to `end` (exclusive); the server asks for small runs. */
  read(start: number, end: number): Uint8Array;
}

export interface OriginManifestContent {
  readonly mediaType: string;
  readonly bytes: Uint8Array;
  /** Absent = sha256 of the bytes; given for sha512 identities and for tests that serve wrong bytes. */
  readonly digest?: Digest;
}

/** An image as it is pushed: its manifests with the root last, and the blobs they name. */
export interface OriginImage {
  readonly manifests: readonly OriginManifestContent[];
  readonly blobs: readonly OriginBlob[];
}

/** Wraps bytes held in memory as a blob. */
export function blobOf(bytes: Uint8Array, digest: Digest = digestOf(bytes)): OriginBlob {
  return { digest, sizeBytes: bytes.length, read: (start, end) => bytes.subarray(start, end) };
}

export interface StoredManifest {
  readonly mediaType: string;
  readonly bytes: Uint8Array;
  readonly digest: Digest;
}

interface RepositoryContent {
  readonly manifests: Map<Digest, StoredManifest>;
  readonly blobs: Map<Digest, OriginBlob>;
  readonly tags: Map<string, Digest>;
}

/** What the embedded origin holds, per repository name. */
export class OriginContent {
  readonly #repositories = new Map<string, RepositoryContent>();

  putBlob(repository: string, blob: OriginBlob): Digest {
    this.#ensure(repository).blobs.set(blob.digest, blob);
    return blob.digest;
  }

  putManifest(repository: string, manifest: OriginManifestContent, tags: readonly string[]): Digest {
    const content = this.#ensure(repository);
    const digest = manifest.digest ?? digestOf(manifest.bytes);
    content.manifests.set(digest, { mediaType: manifest.mediaType, bytes: manifest.bytes, digest });
    for (const tag of tags) content.tags.set(tag, digest);
    return digest;
  }

  findManifest(repository: string, tagOrDigest: string): StoredManifest | undefined {
    const content = this.#repositories.get(repository);
    const digest = content?.tags.get(tagOrDigest) ?? (tagOrDigest as Digest);
    return content?.manifests.get(digest);
  }

  findBlob(repository: string, digest: string): OriginBlob | undefined {
    return this.#repositories.get(repository)?.blobs.get(digest as Digest);
  }

  /** Lists tags in lexical order, or returns undefined for a repository that does not exist. */
  findTags(repository: string): readonly string[] | undefined {
    const content = this.#repositories.get(repository);
    return content === undefined ? undefined : [...content.tags.keys()].sort();
  }

  deleteTag(repository: string, tag: string): void {
    this.#repositories.get(repository)?.tags.delete(tag);
  }

  #ensure(repository: string): RepositoryContent {
    let content = this.#repositories.get(repository);
    if (content === undefined) {
      content = { manifests: new Map(), blobs: new Map(), tags: new Map() };
      this.#repositories.set(repository, content);
    }
    return content;
  }
}
