import { createHash, type Hash } from 'node:crypto';
import { OciError } from './errors.ts';

declare const digestBrand: unique symbol;

/** A content address, `sha256:<64 lower hex>` or `sha512:<128 lower hex>`; made only by `parseDigest` and `digestOf`. */
export type Digest = string & { readonly [digestBrand]: true };

export type DigestAlgorithm = 'sha256' | 'sha512';

const patterns: Record<DigestAlgorithm, RegExp> = { sha256: /^[0-9a-f]{64}$/, sha512: /^[0-9a-f]{128}$/ };

/** Reads a digest, or returns undefined. Source: OCI image-spec descriptor.md, "Digests". */
export function findDigest(text: string): Digest | undefined {
  const colon = text.indexOf(':');
  const algorithm = text.slice(0, colon);
  if (algorithm !== 'sha256' && algorithm !== 'sha512') return undefined;
  return patterns[algorithm].test(text.slice(colon + 1)) ? (text as Digest) : undefined;
}

/** Reads a digest. @throws OCI_DIGEST_INVALID */
export function parseDigest(text: string): Digest {
  const digest = findDigest(text);
  if (digest === undefined) {
    throw new OciError('OCI_DIGEST_INVALID', 'digest must be sha256:<64 lower hex> or sha512:<128 lower hex>', {
      details: { digest: text.slice(0, 160) },
    });
  }
  return digest;
}

export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  return digest.startsWith('sha256:') ? 'sha256' : 'sha512';
}

/** Returns the hex part alone. */
export function digestHex(digest: Digest): string {
  return digest.slice(7);
}

export function createDigestHash(algorithm: DigestAlgorithm): Hash {
  return createHash(algorithm);
}

/** Computes the digest of bytes held in memory. */
export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}` as Digest;
}
