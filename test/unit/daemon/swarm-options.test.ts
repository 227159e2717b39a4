import { expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/load.ts';
import { swarmOptions } from '../../../src/daemon/options/swarm-options.ts';

test.each([
  [{}, { host: undefined, port: 5003 }],
  [{ SHOAL_PEER_BULK_ANNOUNCE: '15003' }, { host: undefined, port: 15003 }],
  [{ SHOAL_PEER_BULK_ANNOUNCE: 'node.lan:15003' }, { host: 'node.lan', port: 15003 }],
])('tells others where the bulk plane is: %j', (env, { host, port }) => {
  const { config } = loadConfig({ env: { SHOAL_DATA_DIR: '/tmp', ...env } });
  const options = swarmOptions(config, 5003);
  expect([options.bulkHost, options.bulkPort]).toEqual([host, port]);
});
