import { generateKeyPair } from '@libp2p/crypto/keys';
import type { MessageStream, StreamMessageEvent } from '@libp2p/interface';
import { defaultLogger } from '@libp2p/logger';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { multiaddrConnectionPair } from '@libp2p/utils';
import { describe, expect, it, vi } from 'vitest';
import { frugalNoise } from '../../../src/peer/libp2p/frugal-noise.ts';

async function secure() {
  const [dialler, listener] = multiaddrConnectionPair();
  const noiseOf = async () => {
    const privateKey = await generateKeyPair('Ed25519');
    const components = { privateKey, peerId: peerIdFromPrivateKey(privateKey), logger: defaultLogger() };
    return frugalNoise({})({ ...components, upgrader: { getStreamMuxers: () => new Map() } } as never);
  };
  const [ours, theirs] = [await noiseOf(), await noiseOf()];
  const [outbound, inbound] = await Promise.all([
    ours.secureOutbound(dialler as never),
    theirs.secureInbound(listener as never),
  ]);
  return { dialler, outbound: outbound.connection, inbound: inbound.connection };
}

const arrival = (stream: MessageStream) =>
  new Promise<Uint8Array>((resolve) => {
    stream.addEventListener('message', ({ data }: StreamMessageEvent) => resolve(data.subarray()), { once: true });
  });

describe('frugal noise', () => {
  it('gives a frame to the connection below as one piece, and the other end reads it', async () => {
    const { dialler, outbound, inbound } = await secure();
    const parts: number[] = [];
    const raw = dialler as unknown as { sendData(data: Iterable<Uint8Array>): unknown };
    const sendData = raw.sendData.bind(dialler);
    vi.spyOn(raw, 'sendData').mockImplementation((data) => {
      parts.push([...data].length);
      return sendData(data);
    });
    const arrived = arrival(inbound);
    outbound.send(Buffer.from('a short message'));
    expect(Buffer.from(await arrived).toString()).toBe('a short message');
    expect(parts).toEqual([1]);
  });

  it('tells that a length is incomplete by one error, whose stack is taken once', async () => {
    const { inbound } = await secure();
    const { decoder } = inbound as unknown as { decoder: { lengthDecoder(data: Uint8Array): number } };
    const thrown = () => {
      try {
        return decoder.lengthDecoder(Uint8Array.of(1));
      } catch (error) {
        return error;
      }
    };
    expect(thrown()).toBeInstanceOf(RangeError);
    expect(thrown()).toBe(thrown());
    expect(decoder.lengthDecoder(Uint8Array.of(1, 2))).toBe(258);
  });
});
