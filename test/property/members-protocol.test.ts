import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeMembers, encodeMembers } from '../../src/discovery/membership/members-protocol.ts';
import { isCode } from '../../src/lib/errors.ts';
import { maxMessageBytes } from '../../src/peer/peer-network.ts';
import { testPeer } from '../support/discovery.ts';

const member = fc
  .tuple(fc.nat(50), fc.array(fc.tuple(fc.ipV4(), fc.integer({ min: 1, max: 65_535 })), { maxLength: 8 }))
  .map(([name, hosts]) => {
    const peer = testPeer(name);
    return { peer, addresses: hosts.map(([host, port]) => `/ip4/${host}/tcp/${port}/p2p/${peer}`) };
  });
const message = fc.record({ wanted: fc.nat(1000), members: fc.array(member, { maxLength: 40 }) });

describe('members protocol', () => {
  it('reads back every message', () => {
    fc.assert(
      fc.property(message, (each) => {
        expect(decodeMembers(encodeMembers(each))).toEqual(each);
      }),
    );
  });

  it('tells as many as fit a message, and no address of another peer', () => {
    const addresses = Array.from({ length: 8 }, (_, at) => `/dns4/${'x'.repeat(200)}/tcp/${at}/p2p/${testPeer(1)}`);
    const members = Array.from({ length: 1000 }, () => ({ peer: testPeer(1), addresses }));
    const bytes = encodeMembers({ wanted: 1, members });
    expect(bytes.length).toBeLessThanOrEqual(maxMessageBytes);
    expect(decodeMembers(bytes).members.length).toBeGreaterThan(40);
    const foreign = { peer: testPeer(2), addresses };
    expect(decodeMembers(encodeMembers({ wanted: 1, members: [foreign] })).members[0]?.addresses).toEqual([]);
  });

  it('gives a message or WIRE_INVALID for any bytes', () => {
    const mutated = fc.tuple(message, fc.nat(), fc.nat(255)).map(([each, at, byte]) => {
      const bytes = Uint8Array.from(encodeMembers(each));
      bytes[at % bytes.length] = byte;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 500 }), mutated), (bytes) => {
        try {
          decodeMembers(bytes);
        } catch (error) {
          if (!isCode(error, 'WIRE_INVALID')) throw error;
        }
      }),
      { numRuns: 1000 },
    );
  });
});
