import type { OriginEntry, OriginSettings, OriginsOptions } from '../../src/origin/origin-options.ts';

/** Short times, so that every failure shows within a test. */
export const quickSettings: OriginSettings = {
  parallelRequests: 4,
  timeouts: { connectMs: 1000, headersMs: 700, stallMs: 300, deadlineMs: 4000 },
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
