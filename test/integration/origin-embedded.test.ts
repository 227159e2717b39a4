import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EmbeddedOrigin, startEmbeddedOrigin } from '../../src/cli/demo/embedded-origin.ts';
import { blobOf } from '../../src/cli/demo/origin-content.ts';
import { digestOf } from '../../src/oci/digest.ts';

const bytes = Buffer.from(Array.from({ length: 600_000 }, (_, index) => index % 251));
const blob = blobOf(bytes);
const manifest = { mediaType: 'application/vnd.oci.image.manifest.v1+json', bytes: Buffer.from('{"schemaVersion":2}') };

describe('the embedded origin', () => {
  let origin: EmbeddedOrigin;
  beforeAll(async () => {
    origin = await startEmbeddedOrigin();
    origin.put('library/app', ['a', 'b', 'c'], { manifests: [manifest], blobs: [blob] });
  });
  afterAll(() => origin[Symbol.asyncDispose]());
  const get = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
    fetch(`${origin.url}${path}`, { headers, method });

  it('serves a manifest by tag and by digest, with its type and digest', async () => {
    for (const reference of ['a', digestOf(manifest.bytes)]) {
      const response = await get(`/v2/library/app/manifests/${reference}`);
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toBe(manifest.mediaType);
      expect(response.headers.get('docker-content-digest')).toBe(digestOf(manifest.bytes));
      expect(Buffer.from(await response.arrayBuffer())).toEqual(manifest.bytes);
    }
    const head = await get('/v2/library/app/manifests/a', {}, 'HEAD');
    expect(head.headers.get('content-length')).toBe(String(manifest.bytes.length));
  });

  it.each([
    [undefined, 200, 0, 600_000],
    ['bytes=0-99', 206, 0, 100],
    ['bytes=599990-', 206, 599_990, 600_000],
    ['bytes=-7', 206, 599_993, 600_000],
    ['bytes=10-700000', 206, 10, 600_000],
    ['bytes=9-3', 200, 0, 600_000],
  ])('answers Range %s with %d', async (range, status, start, end) => {
    const response = await get(`/v2/library/app/blobs/${blob.digest}`, range === undefined ? {} : { range });
    expect(response.status).toBe(status);
    expect(Buffer.from(await response.arrayBuffer()).equals(bytes.subarray(start, end))).toBe(true);
    if (status === 206) expect(response.headers.get('content-range')).toBe(`bytes ${start}-${end - 1}/600000`);
  });

  it('refuses a range behind the end', async () => {
    const response = await get(`/v2/library/app/blobs/${blob.digest}`, { range: 'bytes=600000-' });
    expect(response.status).toBe(416);
    expect(response.headers.get('content-range')).toBe('bytes */600000');
  });

  it('pages through tags', async () => {
    const response = await get('/v2/library/app/tags/list?n=2');
    expect(await response.json()).toEqual({ name: 'library/app', tags: ['a', 'b'] });
    expect(response.headers.get('link')).toBe('</v2/library/app/tags/list?n=2&last=b>; rel="next"');
    expect(await (await get('/v2/library/app/tags/list?n=2&last=b')).json()).toMatchObject({ tags: ['c'] });
  });

  it('counts requests by kind and bytes by digest', async () => {
    origin.resetCounters();
    await (await get(`/v2/library/app/blobs/${blob.digest}`, { range: 'bytes=0-9' })).arrayBuffer();
    await get('/v2/library/app/blobs/sha256:none', {}, 'HEAD');
    expect(origin.counters).toMatchObject({ requests: 2, blobBodyBytes: 10 });
    expect(origin.counters.byKind).toMatchObject({ 'blob-get': 1, 'blob-head': 1 });
    expect(origin.counters.blobBodyBytesByDigest.get(blob.digest)).toBe(10);
    expect(origin.requests.map(({ kind, status }) => [kind, status])).toEqual([
      ['blob-get', 206],
      ['blob-head', 404],
    ]);
  });
});
