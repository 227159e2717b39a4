/** A range of a blob; `end` is exclusive. */
export interface ByteSpan {
  readonly start: number;
  readonly end: number;
}

export type RangeAnswer =
  /** No Range, one of another unit, or one that may be ignored: the whole. */
  | { readonly kind: 'whole' }
  | { readonly kind: 'single'; readonly span: ByteSpan }
  | { readonly kind: 'multiple'; readonly spans: readonly ByteSpan[] }
  /** Nothing of it lies in the blob, or it cannot be read: 416. */
  | { readonly kind: 'unsatisfiable' }
  /** More ranges than are served at once: 400, upon which clients of partial pulls merge theirs and ask again. */
  | { readonly kind: 'excessive' };

/**
 * Decides what a Range header means for a blob of a size. Source: RFC 9110, 14.1.2 and 14.2, where it leaves a choice as
 * distribution decides: a range that cannot be read is 416, and any Range on an empty blob is ignored (containerd 2 sends
 * `bytes=0-` for every layer). Ranges that together ask for more than the blob are answered with the blob.
 */
export function decideRange(header: string | undefined, sizeBytes: number, maxRanges: number): RangeAnswer {
  if (header === undefined) return { kind: 'whole' };
  const set = /^bytes=(.*)$/is.exec(header.trim())?.[1];
  if (set === undefined || sizeBytes === 0) return { kind: 'whole' };
  const specs = set
    .split(',')
    .map((spec) => spec.trim())
    .filter((spec) => spec !== '');
  if (specs.length === 0) return { kind: 'unsatisfiable' };
  if (specs.length > maxRanges) return { kind: 'excessive' };

  const spans: ByteSpan[] = [];
  for (const spec of specs) {
    const span = readSpan(spec, sizeBytes);
    if (span === 'invalid') return { kind: 'unsatisfiable' };
    if (span !== 'outside') spans.push(span);
  }
  const [first] = spans;
  if (first === undefined) return { kind: 'unsatisfiable' };
  if (spans.length === 1) return { kind: 'single', span: first };
  const totalBytes = spans.reduce((total, { start, end }) => total + end - start, 0);
  return totalBytes > sizeBytes ? { kind: 'whole' } : { kind: 'multiple', spans };
}

function readSpan(spec: string, sizeBytes: number): ByteSpan | 'invalid' | 'outside' {
  // Twenty digits hold any 64-bit number; what is too large for a double's integers is past the end of every blob.
  const match = /^(\d{0,20})-(\d{0,20})$/.exec(spec);
  const [, firstText = '', lastText = ''] = match ?? [];
  if (match === null || (firstText === '' && lastText === '')) return 'invalid';
  if (firstText === '') {
    const suffixBytes = Number(lastText);
    return suffixBytes === 0 ? 'outside' : { start: Math.max(0, sizeBytes - suffixBytes), end: sizeBytes };
  }
  const start = Number(firstText);
  const last = lastText === '' ? sizeBytes - 1 : Number(lastText);
  if (last < start && lastText !== '') return 'invalid';
  return start >= sizeBytes ? 'outside' : { start, end: Math.min(last + 1, sizeBytes) };
}
