import type { Config } from '../../config/schema.ts';
import type { ImagesOptions } from '../../image/options.ts';
import { nodePlatform } from '../../oci/platform.ts';

const minuteMs = 60_000;
const MiB = 1024 * 1024;

export function imagesOptions(config: Config): ImagesOptions {
  const { originLimits } = config;
  return {
    tagFreshMs: config.tags.freshness,
    staleHoldMs: config.tags.staleHold,
    negativeMs: config.tags.negative,
    // A client that guesses names must not grow the node.
    negativeEntries: 10_000,
    originPatienceMs: config.tags.originPatience,
    originTimeouts: {
      tagMs: originLimits.deadline,
      manifestMs: originLimits.deadline,
      sizeMs: originLimits.deadline,
      listMs: originLimits.deadline,
    },
    // The directory answers in one round trip; what takes longer than this is slower than most origins.
    directoryTimeoutMs: 300,
    fleetWaitMs: 1_000,
    // Longer than the slowest client takes between the manifest and its last layer.
    leaseMs: 60 * minuteMs,
    platform: nodePlatform(),
    prefetch: config.prefetch,
    prefetchRepeatMs: 10_000,
    // A thousand manifests of the usual size.
    manifestCacheBytes: 16 * MiB,
    progressMs: 200,
  };
}
