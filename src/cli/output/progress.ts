import { styleText } from 'node:util';
import { bytesText, percentText, rateText } from '../../lib/units.ts';
import { cutLine } from './table.ts';

/** One line of progress: a layer, or a layer on a node. */
export interface ProgressRow {
  readonly label: string;
  readonly totalBytes: number;
  readonly bytes: { readonly origin: number; readonly peer: number; readonly local: number };
  readonly state: 'waiting' | 'fetching' | 'verifying' | 'complete' | 'failed';
}

export interface ProgressOptions {
  readonly stream: { write(text: string): unknown; readonly columns?: number; readonly rows?: number };
  /** Bars that are drawn again and again; else one line when a row ends. */
  readonly isTty: boolean;
  readonly nowMs: () => number;
}

// Ten frames a second look smooth and cost nothing.
const frameMs = 100;
// Rates are smoothed over about this time, so that a bar's figure can be read.
const rateWindowMs = 2000;
const barWidth = 24;

/** Draws rows of progress: live bars on a terminal, plain lines elsewhere. */
export class Progress {
  readonly #options: ProgressOptions;
  readonly #rates = new Map<string, { bytes: number; atMs: number; rate: number }>();
  readonly #reported = new Set<string>();
  #rows: readonly ProgressRow[] = [];
  #drawnLines = 0;
  #drawnAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: ProgressOptions) {
    this.#options = options;
  }

  /** Takes the state of all rows. */
  update(rows: readonly ProgressRow[]): void {
    this.#rows = rows;
    const now = this.#options.nowMs();
    if (!this.#options.isTty) {
      this.#reportEnded();
      return;
    }
    if (now - this.#drawnAtMs < frameMs) return;
    this.#draw(now);
  }

  /** Draws the last state and leaves it standing. */
  finish(): void {
    if (this.#options.isTty) this.#draw(this.#options.nowMs());
    else this.#reportEnded();
    this.#drawnLines = 0;
  }

  #reportEnded(): void {
    for (const row of this.#rows) {
      if ((row.state !== 'complete' && row.state !== 'failed') || this.#reported.has(row.label)) continue;
      this.#reported.add(row.label);
      this.#options.stream.write(`${row.label}  ${row.state}  ${bytesText(row.totalBytes)}  ${sourcesText(row)}\n`);
    }
  }

  #draw(now: number): void {
    this.#drawnAtMs = now;
    const { stream } = this.#options;
    const room = Math.max(4, (stream.rows ?? 24) - 2);
    const lines = this.#fit(room).map((row) => this.#line(row, now));
    const hidden = this.#rows.length - lines.length;
    if (hidden > 0) lines.push(styleText('gray', `… and ${hidden} more`, { validateStream: false }));
    const up = this.#drawnLines > 0 ? `\x1b[${this.#drawnLines}A` : '';
    stream.write(`${up}${lines.map((line) => `\x1b[2K${line}\n`).join('')}\x1b[J`);
    this.#drawnLines = lines.length;
  }

  /** Keeps what moves when not all rows fit on the screen. */
  #fit(room: number): readonly ProgressRow[] {
    if (this.#rows.length <= room) return this.#rows;
    const rank = { fetching: 0, verifying: 1, failed: 2, waiting: 3, complete: 4 } as const;
    const kept = new Set(
      [...this.#rows].sort((left, right) => rank[left.state] - rank[right.state]).slice(0, room - 1),
    );
    return this.#rows.filter((row) => kept.has(row));
  }

  #line(row: ProgressRow, now: number): string {
    const done = Math.min(row.totalBytes, row.bytes.origin + row.bytes.peer + row.bytes.local);
    const rate = this.#rate(row.label, done, now);
    const right =
      row.state === 'fetching' ? `${rateText(rate)}  ${sourcesText(row)}` : `${row.state}  ${sourcesText(row)}`;
    const text = `${row.label}  ${bar(row, done)} ${percentText(done, row.totalBytes).padStart(6)}  ${bytesText(row.totalBytes).padStart(9)}  ${right}`;
    return cutLine(text, (this.#options.stream.columns ?? 120) - 1);
  }

  #rate(label: string, bytes: number, now: number): number {
    const before = this.#rates.get(label);
    if (before === undefined) {
      this.#rates.set(label, { bytes, atMs: now, rate: 0 });
      return 0;
    }
    const spanMs = now - before.atMs;
    if (spanMs <= 0) return before.rate;
    const weight = 1 - Math.exp(-spanMs / rateWindowMs);
    const rate = before.rate + weight * (((bytes - before.bytes) * 1000) / spanMs - before.rate);
    this.#rates.set(label, { bytes, atMs: now, rate });
    return rate;
  }
}

/** Three colours in one bar: what came from peers, from the origin, and what was here. */
function bar(row: ProgressRow, done: number): string {
  const total = Math.max(1, row.totalBytes);
  const filled = Math.floor((done / total) * barWidth);
  const sum = Math.max(1, row.bytes.origin + row.bytes.peer + row.bytes.local);
  const local = Math.round((row.bytes.local / sum) * filled);
  const peer = Math.min(filled - local, Math.round((row.bytes.peer / sum) * filled));
  const paint = (style: 'gray' | 'green' | 'yellow', cells: number) =>
    cells <= 0 ? '' : styleText(style, '█'.repeat(cells), { validateStream: false });
  return `▕${paint('gray', local)}${paint('green', peer)}${paint('yellow', filled - local - peer)}${' '.repeat(barWidth - filled)}▏`;
}

function sourcesText(row: ProgressRow): string {
  const parts = [
    row.bytes.origin > 0 ? `origin ${bytesText(row.bytes.origin)}` : '',
    row.bytes.peer > 0 ? `peers ${bytesText(row.bytes.peer)}` : '',
    row.bytes.local > 0 ? `local ${bytesText(row.bytes.local)}` : '',
  ].filter((part) => part !== '');
  return parts.join(', ');
}
