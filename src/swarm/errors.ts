import { CodedError } from '../lib/errors.ts';

export type SwarmErrorCode =
  /** Neither a peer nor the origin can give the bytes now. {digest, missingPieces, originError?} */
  | 'SWARM_UNOBTAINABLE'
  /** All bytes came and their digest is wrong, from every source there is. {digest, actual} */
  | 'SWARM_DIGEST_MISMATCH'
  /** The node is stopping. */
  | 'SWARM_STOPPED';

export class SwarmError extends CodedError<SwarmErrorCode> {}
