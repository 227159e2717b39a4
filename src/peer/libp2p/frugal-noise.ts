import { type NoiseInit, noise } from '@chainsafe/libp2p-noise';
import type { ConnectionEncrypter, MessageStream, MultiaddrConnection } from '@libp2p/interface';

type Chunk = Parameters<MessageStream['send']>[0];
type LengthDecoder = (data: Chunk) => number;

/** What js-libp2p-noise's encrypted stream has beyond libp2p's interface (EncryptedMessageStream, v17). */
interface DecodingStream {
  readonly decoder: { lengthDecoder: LengthDecoder };
}

/**
 * Noise as js-libp2p has it, with the same bytes on the wire at less cost per frame, which for short messages is most of their cost.
 * A frame goes to the socket as one write: libp2p writes each part of it by itself, so that the length alone makes a packet, a
 * system call and an arrival. And the end of what has arrived, met after every frame, is told by an error that is made once.
 */
export function frugalNoise(init: NoiseInit): ReturnType<typeof noise> {
  const create = noise(init);
  return (components) => {
    const encrypter = create(components);
    const secureOutbound: ConnectionEncrypter['secureOutbound'] = encrypter.secureOutbound.bind(encrypter);
    const secureInbound: ConnectionEncrypter['secureInbound'] = encrypter.secureInbound.bind(encrypter);
    return Object.assign(encrypter, {
      secureOutbound: (async (connection, options) =>
        withCheapEnds(await secureOutbound(withWholeWrites(connection), options))) as typeof secureOutbound,
      secureInbound: (async (connection, options) =>
        withCheapEnds(await secureInbound(withWholeWrites(connection), options))) as typeof secureInbound,
    });
  };
}

function withWholeWrites<Connection extends MessageStream | MultiaddrConnection>(connection: Connection): Connection {
  const send = connection.send.bind(connection);
  connection.send = (data) => send(data.subarray());
  return connection;
}

const lengthBytes = 2;
// libp2p's decoder takes any RangeError for "wait for more"; one with a stack of its own costs 30 microseconds.
const incompleteLength = new RangeError('the length of a frame is incomplete');

function withCheapEnds<Secured extends { readonly connection: MessageStream }>(secured: Secured): Secured {
  const { connection } = secured;
  if (!isDecoding(connection)) return secured;
  const { decoder } = connection;
  const { lengthDecoder } = decoder;
  decoder.lengthDecoder = (data) => {
    if (data.byteLength < lengthBytes) throw incompleteLength;
    return lengthDecoder(data);
  };
  return secured;
}

function isDecoding(stream: object): stream is DecodingStream {
  if (!('decoder' in stream) || typeof stream.decoder !== 'object' || stream.decoder === null) return false;
  return 'lengthDecoder' in stream.decoder && typeof stream.decoder.lengthDecoder === 'function';
}
