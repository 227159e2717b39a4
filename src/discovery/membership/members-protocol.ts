import { findPeerId, type PeerId } from '../../content/peer-id.ts';
import { WireError, WireReader, WireWriter } from '../../lib/wire.ts';
import { maxMessageBytes } from '../../peer/peer-network.ts';

/**
 * `/shoal/members/1` (the peer network adds what is around the name): who opens the channel sends one message, gets one back, and
 * closes. Each side tells where it listens itself, and up to as many other connected members as the other wants.
 */
export const membersProtocol = 'members';

export interface MembersMessage {
  /** How many members the sender wants to hear of. */
  readonly wanted: number;
  /** The sender first. */
  readonly members: readonly MemberAddresses[];
}

export interface MemberAddresses {
  readonly peer: PeerId;
  /** Multiaddrs that end in the peer ID. */
  readonly addresses: readonly string[];
}

export const maxMembersPerMessage = 1000;
export const maxAddressesPerMember = 8;
const maxAddressBytes = 300;

/** Encodes as many of the members as fit a message. */
export function encodeMembers(message: MembersMessage): Uint8Array {
  const fitting: MemberAddresses[] = [];
  let sizeBytes = 16;
  for (const { peer, addresses } of message.members.slice(0, maxMembersPerMessage)) {
    const told = addresses.filter((address) => isMemberAddress(address, peer)).slice(0, maxAddressesPerMember);
    sizeBytes += peer.length + 4 + told.reduce((sum, address) => sum + address.length + 2, 0);
    if (sizeBytes > maxMessageBytes) break;
    fitting.push({ peer, addresses: told });
  }
  const writer = new WireWriter().number(Math.min(message.wanted, maxMembersPerMessage)).number(fitting.length);
  for (const { peer, addresses } of fitting) {
    writer.text(peer).number(addresses.length);
    for (const address of addresses) writer.text(address);
  }
  return writer.finish();
}

/** Reads a message. @throws WIRE_INVALID */
export function decodeMembers(bytes: Uint8Array): MembersMessage {
  const reader = new WireReader(bytes);
  const wanted = reader.number(maxMembersPerMessage);
  const count = reader.number(maxMembersPerMessage);
  const members: MemberAddresses[] = [];
  for (let at = 0; at < count; at += 1) members.push(readMember(reader));
  reader.end();
  return { wanted, members };
}

function readMember(reader: WireReader): MemberAddresses {
  const peer = findPeerId(reader.text(64));
  if (peer === undefined) throw new WireError('WIRE_INVALID', 'not a peer ID');
  const count = reader.number(maxAddressesPerMember);
  const addresses: string[] = [];
  for (let at = 0; at < count; at += 1) {
    const address = reader.text(maxAddressBytes);
    if (!isMemberAddress(address, peer)) throw new WireError('WIRE_INVALID', 'not an address of the member');
    addresses.push(address);
  }
  return { peer, addresses };
}

/** TCP only, and pinned to the peer: nobody can make a node dial an address as someone else. */
const addressPattern = /^\/(?:ip4|ip6|dns|dns4|dns6)\/[A-Za-z0-9.:_-]{1,253}\/tcp\/\d{1,5}\/p2p\/([A-Za-z0-9]{1,64})$/;

function isMemberAddress(address: string, peer: PeerId): boolean {
  return address.length <= maxAddressBytes && addressPattern.exec(address)?.[1] === peer;
}
