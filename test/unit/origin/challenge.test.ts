import { describe, expect, it } from 'vitest';
import { readChallenges } from '../../../src/origin/auth/challenge.ts';

const read = (header: string) =>
  readChallenges(header).map(({ scheme, parameters, token68 }) => [scheme, token68 ?? Object.fromEntries(parameters)]);

describe('readChallenges', () => {
  it.each<[string, string, unknown[]]>([
    [
      "a registry's bearer challenge",
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
      [
        [
          'bearer',
          {
            realm: 'https://auth.docker.io/token',
            service: 'registry.docker.io',
            scope: 'repository:a/b:pull,push',
          },
        ],
      ],
    ],
    [
      'several challenges, commas inside quotes',
      'Basic realm="a, b", Bearer realm="https://x/",scope="p:q:r,s"',
      [
        ['basic', { realm: 'a, b' }],
        ['bearer', { realm: 'https://x/', scope: 'p:q:r,s' }],
      ],
    ],
    [
      'a scheme without parameters before another',
      'Negotiate, Basic realm=x',
      [
        ['negotiate', {}],
        ['basic', { realm: 'x' }],
      ],
    ],
    [
      'a token68',
      'Negotiate YII=, Basic realm="x"',
      [
        ['negotiate', 'YII='],
        ['basic', { realm: 'x' }],
      ],
    ],
    ['escapes in quotes', 'Basic realm="a \\"b\\" \\\\c"', [['basic', { realm: 'a "b" \\c' }]]],
    [
      'spaces around the equals sign',
      'Basic realm = "x" , charset = UTF-8',
      [['basic', { realm: 'x', charset: 'UTF-8' }]],
    ],
    ['names in any case', 'BEARER Realm="x"', [['bearer', { realm: 'x' }]]],
    [
      'an unquoted URL',
      'Bearer realm=https://x/token?a=b,service=y',
      [['bearer', { realm: 'https://x/token?a=b', service: 'y' }]],
    ],
    [
      'empty list elements',
      ', ,Basic realm="x",, ,Bearer realm="y"',
      [
        ['basic', { realm: 'x' }],
        ['bearer', { realm: 'y' }],
      ],
    ],
    ['the first of two equal names', 'Bearer realm="x",realm="y"', [['bearer', { realm: 'x' }]]],
    ['a quote that is never closed, as no value', 'Bearer realm="x', [['bearer', { realm: '' }]]],
    ['nothing', '', []],
    ['nonsense', '"=,;', []],
  ])('reads %s', (_what, header, expected) => {
    expect(read(header)).toEqual(expected);
  });

  it('does not read a header of unreasonable length', () => {
    expect(readChallenges(`Basic realm="${'x'.repeat(10_000)}"`)).toEqual([]);
  });
});
