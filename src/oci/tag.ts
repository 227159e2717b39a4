import { OciError } from './errors.ts';

declare const tagBrand: unique symbol;

/** A tag; made only by `parseTag` and `findTag`. */
export type Tag = string & { readonly [tagBrand]: true };

const pattern = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** Reads a tag, or returns undefined. Source: OCI distribution-spec, "Pulling manifests". */
export function findTag(text: string): Tag | undefined {
  return pattern.test(text) ? (text as Tag) : undefined;
}

/** Reads a tag. @throws OCI_TAG_INVALID */
export function parseTag(text: string): Tag {
  const tag = findTag(text);
  if (tag === undefined) {
    throw new OciError(
      'OCI_TAG_INVALID',
      'tag must be 1 to 128 letters, digits, "_", "." or "-", not starting with "." or "-"',
      {
        details: { tag: text.slice(0, 160) },
      },
    );
  }
  return tag;
}
