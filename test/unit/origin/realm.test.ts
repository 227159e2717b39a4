import { describe, expect, it } from 'vitest';
import {
  findRedirectRefusal,
  findRegistrableDomain,
  isCarrierSafe,
  isRealmAllowed,
} from '../../../src/origin/auth/realm.ts';
import { findLiteralAddress, isPrivateAddress } from '../../../src/origin/http/private-address.ts';

describe('isRealmAllowed', () => {
  it.each<[string, string, boolean]>([
    ['https://registry-1.docker.io', 'https://auth.docker.io/token', true],
    ['https://ghcr.io', 'https://ghcr.io/token', true],
    ['https://registry.gitlab.com', 'https://gitlab.com/jwt/auth', true],
    ['https://registry.lan:5000', 'https://registry.lan:5001/auth', true],
    ['http://registry.lan', 'http://auth.lan/token', false],
    ['http://registry.corp.lan', 'http://auth.corp.lan/token', true],
    ['http://registry.corp.lan', 'https://auth.corp.lan/token', true],
    ['https://registry.corp.lan', 'http://auth.corp.lan/token', false],
    ['https://ghcr.io', 'http://ghcr.io/token', false],
    ['https://ghcr.io', 'https://evil.example/token', false],
    ['https://ghcr.io', 'https://ghcr.io.evil.example/token', false],
    ['https://ghcr.io', 'https://evilghcr.io/token', false],
    ['https://registry.a.co.uk', 'https://auth.b.co.uk/token', false],
    ['https://registry.a.co.uk', 'https://auth.a.co.uk/token', true],
    ['https://1.dkr.ecr.eu-west-1.amazonaws.com', 'https://evil.s3.eu-west-1.amazonaws.com/', false],
    ['https://a.azurecr.io', 'https://b.azurecr.io/oauth2/token', false],
    ['https://a.azurecr.io', 'https://a.azurecr.io/oauth2/token', true],
    ['https://ghcr.io', 'https://169.254.169.254/latest', false],
    ['https://ghcr.io', 'https://localhost/token', false],
    ['https://ghcr.io', 'https://[::1]/token', false],
    ['https://ghcr.io', 'https://2130706433/token', false],
    ['http://127.0.0.1:5000', 'http://127.0.0.1:5001/token', true],
    ['http://127.0.0.1:5000', 'http://127.0.0.2:5001/token', false],
    ['http://127.0.0.1:5000', 'http://localhost:5001/token', false],
    ['http://10.0.0.1', 'http://10.0.0.1.evil.example/token', false],
    ['https://ghcr.io', 'https://user:password@ghcr.io/token', false],
    ['https://ghcr.io', 'ftp://ghcr.io/token', false],
    ['https://ghcr.io', 'https://GHCR.IO/token', true],
  ])('origin %s, realm %s: %s', (origin, realm, expected) => {
    expect(isRealmAllowed(new URL(origin), new URL(realm), [])).toBe(expected);
  });

  it.each(['sso.example', 'sso.example:8443', 'SSO.example'])('allows a realm at the trusted host %s', (trusted) => {
    const origin = new URL('https://registry.corp');
    expect(isRealmAllowed(origin, new URL('https://sso.example:8443/token'), [trusted])).toBe(true);
    expect(isRealmAllowed(origin, new URL('http://sso.example:8443/token'), [trusted])).toBe(false);
    expect(isRealmAllowed(origin, new URL('https://other.example/token'), [trusted])).toBe(false);
  });
});

describe('findRedirectRefusal', () => {
  const isPrivate = (hostname: string) => isPrivateAddress(findLiteralAddress(hostname) ?? '');
  it.each<[string, string, boolean, string | undefined]>([
    ['https://registry.io', 'https://cdn.example/x', false, undefined],
    ['https://registry.io', 'http://cdn.example/x', false, 'downgrade'],
    ['http://registry.lan', 'https://cdn.example/x', false, undefined],
    ['https://registry.io', 'https://10.1.2.3/x', false, 'private-address'],
    ['https://registry.io', 'https://10.1.2.3/x', true, undefined],
    ['https://registry.io', 'https://minio.lan/x', false, undefined],
    ['https://registry.io', 'https://a:b@cdn.example/x', false, 'credentials-in-url'],
    ['https://registry.io', 'file:///etc/passwd', false, 'scheme'],
  ])('from %s to %s, origin private %s: %s', (from, to, isOriginPrivate, expected) => {
    const options = { isOriginPrivate, trustedHosts: [], isPrivate };
    expect(findRedirectRefusal(new URL(from), new URL(to), options)).toBe(expected);
  });

  it('lets the operator name a private host', () => {
    const options = { isOriginPrivate: false, trustedHosts: ['10.1.2.3'], isPrivate };
    expect(findRedirectRefusal(new URL('https://a.io'), new URL('https://10.1.2.3/x'), options)).toBeUndefined();
  });
});

it.each<[string, string | undefined]>([
  ['a.b.example.com', 'example.com'],
  ['example.com.', 'example.com'],
  ['example.com', 'example.com'],
  ['localhost', undefined],
  ['co.uk', undefined],
  ['a.co.uk', 'a.co.uk'],
  ['x.y.github.io', undefined],
  ['a..com', undefined],
])('the registrable domain of %s is %s', (hostname, expected) => {
  expect(findRegistrableDomain(hostname)).toBe(expected);
});

it.each<[string, boolean, boolean]>([
  ['https://a.io', false, true],
  ['http://a.io', false, false],
  ['http://a.io', true, true],
  ['http://127.0.0.1:5000', false, true],
  ['http://localhost:5000', false, true],
  ['http://[::1]:5000', false, true],
  ['http://10.0.0.1:5000', false, false],
])('%s with insecure %s carries credentials: %s', (url, isInsecure, expected) => {
  expect(isCarrierSafe(new URL(url), isInsecure)).toBe(expected);
});
