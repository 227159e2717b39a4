import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { mediaTypes } from '../../src/oci/media-type.ts';
import { OriginError, type OriginErrorCode } from '../../src/origin/errors.ts';
import {
  type BuiltImage,
  buildArtifact,
  buildGeneratedBlob,
  buildImage,
  randomBytes,
} from '../support/image-builder.ts';
import { createMemoryFleet, type MemoryFleet, type MemoryNode, pushImage } from '../support/image-fleet.ts';
import { type RegistryKit, startRegistryKit } from '../support/registry-kit.ts';

const repository = { namespace: 'docker.io', name: 'g/r' };
const { signal } = new AbortController();
const content = randomBytes(1, 2000);

describe('the read side over HTTP', () => {
  let fleet: MemoryFleet;
  let node: MemoryNode;
  let kit: RegistryKit;
  let image: BuiltImage;
  let blob: string;
  let failure: OriginErrorCode | undefined;

  beforeAll(async () => {
    fleet = createMemoryFleet({
      origin: {
        beforeCall() {
          const details = { retryAfterMs: 1500 };
          if (failure !== undefined) throw new OriginError(failure, 'as the test wants it', { details });
        },
      },
    });
    image = await buildImage({ seed: 2, layers: [{ content: 300 }], flavour: 'docker' });
    pushImage(fleet.origin, repository, image, ['a', 'b', 'c']);
    blob = fleet.origin.putBlob(repository, content);
    node = await fleet.join();
    kit = await startRegistryKit(node.images);
  });
  afterAll(async () => {
    await kit[Symbol.asyncDispose]();
    await fleet[Symbol.asyncDispose]();
  });
  const errorCode = (body: Buffer): string => JSON.parse(String(body)).errors[0].code;

  it('answers the base of the API, with and without the slash, never by a redirect', async () => {
    for (const path of ['/v2/', '/v2', '/v2/?ns=docker.io']) {
      const { status, headers, body } = await kit.ask('GET', path);
      expect([status, String(body)]).toEqual([200, '{}']);
      expect(headers['docker-distribution-api-version']).toBe('registry/2.0');
      expect(headers['content-type']).toBe('application/json');
    }
    expect((await kit.ask('HEAD', '/v2/')).body).toHaveLength(0);
  });

  it('HEAD and GET of a manifest agree, by tag and by digest, with any Accept or none', async () => {
    const bytes = image.manifests[0]!.bytes;
    for (const reference of ['a', image.digest]) {
      for (const accept of [undefined, 'text/plain', mediaTypes.ociManifest]) {
        const headers = accept === undefined ? {} : { accept };
        const head = await kit.ask('HEAD', `/v2/g/r/manifests/${reference}`, headers);
        const get = await kit.ask('GET', `/v2/g/r/manifests/${reference}`, headers);
        for (const answer of [head, get]) {
          expect(answer.status).toBe(200);
          expect(answer.headers).toMatchObject({
            'content-type': mediaTypes.dockerManifest,
            'content-length': String(bytes.length),
            'docker-content-digest': image.digest,
            'docker-distribution-api-version': 'registry/2.0',
            etag: `"${image.digest}"`,
            'oci-namespace': 'docker.io',
          });
          expect(answer.headers['content-encoding']).toBeUndefined();
          expect(answer.headers['location']).toBeUndefined();
        }
        expect(head.body).toHaveLength(0);
        expect(Buffer.compare(get.body, bytes)).toBe(0);
      }
    }
  });

  it('HEAD and GET of a blob have the headers of distribution', async () => {
    for (const method of ['HEAD', 'GET']) {
      const { status, headers, body } = await kit.ask(method, `/v2/g/r/blobs/${blob}`, { 'accept-encoding': 'gzip' });
      expect(status).toBe(200);
      expect(headers).toMatchObject({
        'accept-ranges': 'bytes',
        'cache-control': 'max-age=31536000',
        'content-length': '2000',
        'content-type': 'application/octet-stream',
        'docker-content-digest': blob,
        etag: `"${blob}"`,
      });
      expect(headers['content-encoding']).toBeUndefined();
      if (method === 'GET') expect(Buffer.compare(body, content)).toBe(0);
    }
  });

  it('answers every kind of Range', async () => {
    for (const [range, start, end] of [
      ['bytes=10-19', 10, 20],
      ['bytes=500-1499', 500, 1500],
      ['bytes=500-', 500, 2000],
      ['bytes=0-', 0, 2000],
      ['bytes=-500', 1500, 2000],
      ['bytes=1990-5000', 1990, 2000],
    ] as const) {
      const { status, headers, body } = await kit.ask('GET', `/v2/g/r/blobs/${blob}`, { range });
      expect(status).toBe(206);
      expect(headers['content-range']).toBe(`bytes ${start}-${end - 1}/2000`);
      expect(headers['content-length']).toBe(String(end - start));
      expect(Buffer.compare(body, content.subarray(start, end))).toBe(0);
    }
    for (const range of ['bytes=9999-', 'bytes=500-0', 'bytes=5000-10000', 'bytes=-0', 'bytes=x']) {
      const { status, headers, body } = await kit.ask('GET', `/v2/g/r/blobs/${blob}`, { range });
      expect(status).toBe(416);
      expect(headers['content-range']).toBe('bytes */2000');
      expect(errorCode(body)).toBe('RANGE_INVALID');
    }
    for (const headers of [{ range: 'items=0-1' }, { range: 'bytes=0-9', 'if-range': '"other"' }]) {
      expect((await kit.ask('GET', `/v2/g/r/blobs/${blob}`, headers)).status).toBe(200);
    }
    const conditional = { range: 'bytes=0-9', 'if-range': `"${blob}"` };
    expect((await kit.ask('GET', `/v2/g/r/blobs/${blob}`, conditional)).status).toBe(206);
    const many = `bytes=${Array.from({ length: 9 }, (_, at) => `${at}-${at}`).join(',')}`;
    expect((await kit.ask('GET', `/v2/g/r/blobs/${blob}`, { range: many })).status).toBe(400);
  });

  it('answers several ranges as multipart/byteranges', async () => {
    const { status, headers, body } = await kit.ask('GET', `/v2/g/r/blobs/${blob}`, { range: 'bytes=0-9,100-199,-5' });
    expect(status).toBe(206);
    const boundary = /^multipart\/byteranges; boundary=(\w+)$/.exec(headers['content-type'] ?? '')?.[1];
    expect(headers['content-length']).toBe(String(body.length));
    const parts = body.toString('latin1').split(`--${boundary}`);
    expect([parts[0], parts.at(-1)]).toEqual(['', '--\r\n']);
    const spans: readonly [number, number][] = [
      [0, 10],
      [100, 200],
      [1995, 2000],
    ];
    for (const [index, [start, end]] of spans.entries()) {
      const [head, data] = [parts[index + 1]!.split('\r\n\r\n')[0]!, parts[index + 1]!];
      expect(head).toContain(`Content-Range: bytes ${start}-${end - 1}/2000`);
      const bytes = data.slice(head.length + 4, -2);
      expect(bytes).toBe(content.subarray(start, end).toString('latin1'));
    }
  });

  it('answers If-None-Match with 304 on blobs and manifests', async () => {
    for (const path of [`blobs/${blob}`, `manifests/${image.digest}`, 'manifests/a']) {
      const digest = path.startsWith('blobs') ? blob : image.digest;
      for (const method of ['GET', 'HEAD']) {
        const known = await kit.ask(method, `/v2/g/r/${path}`, { 'if-none-match': `"x", "${digest}"` });
        expect([known.status, known.body.length]).toEqual([304, 0]);
        expect(known.headers.etag).toBe(`"${digest}"`);
        expect((await kit.ask(method, `/v2/g/r/${path}`, { 'if-none-match': '"x"' })).status).toBe(200);
      }
    }
  });

  it('lists tags page by page', async () => {
    const first = await kit.ask('GET', '/v2/g/r/tags/list?n=2');
    expect(JSON.parse(String(first.body))).toEqual({ name: 'g/r', tags: ['a', 'b'] });
    const next = /^<(\/v2\/g\/r\/tags\/list\?[^>]+)>; rel="next"$/.exec(String(first.headers['link']))?.[1];
    const second = await kit.ask('GET', next!);
    expect(JSON.parse(String(second.body))).toEqual({ name: 'g/r', tags: ['c'] });
    expect(second.headers['link']).toBeUndefined();
    const none = await kit.ask('GET', '/v2/g/r/tags/list?n=0');
    expect(JSON.parse(String(none.body))).toEqual({ name: 'g/r', tags: [] });
    expect(none.headers['link']).toBeUndefined();
    const after = await kit.ask('GET', '/v2/g/r/tags/list?last=b');
    expect(JSON.parse(String(after.body)).tags).toEqual(['c']);
    const unknown = await kit.ask('GET', '/v2/no/such/tags/list');
    expect([unknown.status, errorCode(unknown.body)]).toEqual([404, 'NAME_UNKNOWN']);
  });

  it('refuses page sizes that are none, and bounds those that are too large', async () => {
    for (const path of ['/v2/g/r/tags/list', '/v2/_catalog']) {
      for (const n of ['-1', '1e9', 'NaN', '', '1.5', '99999999999999999999']) {
        const { status, body } = await kit.ask('GET', `${path}?n=${n}`);
        expect([n, status, errorCode(body)]).toEqual([n, 400, 'PAGINATION_NUMBER_INVALID']);
      }
      expect((await kit.ask('GET', `${path}?n=9007199254740993`)).status).toBe(200);
    }
  });

  it('lists what is held under names that can be pulled', async () => {
    const other = buildArtifact({ seed: 3, sizeBytes: 10 });
    pushImage(fleet.origin, { namespace: 'ghcr.io', name: 'o/app' }, other);
    expect((await kit.ask('GET', '/v2/ghcr.io/o/app/manifests/latest')).status).toBe(200);
    const all = await kit.ask('GET', '/v2/_catalog');
    expect(JSON.parse(String(all.body))).toEqual({ repositories: ['docker.io/g/r', 'ghcr.io/o/app'] });
    const one = await kit.ask('GET', '/v2/_catalog?n=1');
    expect(JSON.parse(String(one.body))).toEqual({ repositories: ['docker.io/g/r'] });
    const next = /^<([^>]+)>/.exec(String(one.headers['link']))?.[1];
    expect(JSON.parse(String((await kit.ask('GET', next!)).body))).toEqual({ repositories: ['ghcr.io/o/app'] });
    const named = await kit.ask('GET', '/v2/_catalog?ns=ghcr.io');
    expect(JSON.parse(String(named.body))).toEqual({ repositories: ['o/app'] });
  });

  it('answers referrers of held manifests, and an empty index for anything else', async () => {
    const subject = buildArtifact({ seed: 4, sizeBytes: 10 });
    const referrer = buildArtifact({ seed: 5, sizeBytes: 10, subject });
    for (const artifact of [subject, referrer]) {
      pushImage(fleet.origin, repository, artifact, ['x']);
      await node.images.openManifest(repository, artifact.digest, signal);
    }
    const all = await kit.ask('GET', `/v2/g/r/referrers/${subject.digest}`);
    expect(all.headers['content-type']).toBe(mediaTypes.ociIndex);
    const found = JSON.parse(String(all.body));
    expect(found).toMatchObject({ schemaVersion: 2, mediaType: mediaTypes.ociIndex });
    expect(found.manifests).toMatchObject([{ digest: referrer.digest, size: referrer.manifests[0]?.bytes.length }]);
    const filtered = await kit.ask('GET', `/v2/g/r/referrers/${subject.digest}?artifactType=other%2Ftype`);
    expect(filtered.headers['oci-filters-applied']).toBe('artifactType');
    expect(JSON.parse(String(filtered.body)).manifests).toEqual([]);
    const unknown = await kit.ask('GET', `/v2/g/r/referrers/sha256:${'0'.repeat(64)}`);
    expect([unknown.status, JSON.parse(String(unknown.body)).manifests]).toEqual([200, []]);
    expect((await kit.ask('GET', '/v2/g/r/referrers/sha256:x')).status).toBe(400);
  });

  it('maps names three ways to one repository', async () => {
    const path = `manifests/${image.digest}`;
    for (const target of [
      `/v2/g/r/${path}?ns=docker.io`,
      `/v2/g/r/${path}`,
      `/v2/docker.io/g/r/${path}`,
      `/v2/docker.io/g/r/${path}?ns=docker.io`,
      `/v2/registry-1.docker.io/g/r/${path}`,
    ]) {
      const { status, headers } = await kit.ask('GET', target);
      expect([target, status]).toEqual([target, 200]);
      expect(headers['oci-namespace']).toBe('docker.io');
    }
    const refused = await kit.ask('GET', `/v2/g/r/${path}?ns=evil.example`);
    expect([refused.status, errorCode(refused.body)]).toEqual([404, 'NAME_UNKNOWN']);
    for (const ns of ['evil.example%2Fx', 'a%20b', '']) {
      expect((await kit.ask('GET', `/v2/g/r/${path}?ns=${ns}`)).status).toBe(400);
    }
    expect((await kit.ask('GET', `/v2/g/r/${path}?ns=docker.io&ns=ghcr.io`)).status).toBe(400);
  });

  it('refuses everything that pushes or deletes', async () => {
    const digest = image.digest;
    for (const [method, path] of [
      ['POST', '/v2/g/r/blobs/uploads/'],
      ['POST', `/v2/g/r/blobs/uploads/?mount=${digest}&from=a/b`],
      ['PATCH', '/v2/g/r/blobs/uploads/0f8fad5b'],
      ['PUT', `/v2/g/r/blobs/uploads/0f8fad5b?digest=${digest}`],
      ['GET', '/v2/g/r/blobs/uploads/0f8fad5b'],
      ['PUT', '/v2/g/r/manifests/a'],
      ['DELETE', '/v2/g/r/manifests/a'],
      ['DELETE', `/v2/g/r/blobs/${digest}`],
      ['POST', '/v2/'],
      ['OPTIONS', '/v2/g/r/tags/list'],
      ['TRACE', '/v2/'],
      ['PROPFIND', '/v2/g/r/tags/list'],
    ] as const) {
      const { status, headers, body } = await kit.ask(method, path);
      expect([method, path, status, errorCode(body)]).toEqual([method, path, 405, 'UNSUPPORTED']);
      expect(headers['allow']).toBe('GET, HEAD');
    }
  });

  it('answers what cannot be meant with JSON, without a redirect', async () => {
    for (const [path, status, code] of [
      ['/v2/UPPER/manifests/a', 400, 'NAME_INVALID'],
      [`/v2/${'a'.repeat(300)}/manifests/a`, 400, 'NAME_INVALID'],
      ['/v2/g%2fr/manifests/a', 400, 'NAME_INVALID'],
      ['/v2/g/../r/manifests/a', 400, 'NAME_INVALID'],
      ['/v2/g//r/manifests/a', 400, 'NAME_INVALID'],
      ['/v2/g/r/manifests/%00', 400, 'NAME_INVALID'],
      ['/v2/g/r/manifests/%zz', 400, 'NAME_INVALID'],
      ['/v2/g/r/manifests/-a', 400, 'TAG_INVALID'],
      ['/v2/g/r/manifests/sha256:baddigeststring', 400, 'DIGEST_INVALID'],
      ['/v2/g/r/blobs/sha256:baddigeststring', 400, 'DIGEST_INVALID'],
      [`/v2/g/r/blobs/sha256:${'A'.repeat(64)}`, 400, 'DIGEST_INVALID'],
      [`/v2/g/r/blobs/md5:${'a'.repeat(32)}`, 400, 'DIGEST_INVALID'],
      ['/v2/g/r/manifests/no-such-tag', 404, 'MANIFEST_UNKNOWN'],
      [`/v2/g/r/manifests/sha256:${'0'.repeat(64)}`, 404, 'MANIFEST_UNKNOWN'],
      [`/v2/g/r/blobs/sha256:${'0'.repeat(64)}`, 404, 'BLOB_UNKNOWN'],
      ['/v1/_ping', 404, 'UNSUPPORTED'],
      ['/', 404, 'UNSUPPORTED'],
    ] as const) {
      const answer = await kit.ask('GET', path);
      expect([path, answer.status, errorCode(answer.body)]).toEqual([path, status, code]);
      expect(answer.headers['content-type']).toBe('application/json');
      const head = await kit.ask('HEAD', path);
      expect([path, head.status, head.body.length]).toEqual([path, status, 0]);
    }
  });

  it('passes on what the origin says, as a status its clients understand', async () => {
    for (const [code, status] of [
      ['ORIGIN_UNAUTHORIZED', 401],
      ['ORIGIN_FORBIDDEN', 403],
      ['ORIGIN_NOT_FOUND', 404],
      ['ORIGIN_RATE_LIMITED', 503],
      ['ORIGIN_UNAVAILABLE', 503],
      ['ORIGIN_NOT_ALLOWED', 404],
    ] as const) {
      failure = code;
      const missing = digestOf(Buffer.from(code));
      for (const path of [`/v2/f/${code.toLowerCase()}/manifests/latest`, `/v2/g/r/blobs/${missing}`]) {
        const answer = await kit.ask('GET', path);
        expect([code, path, answer.status]).toEqual([code, path, status]);
        expect(answer.headers['retry-after']).toBe(status === 503 ? '2' : undefined);
      }
    }
    failure = undefined;
  });

  it('says when a tag is stale', async () => {
    const stale = createMemoryFleet({
      origin: { beforeCall: () => Promise.reject(new OriginError('ORIGIN_CUT', 'x')) },
    });
    await using _ = stale;
    const old = await stale.join();
    await old.store.metadata.putTag(repository, 'a', {
      digest: image.digest,
      mediaType: image.mediaType,
      sizeBytes: 5,
      confirmedAtMs: 1,
    });
    await using oldKit = await startRegistryKit(old.images);
    const { status, headers } = await oldKit.ask('HEAD', '/v2/g/r/manifests/a');
    expect(status).toBe(200);
    expect(headers['warning']).toMatch(/^299 - "/);
  });

  it('serves the empty blob, whatever its Range', async () => {
    const empty = fleet.origin.putBlob(repository, new Uint8Array());
    for (const headers of [{}, { range: 'bytes=0-' }]) {
      const answer = await kit.ask('GET', `/v2/g/r/blobs/${empty}`, headers);
      expect([answer.status, answer.headers['content-length']]).toEqual([200, '0']);
    }
  });

  it('serves a sha512 blob under the digest it was asked by', async () => {
    const bytes = randomBytes(6, 5000);
    const digest = digestOf(bytes, 'sha512');
    fleet.origin.putBlob(repository, {
      digest,
      sizeBytes: bytes.length,
      read: (start, end) => bytes.subarray(start, end),
    });
    const answer = await kit.ask('GET', `/v2/g/r/blobs/${digest}`);
    expect(answer.headers['docker-content-digest']).toBe(digest);
    expect(Buffer.compare(answer.body, bytes)).toBe(0);
  });

  it('answers a cold Range with 206', async () => {
    const large = buildGeneratedBlob(7, 5 * 1024 * 1024 + 3);
    fleet.origin.putBlob(repository, large);
    const { status, headers, body } = await kit.ask('GET', `/v2/g/r/blobs/${large.digest}`, {
      range: 'bytes=3000000-',
    });
    expect(status).toBe(206);
    expect(headers['content-range']).toBe(`bytes 3000000-${large.sizeBytes - 1}/${large.sizeBytes}`);
    expect(Buffer.compare(body, large.read(3_000_000, large.sizeBytes))).toBe(0);
  });

  it('gives every answer an id that is not the caller’s', async () => {
    const ids = new Set<unknown>();
    for (let count = 0; count < 3; count += 1) {
      ids.add((await kit.ask('GET', '/v2/', { 'x-request-id': 'mine' })).headers['x-request-id']);
    }
    expect(ids.size).toBe(3);
    expect(ids.has('mine')).toBe(false);
  });
});
