import type { Socket } from 'node:net';
import { encodeErrorBody } from './error-body.ts';

export type RefusalReason = 'broken' | 'slow';

/** Closes a connection whose bytes are no request, saying why where an answer can still be understood. */
export function refuseConnection(error: NodeJS.ErrnoException, socket: Socket, isAnswering: boolean): RefusalReason {
  const isSlow = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
  // An answer on its way must not get another one into its middle; a slow client gets none, since it would hear 408 as "again".
  if (isAnswering || isSlow || !socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return isSlow ? 'slow' : 'broken';
  }
  const isTooLong = error.code === 'HPE_HEADER_OVERFLOW';
  const status = isTooLong ? '431 Request Header Fields Too Large' : '400 Bad Request';
  const message = isTooLong ? 'the head of the request is too long' : 'not a valid HTTP request';
  const body = encodeErrorBody({ status: isTooLong ? 431 : 400, code: 'UNSUPPORTED', message });
  const head = `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
  socket.end(Buffer.concat([Buffer.from(head), body]));
  return 'broken';
}
