import { expect, test } from 'vitest';
import { CodedError } from '../../../src/lib/errors.ts';
import { createLogger } from '../../../src/telemetry/logger.ts';

function captured(format: 'json' | 'text', level: 'info' | 'debug' = 'info') {
  const lines: string[] = [];
  return { lines, logger: createLogger({ level, format, destination: { write: (line) => lines.push(line) } }) };
}

test('writes one JSON object a line, with the part it came from', () => {
  const { lines, logger } = captured('json');
  logger.child({ part: 'swarm' }).info({ digest: 'sha256:1' }, 'blob complete');
  logger.debug({}, 'not at this level');
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    level: 'info',
    part: 'swarm',
    digest: 'sha256:1',
    msg: 'blob complete',
  });
});

test('never writes a secret, one level down included', () => {
  for (const format of ['json', 'text'] as const) {
    const { lines, logger } = captured(format);
    logger.info(
      {
        password: 'p-1',
        headers: { authorization: 'p-2', 'set-cookie': 'p-3' },
        origin: { token: 'p-4' },
        secret: 'p-5',
      },
      'request',
    );
    expect(lines.join('')).not.toMatch(/p-\d/);
    expect(lines.join('')).toContain('[redacted]');
  }
});

test('masks in the line only, and leaves bytes and lists as they are', () => {
  const { lines, logger } = captured('json');
  const fields = {
    request: Object.assign(Object.create(null), { token: 'p-1', path: '/x' }),
    peers: ['a'],
    none: null,
  };
  logger.info(fields, 'request');
  expect(fields.request.token).toBe('p-1');
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    request: { token: '[redacted]', path: '/x' },
    peers: ['a'],
    none: null,
  });
});

test('writes an error with code, details and causes, and the stack of bugs only', () => {
  const { lines, logger } = captured('json');
  const cause = new CodedError('B_INNER', 'inside');
  logger.warn({ error: new CodedError('A_OUTER', 'outside', { cause, details: { path: '/x' } }) }, 'failed');
  logger.error({ error: new TypeError('a bug') }, 'bug');
  expect(JSON.parse(lines[0] ?? '').error).toEqual({
    code: 'A_OUTER',
    message: 'outside',
    details: { path: '/x' },
    causes: [{ code: 'B_INNER', message: 'inside' }],
  });
  expect(JSON.parse(lines[1] ?? '').error.stack).toContain('a bug');
});

test('writes text that a person can read', () => {
  const { lines, logger } = captured('text');
  logger.child({ part: 'store' }).warn({ path: '/a b', n: 3, error: new CodedError('A_B', 'no') }, 'disk is slow');
  expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} warn {2}store {5}disk is slow path="\/a b" n=3 error=A_B: no\n$/);
});
