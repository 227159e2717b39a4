import type { Clock } from '../../lib/clock.ts';
import { type Files, isAbsence } from '../files/files.ts';

/** Keeps corrupt files for a person to look at, newest first, up to a size; older ones go. */
export interface Quarantine {
  /** Moves a file in; an absent one is fine. */
  take(path: string, name: string): Promise<void>;
}

export interface QuarantineDeps {
  readonly files: Files;
  readonly clock: Clock;
  readonly onTaken: () => void;
}

export function createQuarantine(
  deps: QuarantineDeps,
  options: { readonly directory: string; readonly maxBytes: number },
): Quarantine {
  const { files, clock } = deps;
  let sequence = 0;

  async function trim(): Promise<void> {
    const kept = await files.listFiles(options.directory);
    // Names begin with the time, so the newest are at the end.
    kept.sort((one, other) => (one.name < other.name ? 1 : -1));
    let totalBytes = 0;
    for (const { name, sizeBytes } of kept) {
      totalBytes += sizeBytes;
      if (totalBytes > options.maxBytes) await files.remove(`${options.directory}/${name}`);
    }
  }

  return {
    async take(path, name) {
      sequence += 1;
      try {
        await files.rename(path, `${options.directory}/${clock.wallMs()}-${sequence}.${name}`);
      } catch (error) {
        if (isAbsence(error)) return;
        throw error;
      }
      deps.onTaken();
      await trim();
    },
  };
}
