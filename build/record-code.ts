import { join } from 'node:path';
import { startEmbeddedOrigin } from '../src/cli/demo/embedded-origin.ts';
import { startDemoFleet } from '../src/cli/demo/fleet.ts';
import { generateImage } from '../src/cli/demo/generated-image.ts';
import { pullAsClient } from '../src/cli/demo/registry-client.ts';

const repository = 'build/image';
const tag = 'latest';
const imageBytes = 48 * 1024 * 1024;
const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
/** A pull takes two seconds; a build must not hang on a machine where it cannot work. */
const timeoutMs = 60_000;

/** Lets nodes pull an image with the bundled program; the last of them to stop leaves its compiled code. */
export async function recordCode(bundlePath: string): Promise<void> {
  const signal = AbortSignal.timeout(timeoutMs);
  const { image } = generateImage({ sizeBytes: imageBytes, architectures: [architecture], seed: 1 });
  await using origin = await startEmbeddedOrigin();
  origin.put(repository, [tag], image);
  const program = [join(import.meta.dirname, 'recording-node.ts'), bundlePath];
  await using fleet = await startDemoFleet({ size: 3, origin, program }, signal);
  await Promise.all(
    fleet.nodes.map(({ name, registry }) =>
      pullAsClient({ node: name, registry, namespace: origin.host, repository, tag, architecture }, signal),
    ),
  );
}
