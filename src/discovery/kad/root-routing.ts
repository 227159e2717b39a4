import type { PeerId } from '../../content/peer-id.ts';
import type { DigestKey } from '../digest-key.ts';

/** Image roots in kad-dht's own provider records, where any kad-dht peer finds them. */
export interface RootRouting {
  /** Publishes a root now and again before its records run out, until cancelled. */
  publish(key: DigestKey): void;
  cancel(key: DigestKey): void;
  /** Asks kad-dht within the time; a search that fails has found nobody. */
  findProviders(key: DigestKey, timeoutMs: number, signal: AbortSignal): Promise<readonly PeerId[]>;
  /** Tells whether kad-dht knows peers that are not connected, so that asking it can find more than the directory. */
  reachesFurther(): boolean;
}
