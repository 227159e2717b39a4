import { describe, expect, it } from 'vitest';
import { findDialAddress } from '../../../src/peer/libp2p/address.ts';
import { decideListenHost, fleetPrologue } from '../../../src/peer/libp2p/fleet.ts';

const peer = '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X';

describe('findDialAddress', () => {
  it.each([
    ['10.0.0.1:5002', '/ip4/10.0.0.1/tcp/5002'],
    ['[fd00::1]:5002', '/ip6/fd00::1/tcp/5002'],
    ['node-1.example:5002', '/dns/node-1.example/tcp/5002'],
    ['localhost:1', '/dns/localhost/tcp/1'],
    ['/ip4/10.0.0.1/tcp/5002', '/ip4/10.0.0.1/tcp/5002'],
    [`/dns4/node/tcp/5002/p2p/${peer}`, `/dns4/node/tcp/5002/p2p/${peer}`],
  ])('reads %s', (text, expected) => {
    expect(findDialAddress(text)?.toString()).toBe(expected);
  });

  it.each([
    '',
    'node',
    'node:0',
    'node:70000',
    'a b:1',
    '::1:5002',
    '/ip4/1.2.3.4',
    '/ip4/1.2.3.4/udp/1',
    '/nonsense',
    'x/y:1',
  ])('refuses %s', (text) => expect(findDialAddress(text)).toBeUndefined());
});

describe('decideListenHost', () => {
  it.each([
    ['0.0.0.0', true, '0.0.0.0', false],
    ['0.0.0.0', false, '127.0.0.1', true],
    ['::', false, '::1', true],
    ['node.example', false, '127.0.0.1', true],
    ['127.0.0.2', false, '127.0.0.2', false],
    ['localhost', false, 'localhost', false],
  ])('for %s with secret %s binds %s', (wished, hasSecret, host, isConfined) => {
    expect(decideListenHost(wished, hasSecret)).toEqual({ host, isConfined });
  });
});

it('derives different prologues from different secrets', () => {
  const [one, two] = [fleetPrologue(Buffer.from('one')), fleetPrologue(Buffer.from('two'))];
  expect(one).toHaveLength(32);
  expect(one).not.toEqual(two);
});
