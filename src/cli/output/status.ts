import { styleText } from 'node:util';
import type { StatusAnswer } from '../../admin/api.ts';
import type { Transfer } from '../../swarm/swarm.ts';
import { formatTable } from './table.ts';
import { bytesText, percentText, shortDigest, spanText } from './units.ts';

export interface StatusFacts {
  readonly status: StatusAnswer;
  readonly transfers: readonly Transfer[];
}

// What ended is history; the last few show that something happened.
const endedShown = 5;

/** Writes the state of a daemon for a person. */
export function formatStatus({ status, transfers }: StatusFacts, nowMs: number, isColoured: boolean): string {
  const paint = (style: 'green' | 'red' | 'yellow' | 'gray', text: string) =>
    isColoured ? styleText(style, text, { validateStream: false }) : text;
  const lines = [
    `shoal ${status.version}  ${status.isReady ? paint('green', 'ready') : paint('red', 'not ready')}  up ${spanText(nowMs - status.startedAtMs)}`,
    `  node    ${status.peer}`,
    `  store   ${status.store.blobs} blobs, ${bytesText(status.store.blobBytes)}; ${status.store.ingests} unfinished, ${bytesText(status.store.ingestBytes)}`,
    `  peers   ${status.peers.connected} connected of ${status.peers.known} known`,
  ];
  for (const origin of status.origins) {
    const state = origin.state === 'ok' ? paint('green', 'ok') : paint('yellow', origin.state);
    lines.push(
      `  origin  ${origin.namespace}  ${state}, ${origin.requests} requests, ${origin.failures} failed, ${bytesText(origin.receivedBytes)} received` +
        (origin.lastError === undefined ? '' : `; last: ${origin.lastError}`),
    );
  }
  for (const condition of status.conditions) {
    const colour = condition.severity === 'blocking' ? 'red' : condition.severity === 'degraded' ? 'yellow' : 'gray';
    lines.push(
      '',
      `${paint(colour, condition.severity)} ${condition.code}, for ${spanText(nowMs - condition.sinceMs)}: ${condition.text}`,
      `  ${condition.remedy}`,
    );
  }
  const active = transfers.filter((transfer) => transfer.endedAtMs === undefined);
  const ended = transfers
    .filter((transfer) => transfer.endedAtMs !== undefined)
    .sort((left, right) => (right.endedAtMs ?? 0) - (left.endedAtMs ?? 0))
    .slice(0, endedShown);
  if (active.length + ended.length > 0) {
    lines.push(
      '',
      formatTable(
        transferColumns,
        [...active, ...ended].map((transfer) => transferRow(transfer, nowMs)),
        isColoured,
      ),
    );
  }
  return lines.join('\n');
}

const transferColumns = [
  { title: 'BLOB' },
  { title: 'REPOSITORY' },
  { title: 'STATE' },
  { title: 'PIECES', align: 'right' },
  { title: 'SIZE', align: 'right' },
  { title: 'ORIGIN', align: 'right' },
  { title: 'PEERS', align: 'right' },
  { title: 'TIME', align: 'right' },
] as const;

function transferRow(transfer: Transfer, nowMs: number): readonly string[] {
  const { bytes } = transfer;
  return [
    shortDigest(transfer.digest),
    `${transfer.repository.namespace}/${transfer.repository.name}`,
    transfer.state,
    `${transfer.piecesHeld}/${transfer.pieceCount}`,
    bytesText(transfer.sizeBytes),
    percentText(bytes.origin, bytes.origin + bytes.peer + bytes.local),
    percentText(bytes.peer, bytes.origin + bytes.peer + bytes.local),
    spanText((transfer.endedAtMs ?? nowMs) - transfer.startedAtMs),
  ];
}
