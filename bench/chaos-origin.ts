/**
 * An origin that misbehaves on order, for the fleet bench: the tests' chaos registry in a process of its own.
 * Usage: chaos-origin.ts PORT RULES, with the rules as JSON. Orders (`ChaosOrder`) come as JSON lines on stdin, each is answered
 * with a line on stdout; the end of stdin is its end. Not meant to be run by hand.
 */
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { OriginBlob } from '../src/cli/demo/origin-content.ts';
import type { Digest } from '../src/oci/digest.ts';
import { type ChaosRegistry, startChaosRegistry } from '../test/support/chaos-registry.ts';
import type { ImageFiles } from './lab/agent-protocol.ts';
import type { ChaosAnswer, ChaosOrder, OriginRule } from './lab/chaos-origin.ts';

type Exchange = Parameters<NonNullable<Parameters<ChaosRegistry['fail']>[0]['when']>>[0];

const [port, rules] = process.argv.slice(2);
const registry = await startChaosRegistry({ listen: { host: '0.0.0.0', port: Number(port) } });
const sizes = new Map<string, number>();
let hits = 0;
for (const rule of JSON.parse(rules ?? '[]') as OriginRule[]) addRule(rule);

/** Bytes of the body that the request asks for, as a client of this bench writes its ranges. */
function askedBytes({ request, question }: Exchange): number {
  const sizeBytes = sizes.get(question.reference ?? '') ?? 0;
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  if (range === null) return sizeBytes;
  return (range[2] === '' ? sizeBytes : Number(range[2]) + 1) - Number(range[1]);
}

function addRule({ fault, kinds, minBytes = 0, after = 0, times = Number.POSITIVE_INFINITY }: OriginRule): void {
  const only = kinds === undefined ? {} : { kinds };
  if (fault.kind === 'cut-every') {
    const countdown = { leftBytes: fault.bytes };
    // Only watches: the rule itself, which is never fulfilled, changes no answer.
    const when = (exchange: Exchange) => {
      cutEvery(exchange, fault.bytes, countdown);
      return false;
    };
    registry.fail({ fault: { kind: 'hang-up' }, ...only, when });
    return;
  }
  let matched = 0;
  const when = (exchange: Exchange) => {
    if (askedBytes(exchange) < minBytes) return false;
    matched += 1;
    const isHit = matched > after && matched <= after + times;
    if (isHit) hits += 1;
    return isHit;
  };
  registry.fail({ fault, ...only, when });
}

function cutEvery({ response }: Exchange, everyBytes: number, countdown: { leftBytes: number }): void {
  const write = response.write.bind(response) as (chunk: Uint8Array) => boolean;
  response.write = ((chunk: Uint8Array) => {
    countdown.leftBytes -= chunk.length;
    if (countdown.leftBytes > 0) return write(chunk);
    countdown.leftBytes += everyBytes;
    hits += 1;
    const isRoom = write(chunk);
    // What was written leaves the process in the next turn of the loop; a cut before that would lose it.
    setImmediate(() => response.destroy());
    return isRoom;
  }) as typeof response.write;
}

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

function put(image: ImageFiles): void {
  const blobs = image.blobDigests.map((digest) => openBlob(image.directory, digest));
  for (const { digest, sizeBytes } of blobs) sizes.set(digest, sizeBytes);
  const hex = image.manifestDigest.slice(image.manifestDigest.indexOf(':') + 1);
  const bytes = readFileSync(join(image.directory, hex));
  registry.put(image.repository, [image.tag], { manifests: [{ mediaType: image.mediaType, bytes }], blobs });
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const order = JSON.parse(line) as ChaosOrder;
    if ('put' in order) put(order.put);
    process.stdout.write(`${JSON.stringify({ hits } satisfies ChaosAnswer)}\n`);
  })
  .on('close', () => process.exit(0));
