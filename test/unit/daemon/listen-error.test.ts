import { expect, test } from 'vitest';
import { binding } from '../../../src/daemon/listen-error.ts';
import { PeerError } from '../../../src/peer/errors.ts';

const failing = (error: Error) => binding('registry.listen', '127.0.0.1:5000', () => Promise.reject(error));
const systemError = (code: string) => Object.assign(new Error(`listen ${code}`), { code });

test('gives back what was started', async () => {
  expect(await binding('registry.listen', '127.0.0.1:5000', async () => 42)).toBe(42);
});

test.each([
  ['a plain error', systemError('EADDRINUSE'), 'DAEMON_PORT_TAKEN'],
  ['a privileged port', systemError('EACCES'), 'DAEMON_ADDRESS_REFUSED'],
  ['a foreign address', systemError('EADDRNOTAVAIL'), 'DAEMON_ADDRESS_REFUSED'],
  [
    'an error below the error of a part',
    new PeerError('PEER_LISTEN', 'cannot listen', { cause: systemError('EADDRINUSE') }),
    'DAEMON_PORT_TAKEN',
  ],
  [
    'an error of which libp2p kept the text alone',
    new PeerError('PEER_LISTEN', 'cannot listen', {
      cause: new Error('failed:\n /ip4/1: Error: listen EADDRINUSE: in use'),
    }),
    'DAEMON_PORT_TAKEN',
  ],
])('names the key for %s', async (_, error, code) => {
  await expect(failing(error)).rejects.toMatchObject({ code, cause: error, details: { key: 'registry.listen' } });
});

test('leaves other errors alone', async () => {
  const error = new Error('something else');
  await expect(failing(error)).rejects.toBe(error);
});
