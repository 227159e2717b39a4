import { CodedError } from '../lib/errors.ts';

export type PeerErrorCode =
  /** The peer cannot be reached. {peer, address?} */
  | 'PEER_UNREACHABLE'
  /** The other side is not who it should be, or not of this fleet, or banned by this node (`reason` is `banned`). {peer, reason?} */
  | 'PEER_UNTRUSTED'
  /** Nothing moved for too long. {peer, stage: 'dial' | 'channel' | 'headers' | 'body'} */
  | 'PEER_STALLED'
  /** The peer does not hold what was asked. {peer, digest} */
  | 'PEER_ABSENT'
  /** All upload slots of the peer are taken. {peer, retryAfterMs} */
  | 'PEER_BUSY'
  /** The peer closed before the end. {peer, receivedBytes} */
  | 'PEER_CUT'
  /** The peer broke the protocol: bad frame, too long, wrong length; with `evidence` when no honest node of any version does that. {peer, evidence?} */
  | 'PEER_PROTOCOL'
  /** A queue towards or from the peer passed its bound. {peer} */
  | 'PEER_OVERFLOW'
  /** The node's own key file is unreadable or no Ed25519 key. {path} */
  | 'PEER_IDENTITY'
  /** A peer port cannot be bound. {host, port} */
  | 'PEER_LISTEN';

export class PeerError extends CodedError<PeerErrorCode> {}
