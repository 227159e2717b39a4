import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readChallenges } from '../../src/origin/auth/challenge.ts';
import { readDockerConfig } from '../../src/origin/auth/docker-config.ts';
import { findRegistrableDomain, isRealmAllowed } from '../../src/origin/auth/realm.ts';
import { readToken } from '../../src/origin/auth/token-service.ts';
import { readContentRange } from '../../src/origin/http/content-range.ts';
import { isPrivateAddress } from '../../src/origin/http/private-address.ts';
import { readRetryAfterMs } from '../../src/origin/http/retry-after.ts';
import { findPermission, matchesPattern } from '../../src/origin/namespaces.ts';
import { readTags } from '../../src/origin/registry-tags.ts';
import { originOptions } from '../support/origin-options.ts';

const token = fc.stringMatching(/^[a-z0-9-]{1,12}$/);
const anyText = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom(...'a="\\, \t:/') }),
);

describe('challenges', () => {
  const value = fc.string({ maxLength: 30 });
  const challenge = fc.record({
    scheme: token,
    parameters: fc.dictionary(token, value, { minKeys: 1, maxKeys: 4, noNullPrototype: true }),
  });
  const quote = (text: string) => `"${text.replace(/["\\]/g, '\\$&')}"`;

  it('are read back as they were written, whatever the values hold', () => {
    fc.assert(
      fc.property(fc.array(challenge, { minLength: 1, maxLength: 4 }), (challenges) => {
        const header = challenges
          .map(({ scheme, parameters }) => {
            const written = Object.entries(parameters).map(([name, text]) => `${name}=${quote(text)}`);
            return `${scheme} ${written.join(',')}`;
          })
          .join(', ');
        const read = readChallenges(header).map(({ scheme, parameters }) => ({
          scheme,
          parameters: Object.fromEntries(parameters),
        }));
        expect(read).toEqual(challenges);
      }),
    );
  });

  it('never throw and never give more than the header holds', () => {
    fc.assert(
      fc.property(anyText, (header) => {
        for (const { parameters } of readChallenges(header)) {
          for (const text of parameters.values()) expect(text.length).toBeLessThanOrEqual(header.length);
        }
      }),
    );
  });

  it('are read in time that grows with the length alone', () => {
    for (const unit of ['a', 'a=', 'a ', ',', '"', '\\', 'a="', '= ', 'Basic a=b,']) {
      const started = process.cpuUsage();
      readChallenges(unit.repeat(8192).slice(0, 8192));
      // CPU time, which does not pass while others use the machine.
      expect(process.cpuUsage(started).user / 1000, unit).toBeLessThan(500);
    }
  });
});

describe('Retry-After', () => {
  it('is a wait that is not negative, or nothing', () => {
    fc.assert(
      fc.property(anyText, fc.integer({ min: 0, max: 4e12 }), (header, nowMs) => {
        const waitMs = readRetryAfterMs(header, nowMs);
        if (waitMs !== undefined) expect(waitMs).toBeGreaterThanOrEqual(0);
      }),
    );
  });

  it('gives back the seconds and the date it was written with', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e8 }), (seconds) => {
        const nowMs = Date.UTC(2030, 0, 1);
        expect(readRetryAfterMs(String(seconds), nowMs)).toBe(seconds * 1000);
        expect(readRetryAfterMs(new Date(nowMs + seconds * 1000).toUTCString(), nowMs)).toBe(seconds * 1000);
      }),
    );
  });
});

describe('Content-Range', () => {
  it('is read back as it was written', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 1e9 }), fc.nat(), (start, length, rest) => {
        const end = start + length;
        const sizeBytes = end + rest;
        expect(readContentRange(`bytes ${start}-${end - 1}/${sizeBytes}`)).toEqual({ start, end, sizeBytes });
        expect(readContentRange(`bytes ${start}-${end - 1}/*`)).toEqual({ start, end });
      }),
    );
  });

  it('is a range within the size, or nothing', () => {
    const near = fc
      .tuple(fc.constantFrom('bytes ', 'bytes', ''), fc.string(), fc.string(), fc.string())
      .map(([unit, ...rest]) => `${unit}${rest[0]}-${rest[1]}/${rest[2]}`);
    fc.assert(
      fc.property(fc.oneof(anyText, near), (header) => {
        const range = readContentRange(header);
        if (range === undefined) return;
        expect(range.start).toBeLessThan(range.end);
        expect(range.end).toBeLessThanOrEqual(range.sizeBytes ?? Number.MAX_SAFE_INTEGER);
      }),
    );
  });
});

describe('what comes from outside', () => {
  it('never makes a reader throw', () => {
    fc.assert(
      fc.property(fc.oneof(anyText, fc.json()), (text) => {
        readDockerConfig(text);
        readToken(text);
        readTags(text);
        findRegistrableDomain(text);
        isPrivateAddress(text);
        matchesPattern(text, '*a*');
        findPermission(text, originOptions({}, { allow: 'any' }));
      }),
    );
  });

  it('never gets credentials to an address or to a host of another domain', () => {
    const label = fc.stringMatching(/^[a-z]{1,6}$/);
    const host = fc.oneof(
      fc.ipV4(),
      fc.constant('localhost'),
      fc.array(label, { minLength: 2, maxLength: 4 }).map((labels) => labels.join('.')),
    );
    fc.assert(
      fc.property(host, host, (origin, realm) => {
        fc.pre(origin !== realm);
        const isAllowed = isRealmAllowed(new URL(`https://${origin}`), new URL(`https://${realm}/`), []);
        const domain = (name: string) => name.split('.').slice(-2).join('.');
        if (isAllowed) {
          expect(domain(realm)).toBe(domain(origin));
          expect(/[a-z]$/.test(realm) && realm !== 'localhost').toBe(true);
        }
      }),
    );
  });

  it('judges an IPv4 address the same in every IPv6 form', () => {
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        expect(isPrivateAddress(`::ffff:${address}`)).toBe(isPrivateAddress(address));
        expect(isPrivateAddress(`64:ff9b::${address}`)).toBe(isPrivateAddress(address));
      }),
    );
  });
});
