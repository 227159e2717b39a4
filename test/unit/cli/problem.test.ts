import { expect, test } from 'vitest';
import { exitCodeHelp, exitCodes, exitCodeTexts } from '../../../src/cli/exit-codes.ts';
import { describeProblem } from '../../../src/cli/problem.ts';
import { DaemonError } from '../../../src/daemon/errors.ts';
import { DiscoveryError } from '../../../src/discovery/errors.ts';
import { CodedError } from '../../../src/lib/errors.ts';
import { StoreError } from '../../../src/store/errors.ts';

test.each([
  [new DaemonError('DAEMON_PORT_TAKEN', 'taken'), 4],
  [new DaemonError('DAEMON_SECRET_UNREADABLE', 'no secret'), 3],
  [new DiscoveryError('DISCOVERY_BOOTSTRAP_INVALID', 'no address'), 3],
  [new StoreError('STORE_LOCKED', 'locked'), 5],
  [new StoreError('STORE_UNWRITABLE', 'no'), 6],
  [new StoreError('STORE_FULL', 'full'), 6],
  [new StoreError('STORE_FORMAT_UNSUPPORTED', 'new'), 6],
  [new CodedError('CONFIG_INVALID', 'bad'), 3],
  [new CodedError('CLI_UNREACHABLE', 'nobody'), 8],
  [new CodedError('CLI_REFUSED', 'refused'), 9],
  [Object.assign(new Error('no space left'), { code: 'ENOSPC' }), 6],
])('%s ends with its own code and says what to do', (error, exitCode) => {
  const problem = describeProblem(error);
  expect(problem.exitCode).toBe(exitCode);
  expect(problem.text).toBe(error.message);
  expect(problem.remedy).toBeTruthy();
});

test('a remedy of the daemon itself goes before the usual one', () => {
  const error = new CodedError('CLI_REFUSED', 'no', { details: { remedy: 'ask somebody else' } });
  expect(describeProblem(error).remedy).toBe('ask somebody else');
});

test('an abort is no bug, and anything unknown is', () => {
  expect(describeProblem(new DOMException('gone', 'AbortError')).exitCode).toBe(130);
  expect(describeProblem(new TypeError('oops'))).toMatchObject({ code: 'BUG', exitCode: 1 });
  expect(describeProblem('text')).toMatchObject({ text: 'text', exitCode: 1 });
});

test('every exit code has its words', () => {
  for (const code of Object.values(exitCodes)) {
    expect(exitCodeTexts[code]).toBeTruthy();
    expect(exitCodeHelp([code])).toContain(exitCodeTexts[code]);
  }
});
