import { describe, expect, it } from 'vitest';
import { toImageError } from '../../src/image/translate-error.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { OriginError, type OriginErrorCode } from '../../src/origin/errors.ts';
import { createMemoryOrigin } from '../../src/origin/memory/memory-origin.ts';
import type { Origin } from '../../src/origin/origin.ts';
import { generateIdentity } from '../../src/peer/identity.ts';
import { createMemoryStore } from '../../src/store/memory/memory-store.ts';
import { createMemorySwarm } from '../../src/swarm/memory/memory-swarm.ts';
import type { Swarm } from '../../src/swarm/swarm.ts';
import { demoRepository } from '../support/swarm-blobs.ts';
import { startSwarmFleet } from '../support/swarm-fleet.ts';

const request = { digest: digestOf(Buffer.from('nowhere')), sizeBytes: 7, repository: demoRepository };

const kinds: Record<string, (origin: Origin, stack: AsyncDisposableStack) => Promise<Swarm>> = {
  async 'the swarm'(origin, stack) {
    return stack.use(await startSwarmFleet(1, origin)).nodes[0]!.swarm;
  },
  async 'its twin in memory'(origin, stack) {
    const { blobs } = stack.use(createMemoryStore({ clock: systemClock }));
    return stack.use(createMemorySwarm({ blobs, origin, identity: await generateIdentity(), clock: systemClock }));
  },
};

describe.each(Object.entries(kinds))('%s at an origin that refuses a blob', (_, open) => {
  it.each<[OriginErrorCode, string]>([
    ['ORIGIN_NOT_FOUND', 'IMAGE_BLOB_UNKNOWN'],
    ['ORIGIN_FORBIDDEN', 'IMAGE_DENIED'],
    ['ORIGIN_UNAUTHORIZED', 'IMAGE_UNAUTHORIZED'],
  ])('fails with what it said: %s', async (originError, told) => {
    await using stack = new AsyncDisposableStack();
    const origin = createMemoryOrigin({
      beforeCall: () => {
        throw new OriginError(originError, 'as the test wants it');
      },
    });
    const swarm = await open(origin, stack);
    const error = await swarm.fetch([request])[0]!.done.catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'SWARM_UNOBTAINABLE', details: { originError } });
    const { digest: reference, repository } = request;
    expect(toImageError(error, { kind: 'blob', repository, reference })).toMatchObject({ code: told });
  });
});
