import { type Digest, findDigest } from './digest.ts';
import { OciError } from './errors.ts';
import { isMediaType, isNondistributableType } from './media-type.ts';

/** What a manifest says of a child. Source: OCI image-spec descriptor.md. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly platform?: Platform;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Foreign layers name other places; a descriptor with urls is not required to be in the registry. */
  readonly urls?: readonly string[];
}

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

/**
 * Reads a descriptor out of parsed JSON. Strict where content is named (media type, digest, size), lenient where it is only
 * described (platform, annotations): a mirror must not refuse an image for its labels. @throws OCI_MANIFEST_INVALID
 */
export function parseDescriptor(value: unknown, where: string): Descriptor {
  if (!isRecord(value)) throw invalid(where, 'is not an object');
  const { mediaType, digest: digestText, size } = value;
  if (typeof mediaType !== 'string' || !isMediaType(mediaType)) throw invalid(where, 'has no valid mediaType');
  const digest = typeof digestText === 'string' ? findDigest(digestText) : undefined;
  if (digest === undefined) throw invalid(where, 'has no valid sha256 or sha512 digest');
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw invalid(where, 'has no valid size');

  const platform = findPlatform(value['platform']);
  const annotations = findAnnotations(value['annotations']);
  const { artifactType } = value;
  const urls = Array.isArray(value['urls']) ? value['urls'].filter((url) => typeof url === 'string') : [];
  return {
    mediaType,
    digest,
    sizeBytes: size,
    ...(platform !== undefined && { platform }),
    ...(typeof artifactType === 'string' && artifactType !== '' && { artifactType }),
    ...(annotations !== undefined && { annotations }),
    ...(urls.length > 0 && { urls }),
  };
}

/** Tells whether a registry that has the manifest must have this child too: not so for foreign layers. */
export function isRequired(descriptor: Descriptor): boolean {
  return descriptor.urls === undefined && !isNondistributableType(descriptor.mediaType);
}

/** Returns the string entries of an annotation map; undefined when it is none. */
export function findAnnotations(value: unknown): Readonly<Record<string, string>> | undefined {
  if (!isRecord(value)) return undefined;
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function findPlatform(value: unknown): Platform | undefined {
  if (!isRecord(value)) return undefined;
  const { os, architecture, variant } = value;
  if (typeof os !== 'string' || typeof architecture !== 'string') return undefined;
  return typeof variant === 'string' && variant !== '' ? { os, architecture, variant } : { os, architecture };
}

function invalid(where: string, what: string): OciError {
  return new OciError('OCI_MANIFEST_INVALID', `manifest: ${where} ${what}`, { details: { where } });
}
