import { styleText } from 'node:util';
import type { StatusAnswer } from '../../admin/api.ts';
import { bytesText, spanText } from '../../lib/units.ts';
import type { Transfer } from '../../swarm/swarm.ts';
import { cutLine } from './table.ts';
import { formatEnded, formatRunning, runningSummary, splitTransfers } from './transfers.ts';

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
  const { running, ended } = splitTransfers(transfers);
  if (running.length > 0) lines.push('', runningSummary(running), formatRunning(running, isColoured));
  if (ended.length > 0) lines.push('', formatEnded(ended.slice(0, endedShown), nowMs, isColoured));
  return lines.join('\n');
}

/** The same for a screen that is drawn again and again: nothing wraps, and what does not fit below is counted. */
export function fitScreen(text: string, screen: { readonly columns: number; readonly rows: number }): string {
  const lines = text.split('\n').map((line) => cutLine(line, screen.columns));
  // The last row stays free for the cursor.
  const room = screen.rows - 1;
  if (lines.length <= room) return lines.join('\n');
  return [...lines.slice(0, room - 1), `… and ${lines.length - room + 1} more lines`].join('\n');
}
