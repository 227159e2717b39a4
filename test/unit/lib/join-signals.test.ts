import { expect, test } from 'vitest';
import { joinSignals } from '../../../src/lib/join-signals.ts';

test('aborts with the reason of the first source that aborts', () => {
  const [one, other] = [new AbortController(), new AbortController()];
  using joined = joinSignals(one.signal, other.signal);
  expect(joined.signal.aborted).toBe(false);
  other.abort(new Error('enough'));
  one.abort(new Error('too late'));
  expect(joined.signal.reason).toEqual(new Error('enough'));
});

test('is aborted from the start when a source is', () => {
  using joined = joinSignals(new AbortController().signal, AbortSignal.abort('before'));
  expect(joined.signal.reason).toBe('before');
});

test('lets go of its sources when disposed', () => {
  const source = new AbortController();
  const joined = joinSignals(source.signal);
  joined[Symbol.dispose]();
  source.abort();
  expect(joined.signal.aborted).toBe(false);
});
