import { X509Certificate } from 'node:crypto';
import { generateCertificate, verifyPeerCertificate } from '@libp2p/tls/utils';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { generateIdentity } from '../../../src/peer/identity.ts';
import { der, derTag, readDer } from '../../../src/peer/tls/der.ts';
import { createPeerCertificate, findCertificatePeer } from '../../../src/peer/tls/peer-certificate.ts';
import { testServer } from '../../support/tls-fixture.ts';

const hourMs = 60 * 60 * 1000;
const nowMs = Date.parse('2026-11-22T10:00:00Z');

async function setUp() {
  const identity = await generateIdentity();
  const certificate = new X509Certificate((await createPeerCertificate(identity, nowMs)).cert);
  return { identity, certificate };
}

describe('a certificate of a peer', () => {
  it('proves its peer ID, here and to libp2p', async () => {
    const identity = await generateIdentity();
    const { cert } = await createPeerCertificate(identity, Date.now());
    const certificate = new X509Certificate(cert);
    expect(findCertificatePeer(certificate, Date.now())).toBe(identity.peerId);
    expect(String(await verifyPeerCertificate(certificate.raw))).toBe(identity.peerId);
  });

  it('is believed when libp2p made it', async () => {
    const identity = await generateIdentity();
    const { cert } = await generateCertificate(identity.libp2pKey);
    expect(findCertificatePeer(new X509Certificate(cert), Date.now())).toBe(identity.peerId);
  });

  it('has a serial number and a key of its own', async () => {
    const identity = await generateIdentity();
    const two = await Promise.all([createPeerCertificate(identity, nowMs), createPeerCertificate(identity, nowMs)]);
    const [one, other] = two.map(({ cert }) => new X509Certificate(cert));
    expect(one?.serialNumber).toMatch(/^[4-7][0-9A-F]{31}$/);
    expect(one?.serialNumber).not.toBe(other?.serialNumber);
    expect(one?.publicKey.equals(other!.publicKey)).toBe(false);
  });

  it('holds from an hour before it was made, for a hundred years', async () => {
    const { identity, certificate } = await setUp();
    expect(findCertificatePeer(certificate, nowMs - hourMs)).toBe(identity.peerId);
    expect(findCertificatePeer(certificate, nowMs - hourMs - 1)).toBeUndefined();
    expect(findCertificatePeer(certificate, Date.parse('2126-11-22T10:00:00Z'))).toBe(identity.peerId);
    expect(findCertificatePeer(certificate, Date.parse('2126-11-22T10:00:01Z'))).toBeUndefined();
  });

  it('proves nothing when another key signed for the name in it', async () => {
    const [victim, thief] = [await generateIdentity(), await generateIdentity()];
    const { cert } = await createPeerCertificate({ peerId: victim.peerId, sign: thief.sign }, nowMs);
    expect(findCertificatePeer(new X509Certificate(cert), nowMs)).toBeUndefined();
  });

  it('proves nothing with the proof of another certificate', async () => {
    const identity = await generateIdentity();
    let kept: Uint8Array | undefined;
    const sign = (message: Uint8Array) => {
      kept ??= identity.sign(message);
      return kept;
    };
    const first = await createPeerCertificate({ peerId: identity.peerId, sign }, nowMs);
    const second = await createPeerCertificate({ peerId: identity.peerId, sign }, nowMs);
    expect(findCertificatePeer(new X509Certificate(first.cert), nowMs)).toBe(identity.peerId);
    expect(findCertificatePeer(new X509Certificate(second.cert), nowMs)).toBeUndefined();
  });

  it('proves nothing without the extension', () => {
    expect(findCertificatePeer(new X509Certificate(testServer.cert), nowMs)).toBeUndefined();
  });

  it('proves nothing, and does no harm, with any byte of it changed', async () => {
    const { certificate } = await setUp();
    const changed: X509Certificate[] = [];
    for (let at = 0; at < certificate.raw.length; at += 1) {
      const raw = Buffer.from(certificate.raw);
      raw[at] = (raw[at] ?? 0) ^ (1 << (at % 8));
      try {
        changed.push(new X509Certificate(raw));
      } catch {
        // Not even the TLS library reads it.
      }
    }
    expect(changed.length).toBeGreaterThan(100);
    expect(changed.map((one) => findCertificatePeer(one, nowMs)).filter((peer) => peer !== undefined)).toEqual([]);
  });
});

describe('DER', () => {
  it('reads what it writes, of any length', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 70_000 }), { maxLength: 4 }), (contents) => {
        const short = contents.filter((content) => content.length <= 0xffff);
        const bytes = Buffer.concat(short.map((content) => der(derTag.octetString, content)));
        expect(readDer(bytes).map(({ tag, content }) => [tag, new Uint8Array(content)])).toEqual(
          short.map((content) => [derTag.octetString, content]),
        );
      }),
      { numRuns: 50 },
    );
  });

  it('reads any bytes, or refuses them with a RangeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          const size = readDer(Buffer.from(bytes)).reduce((sum, { content }) => sum + content.length, 0);
          expect(size).toBeLessThanOrEqual(bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
    );
  });
});
