import type { ScheduleOptions } from './options.ts';
import type { DownloadState, PeerState, RequestState } from './state.ts';

/** Which pieces requests are bringing. */
export function createRequest(
  id: number,
  run: Pick<RequestState, 'digest' | 'peer' | 'first' | 'count' | 'isRace'>,
  nowMs: number,
): RequestState {
  return {
    id,
    ...run,
    startedMs: nowMs,
    progressMs: nowMs,
    receivedBytes: 0,
    isHedged: false,
    promisedMs: undefined,
    stoodStill: false,
    isStalled: false,
  };
}

export function addFlight(download: DownloadState, request: RequestState): void {
  for (let piece = request.first; piece < request.first + request.count; piece += 1) {
    if (download.held.has(piece)) continue;
    const flights = download.flights.get(piece) ?? new Set();
    flights.add(request);
    download.flights.set(piece, flights);
  }
}

export function removeFlight(download: DownloadState, request: RequestState): void {
  for (let piece = request.first; piece < request.first + request.count; piece += 1) {
    const flights = download.flights.get(piece);
    flights?.delete(request);
    if (flights?.size === 0) download.flights.delete(piece);
  }
}

/** What the peers' requests leave of the options' bounds. */
export function spareBudget(
  peers: Iterable<PeerState>,
  { maxRequests, maxInFlightBytes }: ScheduleOptions,
): { readonly requests: number; readonly bytes: number } {
  let requests = maxRequests;
  let bytes = maxInFlightBytes;
  for (const peer of peers) {
    requests -= peer.requests.size;
    bytes -= peer.inFlightBytes;
  }
  return { requests, bytes };
}
