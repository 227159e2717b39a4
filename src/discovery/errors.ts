import { CodedError } from '../lib/errors.ts';

export type DiscoveryErrorCode =
  /** A bootstrap entry is neither host:port, a DNS name with port, an SRV name nor a multiaddr. {entry} */
  | 'DISCOVERY_BOOTSTRAP_INVALID'
  /** A name of the bootstrap list does not resolve. {name} */
  | 'DISCOVERY_RESOLVE_FAILED'
  /** The tracker keeps as many records as it may, in all or of this peer. {peer} */
  | 'DISCOVERY_TRACKER_FULL'
  /** The other side sent a message that the protocol does not allow here. {peer} */
  | 'DISCOVERY_PROTOCOL'
  /** The directory has stopped. */
  | 'DISCOVERY_STOPPED';

export class DiscoveryError extends CodedError<DiscoveryErrorCode> {}
