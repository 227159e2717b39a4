import type { PieceRun } from '../bulk.ts';
import { packPieces, piecesHeader } from './piece-header.ts';

const reasons = {
  206: 'Partial Content',
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  416: 'Range Not Satisfiable',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
} as const;

export type AnswerStatus = keyof typeof reasons;

/** Writes the head of an answer; `headers` are whole lines, each with its end. */
export function formatAnswerHead(status: AnswerStatus, headers: string, keptMs: number | undefined): string {
  const kept =
    keptMs === undefined
      ? 'Connection: close\r\n'
      : `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(keptMs / 1000)}\r\n`;
  return `HTTP/1.1 ${status} ${reasons[status]}\r\n${headers}${kept}\r\n`;
}

/** The headers of an answer that brings a run. */
export function formatRunHeaders({ blob, pieces, start, end }: PieceRun): string {
  return (
    'content-type: application/octet-stream\r\n' +
    `content-length: ${end - start}\r\n` +
    `content-range: bytes ${start}-${end - 1}/${blob.sizeBytes}\r\n` +
    `${piecesHeader}: ${packPieces(pieces)}\r\n`
  );
}
