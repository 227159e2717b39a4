import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ErrorAnswer, encodeErrorBody } from './error-body.ts';

/** One request and its answer. */
export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly requestId: string;
  /** Aborts when the client is gone before the answer is complete. */
  readonly signal: AbortSignal;
  readonly isHead: boolean;

  constructor(request: IncomingMessage, response: ServerResponse, requestId: string, signal: AbortSignal) {
    this.request = request;
    this.response = response;
    this.requestId = requestId;
    this.signal = signal;
    this.isHead = request.method === 'HEAD';
    response.setHeader('docker-distribution-api-version', 'registry/2.0');
    response.setHeader('x-content-type-options', 'nosniff');
    response.setHeader('x-request-id', requestId);
    // A body nobody asked for is not read: the connection ends with the answer instead.
    const hasBody = request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length']) > 0;
    if (hasBody) response.shouldKeepAlive = false;
  }

  /** Returns a header's value; several lines of it are joined as RFC 9110, 5.3 says. */
  header(name: string): string | undefined {
    const value = this.request.headers[name];
    return Array.isArray(value) ? value.join(', ') : value;
  }

  /** Sends an answer whose body is in memory; HEAD gets its head. */
  send(status: number, headers: Readonly<Record<string, string | number>>, body: Uint8Array = new Uint8Array()): void {
    const length = status === 304 ? {} : { 'content-length': body.length };
    this.response.writeHead(status, { ...length, ...headers });
    this.response.end(this.isHead || status === 304 ? undefined : body);
  }

  sendJson(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): void {
    this.send(status, { 'content-type': 'application/json', ...headers }, Buffer.from(JSON.stringify(value)));
  }

  sendError(answer: ErrorAnswer): void {
    this.send(answer.status, { 'content-type': 'application/json', ...answer.headers }, encodeErrorBody(answer));
  }
}

/** Tells whether If-None-Match names the entity. Source: RFC 9110, 13.1.2: weak comparison, `*` matches any. */
export function matchesEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(',').some((part) => {
    const candidate = part.trim();
    return candidate === '*' || candidate.replace(/^W\//, '') === etag;
  });
}
