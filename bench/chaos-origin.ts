/**
 * An origin that misbehaves on order, for the fleet bench: the tests' chaos registry in a process of its own.
 * Usage: chaos-origin.ts PORT RULES, with the rules as JSON. Images come as JSON lines on stdin (`ChaosImage`), each is answered
 * with a line on stdout; the end of stdin is its end. Not meant to be run by hand.
 */
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { OriginBlob } from '../src/cli/demo/origin-content.ts';
import type { Digest } from '../src/oci/digest.ts';
import { startChaosRegistry } from '../test/support/chaos-registry.ts';
import type { ChaosImage, OriginRule } from './lab/chaos-origin.ts';

const [port, rules] = process.argv.slice(2);
const registry = await startChaosRegistry({ listen: { host: '0.0.0.0', port: Number(port) } });
for (const rule of JSON.parse(rules ?? '[]') as OriginRule[]) registry.fail(rule);

function openBlob(directory: string, digest: string): OriginBlob {
  const path = join(directory, digest.slice(digest.indexOf(':') + 1));
  return {
    digest: digest as Digest,
    sizeBytes: statSync(path).size,
    read(start, end) {
      const bytes = Buffer.allocUnsafe(end - start);
      const file = openSync(path, 'r');
      readSync(file, bytes, 0, bytes.length, start);
      closeSync(file);
      return bytes;
    },
  };
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const image = JSON.parse(line) as ChaosImage;
    const blobs = image.blobDigests.map((digest) => openBlob(image.directory, digest));
    const hex = image.manifestDigest.slice(image.manifestDigest.indexOf(':') + 1);
    const bytes = readFileSync(join(image.directory, hex));
    registry.put(image.repository, [image.tag], { manifests: [{ mediaType: image.mediaType, bytes }], blobs });
    process.stdout.write('done\n');
  })
  .on('close', () => process.exit(0));
