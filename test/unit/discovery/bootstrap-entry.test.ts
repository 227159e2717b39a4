import { describe, expect, it } from 'vitest';
import { parseBootstrapEntry } from '../../../src/discovery/membership/bootstrap-entry.ts';
import { resolveEntry } from '../../../src/discovery/membership/resolver.ts';

describe('bootstrap entry', () => {
  it.each([
    ['10.0.0.1:5002', { kind: 'address', address: '10.0.0.1:5002' }],
    ['[fd00::1]:5002', { kind: 'address', address: '[fd00::1]:5002' }],
    [' node-1.lan:5002 ', { kind: 'name', name: 'node-1.lan', port: 5002 }],
    ['_shoal._tcp.peers.svc', { kind: 'service', name: '_shoal._tcp.peers.svc' }],
    ['/ip4/10.0.0.1/tcp/5002', { kind: 'address', address: '/ip4/10.0.0.1/tcp/5002' }],
    ['/dns4/node/tcp/5002', { kind: 'address', address: '/dns4/node/tcp/5002' }],
  ])('reads %s', (text, expected) => expect(parseBootstrapEntry(text)).toEqual(expected));

  it.each([
    '',
    'node',
    'node:0',
    'node:70000',
    ':5002',
    'a b:1',
    'http://node:5002',
    '/etc/hosts',
    'fd00::1:5002',
    '[node]:1',
  ])('refuses %j', (text) =>
    expect(() => parseBootstrapEntry(text)).toThrow(expect.objectContaining({ code: 'DISCOVERY_BOOTSTRAP_INVALID' })),
  );

  it('resolves a name to all its addresses and a service to all its targets', async () => {
    const resolver = {
      addresses: async () => ['10.0.0.1', 'fd00::1'],
      services: async () => [{ host: 'node-1', port: 7000 }],
    };
    const resolve = (text: string) => resolveEntry(parseBootstrapEntry(text), resolver);
    expect(await resolve('peers:5002')).toEqual(['10.0.0.1:5002', '[fd00::1]:5002']);
    expect(await resolve('_shoal._tcp.peers')).toEqual(['node-1:7000']);
    expect(await resolve('10.0.0.9:1')).toEqual(['10.0.0.9:1']);
  });
});
