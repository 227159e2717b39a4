import { OriginError } from '../../src/origin/errors.ts';
import { createMemoryOrigin, type MemoryOriginOptions } from '../../src/origin/memory/memory-origin.ts';

/** An origin that can be switched off, and stops after so many bytes of blobs if told to. */
export function createSwitchedOrigin(options: { stopAfterBytes?: number } = {}) {
  const state = { isUp: true, leftBytes: options.stopAfterBytes ?? Number.POSITIVE_INFINITY };
  const hooks: MemoryOriginOptions = {
    beforeCall: () => {
      if (!state.isUp) throw new OriginError('ORIGIN_UNAVAILABLE', 'connection refused');
    },
    alterBody: async function* (_call, chunks) {
      for await (const chunk of chunks) {
        state.leftBytes -= chunk.length;
        if (state.leftBytes < 0) {
          state.isUp = false;
          return;
        }
        yield chunk;
      }
    },
  };
  return { origin: createMemoryOrigin(hooks), state };
}
