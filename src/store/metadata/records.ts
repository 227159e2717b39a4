import type { Descriptor, Platform } from '../../oci/descriptor.ts';
import { type Digest, findDigest } from '../../oci/digest.ts';
import { StoreError } from '../errors.ts';
import type { ManifestRecord, TagRecord } from '../metadata-store.ts';

/**
 * Values are small JSON texts, read strictly: LevelDB's own checksums catch damaged bytes, this catches a value that a different
 * version wrote. Unknown fields are refused nowhere, missing or wrong ones everywhere.
 */
export interface LinkRecord {
  readonly provenance: ManifestRecord['provenance'];
  readonly storedAtMs: number;
}

export const encodeRecord = (record: object): string => JSON.stringify(record);

/** Reads a value with a reader of its fields. @throws STORE_CORRUPT */
export function decodeRecord<Value>(key: string, text: string, read: (fields: Fields) => Value): Value {
  try {
    return read(new Fields(JSON.parse(text)));
  } catch (cause) {
    throw new StoreError('STORE_CORRUPT', `the index holds a value that cannot be read under ${key}`, {
      cause,
      details: { path: key },
    });
  }
}

/** Reads the fields of one JSON object, each of a stated type. @throws TypeError */
export class Fields {
  readonly #object: Readonly<Record<string, unknown>>;

  constructor(value: unknown) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new TypeError('not an object');
    this.#object = value as Record<string, unknown>;
  }

  text(name: string): string {
    const value = this.#own(name);
    if (typeof value !== 'string') throw new TypeError(`${name} is not text`);
    return value;
  }

  optionalText(name: string): string | undefined {
    return this.#own(name) === undefined ? undefined : this.text(name);
  }

  /** A whole number from zero up, or (times) any finite one. */
  number(name: string): number {
    const value = this.#own(name);
    if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) throw new TypeError(`${name} is no number`);
    return value;
  }

  digest(name: string): Digest {
    const digest = findDigest(this.text(name));
    if (digest === undefined) throw new TypeError(`${name} is no digest`);
    return digest;
  }

  oneOf<Word extends string>(name: string, words: readonly Word[]): Word {
    const word = words.find((candidate) => candidate === this.#own(name));
    if (word === undefined) throw new TypeError(`${name} is none of ${words.join(', ')}`);
    return word;
  }

  list<Value>(name: string, read: (item: unknown) => Value): Value[] {
    const value = this.#own(name);
    if (!Array.isArray(value)) throw new TypeError(`${name} is not a list`);
    return value.map(read);
  }

  optional<Value>(name: string, read: (value: unknown) => Value): Value | undefined {
    const value = this.#own(name);
    return value === undefined ? undefined : read(value);
  }

  entries(): [string, unknown][] {
    return Object.entries(this.#object);
  }

  #own(name: string): unknown {
    return Object.hasOwn(this.#object, name) ? this.#object[name] : undefined;
  }
}

export const provenances = ['cache', 'local'] as const;

export function readLink(fields: Fields): LinkRecord {
  return { provenance: fields.oneOf('provenance', provenances), storedAtMs: fields.number('storedAtMs') };
}

export function readManifest(fields: Fields): ManifestRecord {
  const subject = fields.optional('subject', () => fields.digest('subject'));
  const artifactType = fields.optionalText('artifactType');
  return {
    digest: fields.digest('digest'),
    mediaType: fields.text('mediaType'),
    sizeBytes: fields.number('sizeBytes'),
    children: fields.list('children', readDescriptor),
    ...(subject === undefined ? {} : { subject }),
    ...(artifactType === undefined ? {} : { artifactType }),
    ...readLink(fields),
  };
}

export function readTag(fields: Fields): TagRecord {
  const etag = fields.optionalText('etag');
  return {
    digest: fields.digest('digest'),
    mediaType: fields.text('mediaType'),
    sizeBytes: fields.number('sizeBytes'),
    confirmedAtMs: fields.number('confirmedAtMs'),
    ...(etag === undefined ? {} : { etag }),
  };
}

function readDescriptor(value: unknown): Descriptor {
  const fields = new Fields(value);
  const platform = fields.optional('platform', readPlatform);
  const artifactType = fields.optionalText('artifactType');
  const annotations = fields.optional('annotations', readAnnotations);
  const urls = fields.optional('urls', () => fields.list('urls', readText));
  return {
    mediaType: fields.text('mediaType'),
    digest: fields.digest('digest'),
    sizeBytes: fields.number('sizeBytes'),
    ...(platform === undefined ? {} : { platform }),
    ...(artifactType === undefined ? {} : { artifactType }),
    ...(annotations === undefined ? {} : { annotations }),
    ...(urls === undefined ? {} : { urls }),
  };
}

function readPlatform(value: unknown): Platform {
  const fields = new Fields(value);
  const variant = fields.optionalText('variant');
  return {
    os: fields.text('os'),
    architecture: fields.text('architecture'),
    ...(variant === undefined ? {} : { variant }),
  };
}

function readAnnotations(value: unknown): Record<string, string> {
  return Object.fromEntries(new Fields(value).entries().map(([name, text]) => [name, readText(text)]));
}

function readText(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('not text');
  return value;
}
