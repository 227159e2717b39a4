import { pieceHash } from '../src/content/piece-hash.ts';
import { signedPieceMessage, signPiece } from '../src/content/signed-piece.ts';
import { digestKey } from '../src/discovery/digest-key.ts';
import {
  directoryProtocol,
  encodeAnswer,
  encodePush,
  encodeRequest,
  encodeSynced,
} from '../src/discovery/directory-protocol.ts';
import { encodeMembers, membersProtocol } from '../src/discovery/membership/members-protocol.ts';
import { encodeTagAnswer, encodeTagRequest, tagProtocol } from '../src/discovery/tags/tag-messages.ts';
import { digestOf } from '../src/oci/digest.ts';
import { generateIdentity } from '../src/peer/identity.ts';
import { fleetPrologue } from '../src/peer/libp2p/fleet.ts';
import { sessionProtocol } from '../src/peer/libp2p/session.ts';
import { encodeSessionMessage } from '../src/peer/libp2p/session-message.ts';
import { formatRange, formatTarget } from '../src/peer/tls/bulk-request.ts';
import { packPieces, piecesHeader } from '../src/peer/tls/piece-header.ts';
import { encodeFrame, swarmProtocol } from '../src/swarm/messages.ts';
import { markOf } from '../src/swarm/piece-mark.ts';
import { table } from './markdown.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Runs the codecs over fixed inputs; whoever writes another implementation compares with these. */
export async function wireVectors(): Promise<string> {
  const identity = await generateIdentity(new Uint8Array(32).fill(7));
  const content = Buffer.from('shoal');
  const digest = digestOf(content);
  const key = digestKey(digest);
  const blob = { digest, sizeBytes: content.length };
  const hash = pieceHash(content);
  const piece = signPiece(identity, blob, 0, hash);
  const providers = [{ peer: identity.peerId, holding: 'complete' as const, rank: 0 }];
  const address = `/ip4/127.0.0.1/tcp/5002/p2p/${identity.peerId}`;

  const rows: readonly (readonly [string, string])[] = [
    [
      'session: hello, version 1.0, product 0.1.0',
      hex(encodeSessionMessage({ kind: 'hello', major: 1, minor: 0, version: '0.1.0' })),
    ],
    ['session: refusal, version', hex(encodeSessionMessage({ kind: 'refusal', reason: 'version' }))],
    ['session: ping', hex(encodeSessionMessage({ kind: 'ping' }))],
    [
      'directory: announce 1, the digest, complete',
      hex(encodeRequest({ kind: 'announce', request: 1, entries: [{ key, holding: 'complete' }] })),
    ],
    ['directory: find 2, the digest', hex(encodeRequest({ kind: 'find', request: 2, keys: [key] }))],
    ['directory: withdraw 3, the digest', hex(encodeRequest({ kind: 'withdraw', request: 3, keys: [key] }))],
    ['directory: leave 4', hex(encodeRequest({ kind: 'leave', request: 4 }))],
    [
      'directory: sync 5, nothing announced',
      hex(encodeRequest({ kind: 'sync', request: 5, summary: { count: 0, high: 0, low: 0 } })),
    ],
    [
      'directory: answer to 2, the peer, complete, rank 0',
      hex(encodeAnswer(2, [{ index: 0, providers }], false)[0] ?? new Uint8Array()),
    ],
    ['directory: synced 5, same', hex(encodeSynced(5, true))],
    ['directory: push, the digest, the peer', hex(encodePush([{ key, providers }])[0] ?? new Uint8Array())],
    [
      'members: 16 wanted, the peer alone',
      hex(encodeMembers({ wanted: 16, members: [{ peer: identity.peerId, addresses: [address] }] })),
    ],
    [
      'tags: request 1, tag',
      hex(
        encodeTagRequest({
          id: 1,
          message: { kind: 'tag', namespace: 'docker.io', name: 'library/nginx', tag: 'latest' },
        }),
      ),
    ],
    ['tags: request 2, size of the digest', hex(encodeTagRequest({ id: 2, message: { kind: 'size', digest } }))],
    ['tags: answer 2, 5 bytes', hex(encodeTagAnswer({ id: 2, message: { kind: 'size', sizeBytes: 5 } }))],
    ['tags: answer 1, absent', hex(encodeTagAnswer({ id: 1, message: { kind: 'absent' } }))],
    ['swarm: hello, bulk port 5003, zone "a"', hex(encodeFrame([{ kind: 'hello', bulkPort: 5003, zone: 'a' }]))],
    [
      'swarm: state, nothing held of 1 piece, fetching, may ask the origin, wants a reply',
      hex(
        encodeFrame([
          {
            kind: 'state',
            digest,
            sizeBytes: 5,
            pieces: Uint8Array.of(0),
            isFetching: true,
            canAskOrigin: true,
            wantsReply: true,
          },
        ]),
      ),
    ],
    ['swarm: have piece 0', hex(encodeFrame([{ kind: 'have', digest, pieces: [0], marks: markOf(piece) }]))],
    ['swarm: signed piece 0', hex(encodeFrame([{ kind: 'signed', digest, piece }]))],
    ['swarm: piece 0, given', hex(encodeFrame([{ kind: 'piece', digest, piece, bytes: content }]))],
    ['swarm: moved', hex(encodeFrame([{ kind: 'moved' }]))],
    ['swarm: claim extent 0, no byte yet', hex(encodeFrame([{ kind: 'claim', digest, extent: 0, receivedBytes: 0 }]))],
    ['signed piece: message that is signed', hex(signedPieceMessage(blob, 0, hash))],
    ['signed piece: BLAKE3 of the piece', hex(hash)],
    ['signed piece: signature', hex(piece.signature)],
    ['bulk: request target', formatTarget({ digest, first: 0, count: 1 })],
    ['bulk: Range', formatRange({ start: 0, end: 5 })],
    [`bulk: ${piecesHeader}`, packPieces([piece])],
    [
      'fleet: Noise prologue of the secret "correct horse battery"',
      hex(fleetPrologue(Buffer.from('correct horse battery'))),
    ],
  ];
  // The peer network puts its own words around the name a protocol is opened under.
  const stream = (name: string) => `/shoal/${name}/1`;
  const streams: readonly (readonly [string, string])[] = [
    ['session', sessionProtocol],
    ['directory', stream(directoryProtocol)],
    ['members', stream(membersProtocol)],
    ['tags', stream(tagProtocol)],
    ['swarm', stream(swarmProtocol)],
  ];
  return `Stream names:

${table(
  ['Protocol', 'libp2p protocol ID'],
  streams.map(([name, id]) => [name, `\`${id}\``]),
)}

Vectors. The node's key has the seed \`07\` x 32, its peer ID is \`${identity.peerId}\`; the blob is the 5 bytes \`shoal\`, its digest is
\`${digest}\`. Messages are shown without the length prefix of the stream, in hexadecimal.

${table(
  ['What', 'Bytes'],
  rows.map(([name, bytes]) => [name, `\`${bytes}\``]),
)}`;
}
