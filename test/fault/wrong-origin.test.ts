import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ChaosRegistry, startChaosRegistry } from '../support/chaos-registry.ts';
import { pullByHttp, WrongBytesError } from '../support/http-pull.ts';
import { buildImage } from '../support/image-builder.ts';
import { type ShoalNode, startNode } from '../support/shoal-node.ts';
import { createTempDir } from '../support/temp-dir.ts';

/** An origin's bytes can be judged only when all are there; by then clients have been given the first of them. */
describe('an origin that gives wrong bytes', () => {
  const directory = createTempDir('wrong');
  let origin: ChaosRegistry;
  let node: ShoalNode;

  beforeAll(async () => {
    origin = await startChaosRegistry();
    const origins = { 'docker.io': { url: origin.url, insecure: true } };
    node = await startNode({ name: 'node', directory: directory.path, origins });
  });

  afterAll(async () => {
    await node?.stop();
    await origin?.[Symbol.asyncDispose]();
    directory[Symbol.dispose]();
  });

  for (const atByte of [0, 1000, 399_999]) {
    test(`once, at byte ${atByte} of an answer: the client is cut off, and the next pull is right`, async () => {
      const repository = `library/wrong-${atByte}`;
      const image = await buildImage({ seed: 900 + atByte, layers: [{ content: 6_000_000 }] });
      origin.put(repository, ['v1'], image);
      const stop = origin.fail({
        kinds: ['blob-get'],
        reference: image.layers[0] ?? '',
        fault: { kind: 'corrupt', atByte },
        times: 1,
      });
      const first = await pullByHttp(node.registryUrl, repository, 'v1').catch((error: unknown) => error);
      expect(first).not.toBeInstanceOf(WrongBytesError);
      stop();
      expect((await pullByHttp(node.registryUrl, repository, 'v1')).digest).toBe(image.digest);
    });
  }

  test('for ever: no pull ends well, and none ends with wrong bytes', async () => {
    const image = await buildImage({ seed: 990, layers: [{ content: 3_000_000 }] });
    origin.put('library/wrong', ['v1'], image);
    origin.fail({ kinds: ['blob-get'], reference: image.layers[0] ?? '', fault: { kind: 'corrupt', atByte: 10 } });
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const outcome = await pullByHttp(node.registryUrl, 'library/wrong', 'v1').catch((error: unknown) => error);
      expect(outcome).toBeInstanceOf(Error);
      expect(outcome).not.toBeInstanceOf(WrongBytesError);
    }
  });
});
