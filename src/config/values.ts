/**
 * The texts people write for sizes, durations and addresses, and what they mean. Each reader returns undefined for anything it
 * does not understand; the schema turns that into a message.
 */

// Decimal units are powers of 1000 and binary ones of 1024, as in the IEC standard and in docker's own options.
const sizeUnits: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 60e3, h: 3600e3, d: 86400e3 };

/** Reads `10GiB`, `500 MB` or a plain count of bytes. */
export function findSizeBytes(text: string | number): number | undefined {
  if (typeof text === 'number') return Number.isSafeInteger(text) && text >= 0 ? text : undefined;
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]?i?b?)$/i.exec(text.trim());
  if (match === null) return undefined;
  const unit = sizeUnits[(match[2] ?? '').toLowerCase()];
  if (unit === undefined) return undefined;
  const bytes = Math.round(Number(match[1]) * unit);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Reads `250ms`, `30s`, `5m`, `12h` or `7d`; several may follow each other: `1h30m`. */
export function findDurationMs(text: string): number | undefined {
  const trimmed = text.trim();
  if (trimmed === '0') return 0;
  if (!/^(?:\d{1,9}(?:\.\d{1,3})?(?:ms|s|m|h|d))+$/.test(trimmed)) return undefined;
  let total = 0;
  for (const [, amount, unit] of trimmed.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    total += Number(amount) * (durationUnits[unit ?? ''] ?? Number.NaN);
  }
  return Number.isSafeInteger(Math.round(total)) ? Math.round(total) : undefined;
}

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Reads `127.0.0.1:5000`, `[::1]:5000`, `:5000` (all interfaces) or a port alone. */
export function findListenAddress(text: string | number): ListenAddress | undefined {
  const match = /^(?:(?:\[([0-9a-f:.]+)\]|([^\s:[\]]*)):)?(\d{1,5})$/i.exec(String(text).trim());
  if (match === null) return undefined;
  const port = Number(match[3]);
  if (port > 65535) return undefined;
  return { host: match[1] ?? (match[2] === undefined || match[2] === '' ? '0.0.0.0' : match[2]), port };
}

/** Writes an address as people read it. */
export function listenAddressText(address: ListenAddress): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** Writes a size in the largest binary unit that keeps it exact. */
export function sizeText(bytes: number): string {
  if (bytes === 0) return '0';
  for (const [unit, factor] of [
    ['TiB', 2 ** 40],
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const) {
    if (bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return `${bytes}`;
}

/** Writes a duration in the largest unit that keeps it exact. */
export function durationText(ms: number): string {
  for (const [unit, factor] of [
    ['d', 86400e3],
    ['h', 3600e3],
    ['m', 60e3],
    ['s', 1e3],
  ] as const) {
    if (ms !== 0 && ms % factor === 0) return `${ms / factor}${unit}`;
  }
  return `${ms}ms`;
}
