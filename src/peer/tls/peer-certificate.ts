import { generateKeyPair, type KeyObject, randomBytes, sign, verify, type X509Certificate } from 'node:crypto';
import { promisify } from 'node:util';
import { findRawPeerId, type PeerId, peerIdPublicKey, rawPeerId } from '../../content/peer-id.ts';
import type { NodeIdentity } from '../../content/signed-piece.ts';
import { der, derTag, readDer, readDerInside } from './der.ts';

/**
 * Certificates that prove a peer ID, as the libp2p TLS specification has them (github.com/libp2p/specs, tls/tls.md): self-signed, with
 * an extension in which the node's Ed25519 key signs the certificate's own key. TLS proves that the other end has the latter.
 *
 * Making and checking them with `@libp2p/tls` cost 8.5 MiB and 175 ms of every start, and 2 to 6 ms for every new peer (ADR 0009).
 * What is believed hangs on two signatures, both checked by the TLS library: a wrong reading of the certificate's shape can only
 * refuse a peer, never take one for another.
 */
export interface Credentials {
  readonly cert: string;
  readonly key: string;
}

// DER of the object identifiers, tag and length included.
const libp2pExtension = Buffer.from('060a2b0601040183a25a0101', 'hex');
const ecdsaWithSha256 = Buffer.from('06082a8648ce3d040302', 'hex');

const signedText = Buffer.from('libp2p-tls-handshake:', 'latin1');
// A clock that is behind must not find the certificate of the future; it lives as long as the process.
const validBeforeMs = 60 * 60 * 1000;
const validYears = 100;

/** Makes a certificate with a P-256 key of its own. */
export async function createPeerCertificate(identity: NodeIdentity, nowMs: number): Promise<Credentials> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const proof = der(
    derTag.sequence,
    der(derTag.octetString, rawPeerId(identity.peerId)),
    der(derTag.octetString, identity.sign(Buffer.concat([signedText, spki]))),
  );
  const algorithm = der(derTag.sequence, ecdsaWithSha256);
  const name = der(derTag.sequence);
  const extension = der(
    derTag.sequence,
    libp2pExtension,
    der(derTag.boolean, Uint8Array.of(0xff)),
    der(derTag.octetString, proof),
  );
  const content = der(
    derTag.sequence,
    der(derTag.explicit(0), der(derTag.integer, Uint8Array.of(2))),
    der(derTag.integer, serialNumber()),
    algorithm,
    name,
    der(derTag.sequence, time(nowMs - validBeforeMs, 0), time(nowMs, validYears)),
    name,
    spki,
    der(derTag.explicit(3), der(derTag.sequence, extension)),
  );
  const signature = der(derTag.bitString, Uint8Array.of(0), sign('sha256', content, privateKey));
  return {
    cert: pem('CERTIFICATE', der(derTag.sequence, content, algorithm, signature)),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}

/** Returns whose certificate it is; undefined when it does not prove it, or not now. */
export function findCertificatePeer(certificate: X509Certificate, nowMs: number): PeerId | undefined {
  try {
    const { publicKey, validFromDate, validToDate } = certificate;
    if (validFromDate.getTime() > nowMs || validToDate.getTime() < nowMs) return undefined;
    if (!certificate.verify(publicKey)) return undefined;
    const [key, signature, ...more] = readDerInside(readDer(findProof(certificate.raw))[0], derTag.sequence);
    if (key?.tag !== derTag.octetString || signature?.tag !== derTag.octetString || more.length > 0) return undefined;
    const peer = findRawPeerId(key.content);
    return peer !== undefined && isProof(peer, publicKey, signature.content) ? peer : undefined;
  } catch {
    // Not of the shape that the specification has, or with a key that is none.
    return undefined;
  }
}

function isProof(peer: PeerId, certificateKey: KeyObject, signature: Uint8Array): boolean {
  const spki = certificateKey.export({ type: 'spki', format: 'der' });
  return verify(null, Buffer.concat([signedText, spki]), peerIdPublicKey(peer), signature);
}

/** @throws RangeError when there is none, or a critical extension that is not known (RFC 5280, section 4.2) */
function findProof(certificate: Buffer): Buffer {
  const [content] = readDerInside(readDer(certificate)[0], derTag.sequence);
  const extensions = readDerInside(content, derTag.sequence).find(({ tag }) => tag === derTag.explicit(3));
  const [list] = readDerInside(extensions, derTag.explicit(3));
  let proof: Buffer | undefined;
  for (const extension of readDerInside(list, derTag.sequence)) {
    const [name, ...rest] = readDerInside(extension, derTag.sequence);
    const value = rest.at(-1);
    const isCritical = rest.length > 1 && rest[0]?.tag === derTag.boolean;
    if (name !== undefined && der(name.tag, name.content).equals(libp2pExtension)) {
      if (value?.tag !== derTag.octetString || proof !== undefined) throw new RangeError('the proof is not readable');
      proof = value.content;
    } else if (isCritical) {
      throw new RangeError('a critical extension is not known');
    }
  }
  if (proof === undefined) throw new RangeError('there is no proof of a peer ID');
  return proof;
}

/** 127 random bits without a leading zero (RFC 5280, section 4.1.2.2: positive, at most 20 bytes). */
function serialNumber(): Buffer {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x7f) | 0x40, 0);
  return bytes;
}

/** RFC 5280, section 4.1.2.5: two digits of the year until 2049, four from then on. */
function time(nowMs: number, afterYears: number): Buffer {
  const date = new Date(nowMs);
  date.setUTCFullYear(date.getUTCFullYear() + afterYears);
  const digits = `${date.toISOString().slice(0, 19).replace(/\D/g, '')}Z`;
  return date.getUTCFullYear() < 2050
    ? der(derTag.utcTime, Buffer.from(digits.slice(2), 'latin1'))
    : der(derTag.generalizedTime, Buffer.from(digits, 'latin1'));
}

function pem(label: string, bytes: Buffer): string {
  const lines = bytes.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
