import { type Descriptor, findAnnotations, isRecord, parseDescriptor } from './descriptor.ts';
import type { Digest } from './digest.ts';
import { OciError } from './errors.ts';
import { findJsonExcess } from './json-bounds.ts';
import { findMediaType, isImageManifestType, isIndexType, isSchema1Type, mediaTypes } from './media-type.ts';

/** The smallest size every registry has to accept (OCI distribution-spec), and the largest containerd resolves. */
export const maxManifestBytes = 4 * 1024 * 1024;

// Real manifests nest 5 deep and name at most a few hundred children; a descriptor with platform and annotations is 3 containers.
const jsonBounds = { maxDepth: 64, maxContainers: 100_000 };
const maxChildren = 10_000;

// Origins that serve manifests from plain files say one of these; it tells nothing about the document.
const genericTypes: readonly string[] = ['application/json', 'application/octet-stream', 'text/plain'];

/** What a manifest says, never its bytes: those are kept and served exactly as they came. */
export interface ParsedManifest {
  readonly kind: 'image' | 'index';
  readonly mediaType: string;
  /** Each thing named (config and layers, or manifests) once. `isRequired` tells which of them may be missing. */
  readonly children: readonly Descriptor[];
  /** Of an image. */
  readonly config?: Descriptor;
  /** Of an image, in order, repetitions included. */
  readonly layers?: readonly Descriptor[];
  /** Of an index, in order. */
  readonly manifests?: readonly Descriptor[];
  /** What this manifest is about; not a child, may be absent at the registry. */
  readonly subject?: Descriptor;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/**
 * Reads a manifest or index: OCI 1.0 and 1.1, Docker schema 2 and list. `contentType` is what it was served or pushed as.
 * @throws OCI_MANIFEST_INVALID, OCI_MANIFEST_TOO_LARGE
 */
export function parseManifest(bytes: Uint8Array, contentType?: string): ParsedManifest {
  const document = parseDocument(bytes);
  const mediaType = findDocumentType(document, contentType);
  const kind = findKind(document, mediaType);
  const subject = isPresent(document['subject']) ? parseDescriptor(document['subject'], 'subject') : undefined;
  const { artifactType } = document;
  const annotations = findAnnotations(document['annotations']);
  const rest = {
    ...(subject !== undefined && { subject }),
    ...(typeof artifactType === 'string' && artifactType !== '' && { artifactType }),
    ...(annotations !== undefined && { annotations }),
  };
  if (kind === 'index') {
    const manifests = parseList(document['manifests'], 'manifests');
    return { kind, mediaType: mediaType ?? mediaTypes.ociIndex, children: distinct(manifests), manifests, ...rest };
  }
  const config = parseDescriptor(document['config'], 'config');
  const layers = parseList(document['layers'], 'layers');
  const children = distinct([config, ...layers]);
  return { kind, mediaType: mediaType ?? mediaTypes.ociManifest, children, config, layers, ...rest };
}

function parseDocument(bytes: Uint8Array): Record<string, unknown> {
  if (bytes.length > maxManifestBytes) {
    throw new OciError('OCI_MANIFEST_TOO_LARGE', `manifest is larger than ${maxManifestBytes} bytes`, {
      details: { sizeBytes: bytes.length, maxBytes: maxManifestBytes },
    });
  }
  const excess = findJsonExcess(bytes, jsonBounds);
  if (excess !== undefined) throw invalid(excess);
  let document: unknown;
  try {
    // A byte order mark is kept and so refused by the JSON parser, as Go's does.
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw invalid('it is not JSON in UTF-8', cause);
  }
  if (!isRecord(document)) throw invalid('it is not a JSON object');
  if (document['schemaVersion'] === 1 || isPresent(document['fsLayers'])) throw schema1();
  if (document['schemaVersion'] !== 2) throw invalid('schemaVersion is not 2');
  return document;
}

/** The type the document gives itself and the one it came with have to agree; with neither, the structure decides. */
function findDocumentType(document: Record<string, unknown>, contentType: string | undefined): string | undefined {
  const own = document['mediaType'];
  if (isPresent(own) && typeof own !== 'string') throw invalid('mediaType is not text');
  const inside = typeof own === 'string' && own !== '' ? own : undefined;
  const outside = contentType === undefined ? undefined : findMediaType(contentType);
  if (contentType !== undefined && outside === undefined) throw invalid('its Content-Type is not a media type');
  const telling = outside === undefined || genericTypes.includes(outside) ? undefined : outside;
  if (inside !== undefined && telling !== undefined && inside !== telling) {
    throw invalid(`mediaType ${inside.slice(0, 160)} contradicts the Content-Type ${telling}`);
  }
  const mediaType = inside ?? telling;
  if (mediaType === undefined) return undefined;
  if (isSchema1Type(mediaType)) throw schema1();
  if (!isImageManifestType(mediaType) && !isIndexType(mediaType)) {
    throw invalid(`${mediaType.slice(0, 160)} is not the type of a manifest or index`);
  }
  return mediaType;
}

/** A document that could be read as either is refused, since clients would disagree about what it is (CVE-2021-41190). */
function findKind(document: Record<string, unknown>, mediaType: string | undefined): 'image' | 'index' {
  const isLikeIndex = isPresent(document['manifests']);
  const isLikeImage = isPresent(document['layers']) || isPresent(document['config']);
  if (isLikeIndex && isLikeImage) throw invalid("it has both an image manifest's and an index's fields");
  if (mediaType === undefined) {
    if (!isLikeIndex && !isLikeImage) throw invalid('it has neither config and layers nor manifests');
    return isLikeIndex ? 'index' : 'image';
  }
  if (isIndexType(mediaType)) {
    if (isLikeImage) throw invalid('it is called an index and has config or layers');
    return 'index';
  }
  if (isLikeIndex) throw invalid('it is called an image manifest and has manifests');
  return 'image';
}

/** Go writes an empty list as null, or leaves it out. */
function parseList(value: unknown, where: string): readonly Descriptor[] {
  if (!isPresent(value)) return [];
  if (!Array.isArray(value)) throw invalid(`${where} is not a list`);
  if (value.length > maxChildren) throw invalid(`${where} has more than ${maxChildren} entries`);
  return value.map((entry, index) => parseDescriptor(entry, `${where}[${index}]`));
}

function distinct(descriptors: readonly Descriptor[]): readonly Descriptor[] {
  const byDigest = new Map<Digest, Descriptor>();
  for (const descriptor of descriptors) {
    const first = byDigest.get(descriptor.digest);
    if (first === undefined) byDigest.set(descriptor.digest, descriptor);
    else if (first.sizeBytes !== descriptor.sizeBytes) throw invalid(`${descriptor.digest} is given two sizes`);
  }
  return [...byDigest.values()];
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function schema1(): OciError {
  return invalid('Docker schema 1 is not supported; push the image again with a current client');
}

function invalid(why: string, cause?: unknown): OciError {
  return new OciError('OCI_MANIFEST_INVALID', `manifest cannot be accepted: ${why}`, { cause });
}
