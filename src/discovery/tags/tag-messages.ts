import { WireError, WireReader, WireWriter } from '../../lib/wire.ts';
import { type Digest, findDigest } from '../../oci/digest.ts';

/**
 * Messages of `/shoal/tags/1`. A channel carries requests one way and answers the other, matched by id, in any order.
 * request: id, kind, fields; answer: id, status, fields. Numbers are LEB128, text and bytes length-prefixed.
 */
export const tagProtocol = 'tags';

/** OCI distribution-spec: registries and clients meet at 4 MiB for a manifest. */
export const maxManifestBytes = 4 * 1024 * 1024;
/** Leaves room for the head of an answer below the 128 KiB of a channel message. */
export const maxSliceBytes = 96 * 1024;
/** A peer holds an answer back for no longer than this, so that waiting never costs more than asking the origin. */
export const maxWaitMs = 2000;

const maxId = 2 ** 32 - 1;
const maxNameLength = 255;
const maxTagLength = 128;
// RFC 6838, 4.2: type and subtype have at most 127 characters each.
const maxMediaTypeLength = 255;
// "sha512:" and 128 hex digits.
const maxDigestLength = 135;

export type TagRequest =
  | { readonly kind: 'tag'; readonly namespace: string; readonly name: string; readonly tag: string }
  | { readonly kind: 'manifest'; readonly digest: Digest; readonly offset: number; readonly waitMs: number }
  | { readonly kind: 'size'; readonly digest: Digest };

export type TagAnswer =
  | { readonly kind: 'absent' }
  | {
      readonly kind: 'tag';
      readonly digest: Digest;
      readonly mediaType: string;
      readonly sizeBytes: number;
      readonly confirmedAtMs: number;
    }
  | { readonly kind: 'manifest'; readonly mediaType: string; readonly sizeBytes: number; readonly slice: Uint8Array }
  | { readonly kind: 'size'; readonly sizeBytes: number };

export interface Numbered<Message> {
  readonly id: number;
  readonly message: Message;
}

const requestKinds = ['tag', 'manifest', 'size'] as const;
const answerKinds = ['absent', 'tag', 'manifest', 'size'] as const;

export function encodeTagRequest({ id, message }: Numbered<TagRequest>): Uint8Array {
  const writer = new WireWriter().number(id).number(requestKinds.indexOf(message.kind));
  if (message.kind === 'tag') writer.text(message.namespace).text(message.name).text(message.tag);
  else writer.text(message.digest);
  if (message.kind === 'manifest') writer.number(message.offset).number(message.waitMs);
  return writer.finish();
}

/** @throws WIRE_INVALID */
export function decodeTagRequest(bytes: Uint8Array): Numbered<TagRequest> {
  const reader = new WireReader(bytes);
  const id = reader.number(maxId);
  const kind = requestKinds[reader.number(requestKinds.length - 1)];
  const message = readRequest(reader, kind as TagRequest['kind']);
  reader.end();
  return { id, message };
}

export function encodeTagAnswer({ id, message }: Numbered<TagAnswer>): Uint8Array {
  const writer = new WireWriter().number(id).number(answerKinds.indexOf(message.kind));
  if (message.kind === 'tag') {
    writer.text(message.digest).text(message.mediaType).number(message.sizeBytes).number(message.confirmedAtMs);
  } else if (message.kind === 'manifest') {
    writer.text(message.mediaType).number(message.sizeBytes).bytes(message.slice);
  } else if (message.kind === 'size') {
    writer.number(message.sizeBytes);
  }
  return writer.finish();
}

/** @throws WIRE_INVALID */
export function decodeTagAnswer(bytes: Uint8Array): Numbered<TagAnswer> {
  const reader = new WireReader(bytes);
  const id = reader.number(maxId);
  const kind = answerKinds[reader.number(answerKinds.length - 1)];
  const message = readAnswer(reader, kind as TagAnswer['kind']);
  reader.end();
  return { id, message };
}

function readRequest(reader: WireReader, kind: TagRequest['kind']): TagRequest {
  if (kind === 'tag') {
    return {
      kind,
      namespace: reader.text(maxNameLength),
      name: reader.text(maxNameLength),
      tag: reader.text(maxTagLength),
    };
  }
  const digest = readDigest(reader);
  if (kind === 'size') return { kind, digest };
  return { kind, digest, offset: reader.number(maxManifestBytes), waitMs: reader.number(maxWaitMs) };
}

function readAnswer(reader: WireReader, kind: TagAnswer['kind']): TagAnswer {
  if (kind === 'absent') return { kind };
  if (kind === 'size') return { kind, sizeBytes: reader.number(Number.MAX_SAFE_INTEGER) };
  if (kind === 'tag') {
    return {
      kind,
      digest: readDigest(reader),
      mediaType: reader.text(maxMediaTypeLength),
      sizeBytes: reader.number(maxManifestBytes),
      confirmedAtMs: reader.number(Number.MAX_SAFE_INTEGER),
    };
  }
  return {
    kind,
    mediaType: reader.text(maxMediaTypeLength),
    sizeBytes: reader.number(maxManifestBytes),
    slice: reader.bytes(maxSliceBytes),
  };
}

function readDigest(reader: WireReader): Digest {
  const digest = findDigest(reader.text(maxDigestLength));
  if (digest === undefined) throw new WireError('WIRE_INVALID', 'not a digest');
  return digest;
}
