import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { configKeys } from '../../../src/config/keys.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { showConfig } from '../../../src/config/show.ts';
import type { CodedError } from '../../../src/lib/errors.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'shoal-config-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

function fileWith(text: string): string {
  const path = join(directory, 'shoal.yaml');
  writeFileSync(path, text);
  return path;
}

function problemsOf(text: string, env: Record<string, string> = {}, flags: Record<string, string> = {}): string {
  try {
    loadConfig({ path: fileWith(text), env, flags });
  } catch (error) {
    expect((error as CodedError).code).toBe('CONFIG_INVALID');
    return (error as Error).message.replaceAll(`${directory}/`, '');
  }
  throw new Error('the configuration was accepted');
}

describe('a configuration', () => {
  test('needs nothing: the defaults are those of the design', () => {
    const { config } = loadConfig({ path: fileWith(''), env: {} });
    expect(config.registry.listen).toEqual({ host: '127.0.0.1', port: 5000 });
    expect(config.admin.listen).toEqual({ host: '127.0.0.1', port: 5001 });
    expect(config.peer.listen.port).toBe(5002);
    expect(config.peer.bulkListen.port).toBe(5003);
    expect(config.defaultOrigin).toBe('docker.io');
    expect(config.dataDir.startsWith('/')).toBe(true);
  });

  test('takes defaults < file < environment < flags, and says which', () => {
    const path = fileWith(
      'registry:\n  listen: 127.0.0.1:1\nadmin:\n  listen: 127.0.0.1:1\npeer:\n  listen: 127.0.0.1:1\n',
    );
    const loaded = loadConfig({
      path,
      env: { SHOAL_ADMIN_LISTEN: '127.0.0.1:2', SHOAL_PEER_LISTEN: '127.0.0.1:2' },
      flags: { 'peer.listen': '127.0.0.1:3' },
    });
    const { registry, admin, peer } = loaded.config;
    expect([registry.listen.port, admin.listen.port, peer.listen.port]).toEqual([1, 2, 3]);
    expect(loaded.originOf('registry.listen')).toEqual({ kind: 'file', path, line: 2 });
    expect(loaded.originOf('admin.listen')).toEqual({ kind: 'environment', variable: 'SHOAL_ADMIN_LISTEN' });
    expect(loaded.originOf('peer.listen')).toEqual({ kind: 'flag', flag: '--peer.listen' });
    expect(loaded.originOf('cache.maxBytes')).toEqual({ kind: 'default' });
  });

  test('takes what others are told for addresses only', () => {
    const { config } = loadConfig({
      path: fileWith(
        'peer:\n  announce: [node.lan:5002, "[fd00::7]:5002", /dns4/node.lan/tcp/5002]\n  bulkAnnounce: 15003\n',
      ),
      env: {},
    });
    expect(config.peer.announce).toHaveLength(3);
    expect(config.peer.bulkAnnounce).toEqual({ host: '0.0.0.0', port: 15003 });
    for (const wrong of ['node.lan', '/dns4/node.lan', 'a b:1', 'http://node.lan:5002'])
      expect(problemsOf(`peer:\n  announce: ["${wrong}"]\n`)).toContain('expected host:port or a multiaddr');
    for (const wrong of ['node.lan', 'node.lan:0', 'ü:5003', 'a/b:5003'])
      expect(problemsOf(`peer:\n  bulkAnnounce: "${wrong}"\n`)).toContain('expected host:port');
    expect(problemsOf('admin:\n  token: "sixteen or more ü"\n')).toContain('printable ASCII');
  });

  test('names every key in the environment after its path', () => {
    const variables = Object.fromEntries(configKeys.map((key) => [key.path, key.variable]));
    expect(variables['registry.listen']).toBe('SHOAL_REGISTRY_LISTEN');
    expect(variables['fleet.secretFile']).toBe('SHOAL_FLEET_SECRET_FILE');
    expect(variables['dataDir']).toBe('SHOAL_DATA_DIR');
    expect(new Set(Object.values(variables)).size).toBe(configKeys.length);
  });

  test('reads lists, maps, sizes, times and truth from the environment', () => {
    const { config } = loadConfig({
      path: fileWith(''),
      env: {
        SHOAL_FLEET_BOOTSTRAP: 'a:1, b:2,',
        SHOAL_FLEET_MDNS: 'yes',
        SHOAL_ORIGINS: '{"registry.lan:5000":{"url":"http://registry.lan:5000","insecure":true}}',
        SHOAL_CACHE_MAX_BYTES: '1.5GiB',
        SHOAL_TAGS_FRESHNESS: '1m30s',
        SHOAL_SWARM_UPLOAD_SLOTS: '3',
      },
    });
    expect(config.fleet.bootstrap).toEqual(['a:1', 'b:2']);
    expect(config.fleet.mdns).toBe(true);
    expect(config.origins['registry.lan:5000']).toEqual({ url: 'http://registry.lan:5000', insecure: true });
    expect(config.cache.maxBytes).toBe(1.5 * 2 ** 30);
    expect(config.tags.freshness).toBe(90_000);
    expect(config.swarm.uploadSlots).toBe(3);
  });

  test('treats an empty variable and an empty section as not set', () => {
    const { config } = loadConfig({ path: fileWith('registry:\nfleet:\n'), env: { SHOAL_FLEET_SECRET: '' } });
    expect(config.registry.listen.port).toBe(5000);
    expect(config.fleet.secret).toBeUndefined();
  });

  test('refuses an unknown key with its line and a suggestion', () => {
    expect(problemsOf('admin: {}\nregistry:\n  lisen: x\n')).toBe(
      'shoal.yaml:3:3: unknown key "registry.lisen"; did you mean "registry.listen"?',
    );
    expect(problemsOf('bootstrap: [a]\n')).toContain('did you mean "fleet.bootstrap"?');
    expect(problemsOf('origins:\n  docker.io:\n    user: me\n')).toContain('shoal.yaml:3:5: unknown key');
  });

  test.each([
    ['registry:\n  listen: nonsense\n', 'shoal.yaml:2:3: registry.listen: expected host:port'],
    ['registry:\n  idleTimeout: 30\n', 'shoal.yaml:2:3: registry.idleTimeout: expected a time with its unit'],
    ['cache:\n  maxBytes: lots\n', 'shoal.yaml:2:3: cache.maxBytes: expected a size'],
    ['swarm:\n  uploadSlots: 0\n', 'expected a whole number from 1 to 256'],
    ['swarm:\n  uploadSlots: true\n', 'swarm.uploadSlots'],
    ['fleet:\n  secret: short\n', 'fleet.secret'],
    ['defaultOrigin: Docker.io/library\n', 'expected a registry host name'],
    ['registry: [1]\n', 'shoal.yaml:1:1: registry'],
    ['- a\n', 'shoal.yaml:1:1'],
    ['registry: {\n', 'shoal.yaml:'],
    ['a: 1\na: 2\n', 'shoal.yaml:2:1'],
  ])('refuses %j at its place', (text, expected) => {
    expect(problemsOf(text)).toContain(expected);
  });

  test('names the variable or the flag that holds a bad value', () => {
    expect(problemsOf('', { SHOAL_REGISTRY_LISTEN: 'x:y:z' })).toMatch(/^SHOAL_REGISTRY_LISTEN: /);
    expect(problemsOf('', {}, { 'log.level': 'loud' })).toMatch(/^--log\.level: /);
  });

  test('lists every problem at once', () => {
    expect(problemsOf('a: 1\nb: 2\nregistry:\n  listen: x:y\n').split('\n')).toHaveLength(3);
  });

  test('warns of variables nobody reads, but not of those Kubernetes makes', () => {
    const { warnings } = loadConfig({
      path: fileWith(''),
      env: {
        SHOAL_REGISTY_LISTEN: 'x',
        SHOAL_SERVICE_HOST: '10.0.0.1',
        SHOAL_PORT_5000_TCP_ADDR: '10.0.0.1',
        SHOAL_PORT: 'tcp://x',
      },
    });
    expect(warnings).toEqual(['environment variable SHOAL_REGISTY_LISTEN is not a key of the configuration']);
  });

  test('says so when the file named is not there', () => {
    expect(() => loadConfig({ path: join(directory, 'none.yaml'), env: {} })).toThrow(
      expect.objectContaining({ code: 'CONFIG_UNREADABLE' }),
    );
  });

  test('is shown without its secrets', () => {
    const loaded = loadConfig({
      path: fileWith(
        'fleet:\n  secret: very-secret-very-secret\norigins:\n  docker.io:\n    username: me\n    password: pass-word\n',
      ),
      env: {},
    });
    const text = JSON.stringify(showConfig(loaded));
    expect(text).not.toContain('very-secret');
    expect(text).not.toContain('pass-word');
    expect(text).toContain('"username":"me"');
  });
});
