/** Returns the nearest-rank percentile, or NaN of nothing. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((left, right) => left - right);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? Number.NaN;
}

/** Rounds for print, so that a line of JSON stays readable. */
export function round(value: number, digits = 3): number {
  return Number(value.toFixed(digits));
}

/** Writes a share, 0 to 1, as whole percent. */
export function formatPercent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
