import { multiaddr } from '@multiformats/multiaddr';
import { expect, it } from 'vitest';
import { createMdnsService } from '../../../src/discovery/membership/mdns-service.ts';
import { testPeer } from '../../support/discovery.ts';

it('tells of a found peer with addresses that are pinned to it', () => {
  const mdns = createMdnsService({ queryIntervalMs: 10_000 });
  const heard: unknown[] = [];
  const stop = mdns.onPeer((peer, addresses) => heard.push([peer, addresses]));
  // Not started, so that nothing is sent; the components it would start with are only a logger and an address book.
  const service = mdns.factory({ logger: { forComponent: () => () => {} }, addressManager: {} } as never);
  const peer = testPeer('a');
  const detail = { id: { toString: () => peer }, multiaddrs: [multiaddr('/ip4/10.0.0.1/tcp/5002')] };
  service.dispatchEvent(new CustomEvent('peer', { detail }));
  service.dispatchEvent(new CustomEvent('peer', { detail: { ...detail, id: { toString: () => 'QmForeign' } } }));
  stop();
  service.dispatchEvent(new CustomEvent('peer', { detail }));
  expect(heard).toEqual([[peer, [`/ip4/10.0.0.1/tcp/5002/p2p/${peer}`]]]);
});
