import { explainTransfers, waitTexts } from '../../admin/explain.ts';
import { bytesText, percentText, rateText, spanText } from '../../lib/units.ts';
import type { Transfer } from '../../swarm/swarm.ts';
import { formatTable, leftColumns, rightColumns } from './table.ts';
import { shortDigest, shortPeer } from './units.ts';

/** Splits transfers into those that run and those that have ended, the latest first. */
export function splitTransfers(transfers: readonly Transfer[]): { running: Transfer[]; ended: Transfer[] } {
  const running = transfers.filter((transfer) => transfer.endedAtMs === undefined);
  const ended = transfers
    .filter((transfer) => transfer.endedAtMs !== undefined)
    .sort((left, right) => (right.endedAtMs ?? 0) - (left.endedAtMs ?? 0));
  return { running, ended };
}

/** Sums up what runs: how far, how fast, from where. */
export function runningSummary(running: readonly Transfer[]): string {
  const sum = (of: (transfer: Transfer) => number) => running.reduce((total, transfer) => total + of(transfer), 0);
  const totalBytes = sum((transfer) => transfer.sizeBytes);
  const heldBytes = sum(receivedBytes);
  const originRate = sum((transfer) => transfer.originBytesPerSecond);
  const peerRate = sum(peersRate);
  const fetched = sum(({ bytes }) => bytes.origin + bytes.peer);
  const originShare = percentText(
    sum(({ bytes }) => bytes.origin),
    fetched,
  );
  return (
    `${running.length} running  ${bytesText(heldBytes)} of ${bytesText(totalBytes)} (${percentText(heldBytes, totalBytes)})  ` +
    `${rateText(originRate + peerRate)}: origin ${rateText(originRate)}, peers ${rateText(peerRate)}  origin share ${originShare}`
  );
}

export function formatRunning(running: readonly Transfer[], isColoured: boolean): string {
  return formatTable(
    [
      ...leftColumns('BLOB', 'REPOSITORY'),
      ...rightColumns('PIECES', 'DONE', 'SIZE', 'RATE', 'ORIGIN'),
      ...leftColumns('WAITS FOR', 'NOW FROM'),
    ],
    running.map((transfer) => [
      shortDigest(transfer.digest),
      repositoryText(transfer),
      `${transfer.piecesHeld}/${transfer.pieceCount}`,
      percentText(receivedBytes(transfer), transfer.sizeBytes),
      bytesText(transfer.sizeBytes),
      rateText(transfer.originBytesPerSecond + peersRate(transfer)),
      percentText(transfer.bytes.origin, transfer.bytes.origin + transfer.bytes.peer),
      waitText(transfer),
      sourcesText(transfer, 3) || '-',
    ]),
    isColoured,
  );
}

export function formatEnded(ended: readonly Transfer[], nowMs: number, isColoured: boolean): string {
  return formatTable(
    [
      ...leftColumns('BLOB', 'REPOSITORY', 'STATE'),
      ...rightColumns('PIECES', 'SIZE', 'ORIGIN', 'PEERS', 'TIME'),
      ...leftColumns('BOUND BY'),
    ],
    ended.map((transfer) => {
      const { bytes } = transfer;
      const all = bytes.origin + bytes.peer + bytes.local;
      return [
        shortDigest(transfer.digest),
        repositoryText(transfer),
        transfer.state,
        `${transfer.piecesHeld}/${transfer.pieceCount}`,
        bytesText(transfer.sizeBytes),
        percentText(bytes.origin, all),
        percentText(bytes.peer, all),
        spanText((transfer.endedAtMs ?? nowMs) - transfer.startedAtMs),
        boundText(transfer, nowMs),
      ];
    }),
    isColoured,
  );
}

/** One transfer on one plain line, for a log. */
export function transferLine(transfer: Transfer, nowMs: number): string {
  const { bytes } = transfer;
  const share = percentText(bytes.origin, bytes.origin + bytes.peer);
  const head = `${shortDigest(transfer.digest)}  ${repositoryText(transfer)}  ${transfer.state}  ${transfer.piecesHeld}/${transfer.pieceCount} pieces`;
  if (transfer.endedAtMs !== undefined) {
    const span = spanText(transfer.endedAtMs - transfer.startedAtMs);
    return `${head}  ${bytesText(transfer.sizeBytes)} in ${span}  origin share ${share}  bound by ${boundText(transfer, nowMs)}`;
  }
  const rate = rateText(transfer.originBytesPerSecond + peersRate(transfer));
  const sources = sourcesText(transfer, Number.POSITIVE_INFINITY);
  return `${head}  ${rate}${sources === '' ? '' : ` (${sources})`}  origin share ${share}  waits for ${waitText(transfer)}`;
}

function boundText(transfer: Transfer, nowMs: number): string {
  const { bound } = explainTransfers([transfer], nowMs);
  return bound === 'held' ? '-' : waitTexts[bound];
}

function waitText({ waitsFor, missing }: Transfer): string {
  if (waitsFor === undefined) return '-';
  const text =
    waitsFor.peer === undefined ? waitTexts[waitsFor.for] : `${waitTexts[waitsFor.for]} ${shortPeer(waitsFor.peer)}`;
  return missing === undefined ? text : `${text} (${missing})`;
}

/** Who is sending now, fastest first. */
function sourcesText(transfer: Transfer, most: number): string {
  const sources = [
    { name: 'origin', rate: transfer.originBytesPerSecond },
    ...transfer.peers.map(({ peer, bytesPerSecond }) => ({ name: shortPeer(peer), rate: bytesPerSecond })),
  ]
    .filter(({ rate }) => rate > 0)
    .sort((left, right) => right.rate - left.rate);
  const shown = sources.slice(0, most).map(({ name, rate }) => `${name} ${rateText(rate)}`);
  return [...shown, ...(sources.length > most ? [`${sources.length - most} more`] : [])].join(', ');
}

function peersRate(transfer: Transfer): number {
  return transfer.peers.reduce((total, peer) => total + peer.bytesPerSecond, 0);
}

function receivedBytes({ bytes, sizeBytes }: Transfer): number {
  return Math.min(sizeBytes, bytes.origin + bytes.peer + bytes.local);
}

function repositoryText({ repository }: Transfer): string {
  return `${repository.namespace}/${repository.name}`;
}
