/** Numbers of the exchange. Defaults live in the config schema; what they were measured with is in docs/adr and bench/results. */
export interface ScheduleOptions {
  /** Requests to peers in flight at once, over all downloads. */
  readonly maxRequests: number;
  readonly maxRequestsPerPeer: number;
  /** Peers this node takes from at once; bounds TLS connections. */
  readonly maxSuppliers: number;
  /** Bytes of all requests in flight; bounds memory, as each holds its pieces until verified. */
  readonly maxInFlightBytes: number;
  /** Pieces ahead of a waiting client that are taken in order. */
  readonly readerWindowPieces: number;
  /** Extents nobody holds yet that may be on their way from the origin at once, over the whole fleet. */
  readonly originWindowExtents: number;
  /** How many of them while nobody holds anything; one more for each that somebody has got, and with time. */
  readonly originWindowStartExtents: number;
  /** How long each next in rank waits for the one before it to start. */
  readonly takeoverMs: number;
  /** How long a started extent may show no progress. */
  readonly originStallMs: number;
  /** How long a request to a peer may show no progress before another is asked too. */
  readonly peerStallMs: number;
  /** Times the usual duration of a request after which it is hedged. */
  readonly hedgeFactor: number;
}
