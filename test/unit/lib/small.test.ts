import { describe, expect, it, vi } from 'vitest';
import { Emitter } from '../../../src/lib/emitter.ts';
import { CodedError, isAbort, isCode, toError } from '../../../src/lib/errors.ts';
import { silentLogger } from '../../../src/lib/logger.ts';
import { raceAbort } from '../../../src/lib/race-abort.ts';

describe('errors', () => {
  it('keep code, details and cause', () => {
    const cause = new Error('disk');
    const error = new CodedError('X_FAILED', 'it failed', { cause, details: { path: '/x' } });
    expect(error).toMatchObject({
      name: 'CodedError',
      code: 'X_FAILED',
      message: 'it failed',
      cause,
      details: { path: '/x' },
    });
    expect(new CodedError('X_FAILED', 'it failed')).not.toHaveProperty('cause');
  });

  it('are told apart by code', () => {
    const error: unknown = new CodedError('X_FAILED', 'it failed');
    expect(isCode(error, 'X_OTHER', 'X_FAILED')).toBe(true);
    expect(isCode(error, 'X_OTHER')).toBe(false);
    expect(isCode({ code: 'X_FAILED' }, 'X_FAILED')).toBe(false);
    expect(isCode(new Error('plain'), 'X_FAILED')).toBe(false);
  });

  it('that are aborts are recognised', () => {
    expect(isAbort(new DOMException('left', 'AbortError'))).toBe(true);
    expect(isAbort(Object.assign(new Error('left'), { code: 'ABORT_ERR' }))).toBe(true);
    expect(isAbort(Object.assign(new Error('other'), { code: 'EIO' }))).toBe(false);
    expect(isAbort(new Error('plain'))).toBe(false);
    expect(isAbort('AbortError')).toBe(false);
  });

  it('are made of whatever was thrown', () => {
    const error = new Error('same');
    expect(toError(error)).toBe(error);
    expect(toError('text').message).toBe('text');
  });
});

describe('Emitter', () => {
  it('tells every listener until it leaves', () => {
    const emitter = new Emitter<number>();
    const seen: number[] = [];
    const leave = emitter.on((event) => seen.push(event));
    emitter.on((event) => seen.push(event * 10));
    emitter.emit(1);
    leave();
    emitter.emit(2);
    expect(seen).toEqual([1, 10, 20]);
  });

  it('is not disturbed by a listener that throws; the error surfaces later', () => {
    const surfaced = vi.spyOn(globalThis, 'queueMicrotask').mockImplementation(() => {});
    const emitter = new Emitter<number>();
    const seen: number[] = [];
    emitter.on(() => {
      throw new Error('listener');
    });
    emitter.on((event) => seen.push(event));
    emitter.emit(1);
    const [callback] = surfaced.mock.calls[0] ?? [];
    surfaced.mockRestore();
    expect(seen).toEqual([1]);
    expect(callback).toThrow('listener');
  });
});

describe('raceAbort', () => {
  it('gives the value, the failure or the reason of the signal, and leaves no listener', async () => {
    const aborter = new AbortController();
    const removed = vi.spyOn(aborter.signal, 'removeEventListener');
    expect(await raceAbort(Promise.resolve(1), aborter.signal)).toBe(1);
    await expect(raceAbort(Promise.reject(new Error('no')), aborter.signal)).rejects.toThrow('no');
    const waiting = raceAbort(new Promise(() => {}), aborter.signal);
    aborter.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    expect(removed).toHaveBeenCalledTimes(3);
    await expect(raceAbort(Promise.reject(new Error('unheard')), aborter.signal)).rejects.toThrow('enough');
  });
});

describe('silentLogger', () => {
  it('takes everything', () => {
    const logger = silentLogger.child({ part: 'test' });
    for (const level of ['error', 'warn', 'info', 'debug', 'trace'] as const)
      expect(logger[level]({}, 'x')).toBeUndefined();
  });
});
