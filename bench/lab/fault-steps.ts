/** The steps of faults that need a look at what the fleet does: at the origin's link, at the admin API, at a node's files. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StatusAnswer, TransfersAnswer } from '../../src/admin/api.ts';
import { waitUntil } from '../../test/support/child.ts';
import { getAdmin } from './admin.ts';
import type { RunningRace } from './faults.ts';
import type { Finding } from './findings.ts';
import type { Fleet, FleetNode } from './fleet.ts';
import type { RandomImage } from './random-image.ts';
import { round } from './statistics.ts';

const stepMs = 200;
/** What control messages and acknowledgements may add on the origin's link in a step while no blob leaves it. */
const quietBytes = 64 * 1024;
/** Longer than a whole image takes from a node that must hash, quarantine and fetch it again on a busy machine. */
const healTimeoutMs = 60_000;

/** Waits until the origin has sent everything and rests: then all pieces are at nodes. */
export async function waitForFullSwarm(race: RunningRace): Promise<Finding> {
  let sent = await race.originSentBytes();
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, stepMs));
    const now = await race.originSentBytes();
    if (now >= race.wantedBytes && now - sent < quietBytes) break;
    if (race.over.aborted) throw new Error('the swarm never held all pieces before the race was over');
    sent = now;
  }
  const isOver = race.over.aborted;
  return { what: 'origin killed', value: isOver ? 'after the race' : 'with all pieces in the swarm', isGood: !isOver };
}

/** Reads from the nodes what they tell of a transfer that cannot go on. */
export async function describeOutage(fleet: Fleet, race: RunningRace): Promise<readonly Finding[]> {
  let waiting = 0;
  let telling = 0;
  let warned = 0;
  let example = '';
  for (const index of race.countedNodes) {
    const node = fleet.nodes[index] as FleetNode;
    const { transfers } = await getAdmin<TransfersAnswer>(node, '/api/v1/transfers');
    const stuck = transfers.filter(
      ({ state, piecesHeld, pieceCount }) => state !== 'complete' && piecesHeld < pieceCount,
    );
    if (stuck.length === 0) continue;
    waiting += 1;
    const told = stuck.find(({ missing }) => missing !== undefined);
    if (told === undefined) continue;
    telling += 1;
    example = `${told.piecesHeld} of ${told.pieceCount} pieces, ${told.waitsFor?.for ?? told.state}: ${told.missing}`;
    const { conditions, origins } = await getAdmin<StatusAnswer>(node, '/api/v1/status');
    if (conditions.some(({ code }) => code.startsWith('ORIGIN_')) || origins.some(({ state }) => state !== 'ok'))
      warned += 1;
  }
  return [
    { what: 'nodes that wait for the origin', value: String(waiting), isGood: waiting > 0 },
    { what: '  and say what is missing', value: `${telling}; ${example}`, isGood: telling === waiting },
    { what: '  and show the origin as ill', value: String(warned), isGood: warned === waiting },
  ];
}

/** Counts the nodes whose transfers name a peer as the one that stood still. */
export async function countStallReports(fleet: Fleet, honest: readonly number[], liar: number): Promise<Finding> {
  const { peer } = await getAdmin<StatusAnswer>(fleet.nodes[liar] as FleetNode, '/api/v1/status');
  let naming = 0;
  let stalls = 0;
  for (const index of honest) {
    const { transfers } = await getAdmin<TransfersAnswer>(fleet.nodes[index] as FleetNode, '/api/v1/transfers');
    const counted = transfers.flatMap(({ peers }) => peers.filter((each) => each.peer === peer && each.stalls > 0));
    if (counted.length > 0) naming += 1;
    stalls += counted.reduce((sum, each) => sum + each.stalls, 0);
  }
  return { what: 'nodes that count its stalls', value: `${naming} (${stalls} stalls)`, isGood: naming > 0 };
}

/** How often the only holder of an image has sent it: once each byte is the best a swarm can do. */
export async function measureSeed(fleet: Fleet, index: number, image: RandomImage): Promise<Finding> {
  const { label } = (fleet.nodes[index] as FleetNode).host;
  const sentBytes = (await fleet.network.readLinkBytes()).get(label)?.sentBytes ?? 0;
  return { what: 'bytes the seed sent / bytes', value: String(round(sentBytes / image.sizeBytes)), isGood: true };
}

const largestLayer = (image: RandomImage) =>
  image.layers.reduce((largest, layer) => (layer.bytes.length > largest.bytes.length ? layer : largest));

const hexOf = (digest: string) => digest.slice(digest.indexOf(':') + 1);

const dataOf = (fleet: Fleet, index: number, ...path: string[]) =>
  join(fleet.directory, (fleet.nodes[index] as FleetNode).host.label, 'data', ...path);

const blobFile = (fleet: Fleet, index: number, digest: string) =>
  dataOf(fleet, index, 'blobs', 'sha256', hexOf(digest).slice(0, 2), hexOf(digest));

/** Flips a byte in the middle of the largest layer of a node, behind its back. */
export async function flipStoredByte(fleet: Fleet, index: number, image: RandomImage): Promise<void> {
  const { digest, bytes } = largestLayer(image);
  const file = await open(blobFile(fleet, index, digest), 'r+');
  try {
    const at = bytes.length >> 1;
    await file.write(Uint8Array.of((bytes[at] as number) ^ 0xff), 0, 1, at);
  } finally {
    await file.close();
  }
}

/** Tells whether the node has noticed, put the file aside, and got the right one again. */
export async function inspectHealing(fleet: Fleet, index: number, image: RandomImage): Promise<readonly Finding[]> {
  const { digest } = largestLayer(image);
  const path = blobFile(fleet, index, digest);
  const isRight = async () =>
    existsSync(path) &&
    createHash('sha256')
      .update(await readFile(path))
      .digest('hex') === hexOf(digest);
  const isHealed = await waitUntil('the rotten blob to be whole again', isRight, { timeoutMs: healTimeoutMs }).then(
    () => true,
    () => false,
  );
  const log = (fleet.nodes[index] as FleetNode).daemon?.readLog() ?? '';
  const line = log.split('\n').find((each) => each.includes('rotten') && each.includes(digest));
  const aside = await readdir(dataOf(fleet, index, 'quarantine')).catch(() => []);
  const isAside = aside.some((name) => name.includes(hexOf(digest)));
  return [
    {
      what: 'rot noticed by the node itself',
      value: line === undefined ? 'no' : `"${messageOf(line)}"`,
      isGood: line !== undefined,
    },
    { what: 'rotten file put aside', value: isAside ? 'yes' : 'no', isGood: isAside },
    { what: 'right bytes in their place', value: isHealed ? 'yes' : 'no', isGood: isHealed },
  ];
}

function messageOf(line: string): string {
  return (JSON.parse(line) as { msg?: string }).msg ?? line;
}
