import { join } from 'node:path';
import { expect, test } from 'vitest';
import { seededRandom } from '../../src/lib/clock.ts';
import { startChaosRegistry } from '../support/chaos-registry.ts';
import { pullByHttp, WrongBytesError } from '../support/http-pull.ts';
import { buildImage } from '../support/image-builder.ts';
import { startNode } from '../support/shoal-node.ts';
import { createTempDir } from '../support/temp-dir.ts';

const rounds = 50;
/** A pull of one round takes about this long at the origin's rate; the kill comes anywhere in it, or just after. */
const pullMs = 900;

test(`a node killed ${rounds} times in the middle of pulls never serves a wrong byte and never needs repair`, async () => {
  const seed = Date.now() % 100_000;
  const random = seededRandom(seed);
  using directory = createTempDir('kill');
  await using origin = await startChaosRegistry();
  origin.fail({ kinds: ['blob-get'], fault: { kind: 'slow', bytesPerSecond: 6 * 1024 * 1024 } });
  const origins = { 'docker.io': { url: origin.url, insecure: true } };
  await using peer = await startNode({ name: 'peer', directory: join(directory.path, 'peer'), origins });
  await using node = await startNode({
    name: 'victim',
    directory: join(directory.path, 'victim'),
    origins,
    bootstrap: [`${peer.peer.host}:${peer.peer.port}`],
  });

  for (let round = 0; round < rounds; round += 1) {
    const what = `round ${round} of seed ${seed}`;
    const repository = `library/round-${round}`;
    const image = await buildImage({
      seed: seed * 100 + round,
      layers: [{ content: 4_000_000 }, { content: 300_000 }, { content: 1000 }],
    });
    origin.put(repository, ['v1'], image);
    // Every second image also comes from a peer, so that both ways in are cut.
    if (round % 2 === 1) await pullByHttp(peer.registryUrl, repository, 'v1');

    const interrupted = pullByHttp(node.registryUrl, repository, 'v1').then(
      () => undefined,
      (error: unknown) => error,
    );
    await new Promise((resolve) => setTimeout(resolve, random.next() * pullMs));
    await node.kill();
    expect(await interrupted, what).not.toBeInstanceOf(WrongBytesError);

    await node.restart();
    const again = await pullByHttp(node.registryUrl, repository, 'v1');
    expect(again.digest, what).toBe(image.digest);
  }

  // What was pulled in any round is still there, whole, without an origin or a peer to get it from.
  await origin[Symbol.asyncDispose]();
  await peer.stop();
  await node.restart();
  for (let round = 0; round < rounds; round += 1) await pullByHttp(node.registryUrl, `library/round-${round}`, 'v1');
});
