/**
 * What the origins need of an HTTP client: one request, one answer with its body still to come, no redirects, no retries.
 * A body holds a connection until it is read to its end or cancelled.
 */
export interface HttpClient {
  /** Resolves with the head of the answer. @throws ORIGIN_UNAVAILABLE, ORIGIN_REALM_REFUSED */
  send(request: HttpRequest): Promise<HttpResponse>;
  /** Tells whether the origin's own host is, as far as known, at a private address. */
  readonly isOriginPrivate: boolean;
  close(): Promise<void>;
}

export interface HttpRequest {
  readonly url: URL;
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** The host was named by an answer and not by the configuration: private addresses are refused unless the origin has one. */
  readonly isForeign: boolean;
  /** Ends the request, and the body if it is still being read. */
  readonly signal: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  /** Names in lower case; repeated ones joined by a comma. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: HttpBody;
}

export interface HttpBody extends AsyncIterable<Uint8Array> {
  /** Returns the next chunk, undefined at the end. @throws ORIGIN_CUT when the connection breaks or stalls */
  read(): Promise<Uint8Array | undefined>;
  /** Frees the connection; the rest of the body is not wanted. */
  cancel(): void;
}
