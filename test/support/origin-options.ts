import type { OriginEntry, OriginSettings, OriginsOptions } from '../../src/origin/origin-options.ts';

/** Short times, so that every failure shows within a test, and long enough that a machine busy with others does not look like one. */
export const quickSettings: OriginSettings = {
  parallelRequests: 4,
  timeouts: { connectMs: 5000, headersMs: 2000, stallMs: 1000, deadlineMs: 15_000 },
  retries: 3,
  breakerFailures: 100,
  breakerPauseMs: 1000,
};

/** Allows exactly the namespaces given, without proxy and docker config. */
export function originOptions(
  origins: Readonly<Record<string, OriginEntry>>,
  others: Partial<OriginsOptions> = {},
): OriginsOptions {
  return {
    origins: new Map(Object.entries(origins)),
    defaultSettings: quickSettings,
    allow: 'configured',
    proxy: {},
    userAgent: 'shoal/test',
    ...others,
  };
}
