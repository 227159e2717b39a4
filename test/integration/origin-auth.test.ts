import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { blobOf } from '../../src/cli/demo/origin-content.ts';
import { systemClock, systemRandom } from '../../src/lib/clock.ts';
import type { Logger } from '../../src/lib/logger.ts';
import { createOrigin } from '../../src/origin/create-origin.ts';
import type { Origin } from '../../src/origin/origin.ts';
import type { OriginEntry, OriginsOptions } from '../../src/origin/origin-options.ts';
import { noMetrics } from '../../src/telemetry/metrics.ts';
import type { ChaosAuthOptions } from '../support/chaos-auth.ts';
import { type ChaosRegistry, startChaosRegistry } from '../support/chaos-registry.ts';
import { originOptions } from '../support/origin-options.ts';

const signal = new AbortController().signal;
const secret = 's3cret-password';
const blob = blobOf(Buffer.from('the blob'));
const range = { start: 0, end: blob.sizeBytes, sizeBytes: blob.sizeBytes };

describe('authentication at an origin', () => {
  const opened: AsyncDisposable[] = [];
  const logged: unknown[] = [];
  const note = (fields: object, message: string) => logged.push(fields, message);
  const logger: Logger = { error: note, warn: note, info: note, debug: note, trace: note, child: () => logger };
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'shoal-origin-'));
  });
  afterEach(async () => {
    for (const one of opened.splice(0).reverse()) await one[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
    expect(JSON.stringify(logged)).not.toContain(secret);
    logged.length = 0;
  });

  const startRegistry = async (auth: ChaosAuthOptions): Promise<ChaosRegistry> => {
    const registry = await startChaosRegistry({ auth });
    registry.putBlob('team/app', blob);
    registry.putBlob('team/other', blob);
    opened.push(registry);
    return registry;
  };
  const connect = (registry: ChaosRegistry, entry: OriginEntry, others: Partial<OriginsOptions> = {}): Origin => {
    const deps = { clock: systemClock, random: systemRandom, logger, metrics: noMetrics };
    const origin = createOrigin(deps, originOptions({ [registry.host]: entry }, others));
    opened.push(origin);
    return origin;
  };
  const stat = (origin: Origin, registry: ChaosRegistry, name = 'team/app') =>
    origin.statBlob({ namespace: registry.host, name }, blob.digest, { signal });

  it('sends basic credentials once asked for, and without being asked from then on', async () => {
    const registry = await startRegistry({ kind: 'basic', username: 'fish', password: secret });
    const origin = connect(registry, { credentials: { username: 'fish', password: secret } });
    await stat(origin, registry);
    await stat(origin, registry, 'team/other');
    expect(registry.auth.challenges).toBe(1);
    expect(registry.requests.map(({ status }) => status)).toEqual([401, 200, 200]);
  });

  it('says unauthorized, without the secret, when basic credentials are wrong or missing', async () => {
    const registry = await startRegistry({ kind: 'basic', username: 'fish', password: 'other' });
    for (const entry of [{ credentials: { username: 'fish', password: secret } }, {}]) {
      const error = await stat(connect(registry, entry), registry).catch((caught) => caught);
      expect(error.code).toBe('ORIGIN_UNAUTHORIZED');
      expect(`${error.stack}${JSON.stringify(error)}`).not.toContain(secret);
    }
  });

  it.each(['token', 'access_token'] as const)('fetches one anonymous token per repository from "%s"', async (field) => {
    const registry = await startRegistry({ kind: 'token', field });
    const origin = connect(registry, {});
    await Promise.all([stat(origin, registry), stat(origin, registry), stat(origin, registry)]);
    await stat(origin, registry);
    await stat(origin, registry, 'team/other');
    expect(registry.auth.tokenRequests).toEqual([
      { authorization: undefined, scope: 'repository:team/app:pull' },
      { authorization: undefined, scope: 'repository:team/other:pull' },
    ]);
    // Only requests sent before the first challenge was answered meet one.
    expect(registry.auth.challenges).toBe(3);
  });

  it('sends credentials to the token service and a new token when the old one is refused', async () => {
    const credentials = { username: 'fish', password: secret };
    const registry = await startRegistry({ kind: 'token', credentials });
    const origin = connect(registry, { credentials });
    await stat(origin, registry);
    registry.auth.expireTokens();
    await stat(origin, registry);
    expect(registry.auth.tokensIssued).toBe(2);
    expect(registry.auth.challenges).toBe(2);
  });

  it('fetches a new token before the old one expires', async () => {
    // Five seconds are the margin before the expiry: such a token serves one request.
    const registry = await startRegistry({ kind: 'token', expiresInSeconds: 5 });
    const origin = connect(registry, {});
    await stat(origin, registry);
    await stat(origin, registry);
    expect(registry.auth.tokensIssued).toBe(2);
    expect(registry.auth.challenges).toBe(1);
  });

  it('says unauthorized when the token service refuses, and asks again later', async () => {
    const registry = await startRegistry({ kind: 'token', credentials: { username: 'fish', password: 'other' } });
    const origin = connect(registry, { credentials: { username: 'fish', password: secret } });
    for (let index = 0; index < 2; index += 1) {
      await expect(stat(origin, registry)).rejects.toMatchObject({ code: 'ORIGIN_UNAUTHORIZED' });
    }
  });

  it('never sends anything to a realm on another host', async () => {
    const thief = await startRegistry({ kind: 'token' });
    const port = new URL(thief.url).port;
    const registry = await startRegistry({ kind: 'token', realm: `http://localhost:${port}/token` });
    const origin = connect(registry, { credentials: { username: 'fish', password: secret } });
    await expect(stat(origin, registry)).rejects.toMatchObject({ code: 'ORIGIN_REALM_REFUSED' });
    expect(thief.requests).toEqual([]);
  });

  it('asks a realm on another host that the operator trusts', async () => {
    const service = await startRegistry({ kind: 'token' });
    const port = new URL(service.url).port;
    const registry = await startRegistry({ kind: 'token', realm: `http://localhost:${port}/token` });
    const origin = connect(registry, { trustedHosts: ['localhost'] });
    // The other service's token is none of this registry's: what matters is that it was asked.
    await expect(stat(origin, registry)).rejects.toMatchObject({ code: 'ORIGIN_UNAUTHORIZED' });
    expect(service.auth.tokensIssued).toBe(1);
  });

  it('reads a password file again for each new token', async () => {
    const passwordFile = join(directory, 'password');
    const registry = await startRegistry({ kind: 'token', credentials: { username: 'fish', password: secret } });
    const origin = connect(registry, { credentials: { username: 'fish', passwordFile } });
    await expect(stat(origin, registry)).rejects.toMatchObject({ code: 'ORIGIN_UNAUTHORIZED' });
    await writeFile(passwordFile, `${secret}\n`);
    await stat(origin, registry);
    expect(registry.auth.tokensIssued).toBe(1);
  });

  it('sends a configured token as it is', async () => {
    const registry = await startRegistry({ kind: 'token' });
    const origin = connect(registry, { credentials: { token: secret } });
    await expect(stat(origin, registry)).rejects.toMatchObject({ code: 'ORIGIN_UNAUTHORIZED' });
    expect(registry.requests.map(({ headers }) => headers['authorization'])).toEqual([undefined, `Bearer ${secret}`]);
    expect(registry.auth.tokensIssued).toBe(0);
  });

  it('finds credentials in a docker config', async () => {
    const registry = await startRegistry({ kind: 'basic', username: 'fish', password: secret });
    const dockerConfigFile = join(directory, 'config.json');
    const auth = Buffer.from(`fish:${secret}`).toString('base64');
    await writeFile(dockerConfigFile, JSON.stringify({ auths: { [registry.host]: { auth } } }));
    await stat(connect(registry, {}, { dockerConfigFile }), registry);
  });

  it('exchanges an identity token of a docker config', async () => {
    const registry = await startRegistry({ kind: 'token', refreshToken: secret });
    const dockerConfigFile = join(directory, 'config.json');
    await writeFile(dockerConfigFile, JSON.stringify({ auths: { [registry.host]: { identitytoken: secret } } }));
    await stat(connect(registry, {}, { dockerConfigFile }), registry);
    expect(registry.requests.map(({ method }) => method)).toEqual(['HEAD', 'POST', 'HEAD']);
  });

  it('asks a credential helper, without a shell', async () => {
    const registry = await startRegistry({ kind: 'basic', username: 'fish', password: secret });
    const helper = join(directory, 'docker-credential-aquarium');
    const answer = JSON.stringify({ ServerURL: registry.host, Username: 'fish', Secret: secret });
    await writeFile(helper, `#!/bin/sh\nread server\n[ "$1 $server" = "get ${registry.host}" ] && echo '${answer}'\n`);
    await chmod(helper, 0o755);
    const dockerConfigFile = join(directory, 'config.json');
    const config = { credHelpers: { [registry.host]: 'aquarium' } };
    await writeFile(dockerConfigFile, JSON.stringify(config));
    const path = process.env['PATH'];
    process.env['PATH'] = `${directory}:${path}`;
    try {
      await stat(connect(registry, {}, { dockerConfigFile }), registry);
      await writeFile(helper, '#!/bin/sh\necho "credentials not found in native keychain"; exit 1\n');
      const anonymous = stat(connect(registry, {}, { dockerConfigFile }), registry);
      await expect(anonymous).rejects.toMatchObject({ code: 'ORIGIN_UNAUTHORIZED' });
      await writeFile(helper, '#!/bin/sh\nexit 3\n');
      const failed = stat(connect(registry, {}, { dockerConfigFile }), registry);
      await expect(failed).rejects.toMatchObject({ code: 'ORIGIN_UNAUTHORIZED', details: { helper: 'aquarium' } });
    } finally {
      process.env['PATH'] = path;
    }
  });

  it('does not send credentials along a redirect to another host', async () => {
    const store = await startChaosRegistry();
    opened.push(store);
    store.putBlob('team/app', blob);
    const registry = await startRegistry({ kind: 'basic', username: 'fish', password: secret });
    registry.fail({ kinds: ['blob-get'], fault: { kind: 'redirect', to: store.url } });
    const origin = connect(registry, { credentials: { username: 'fish', password: secret } });
    const body = await origin.openBlob({ namespace: registry.host, name: 'team/app' }, blob.digest, range, { signal });
    for await (const chunk of body.chunks) expect(Buffer.from(chunk).toString()).toBe('the blob');
    expect(store.requests.map(({ headers }) => headers['authorization'])).toEqual([undefined]);
  });
});
