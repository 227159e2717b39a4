import { OriginError } from '../errors.ts';
import type { HttpResponse } from './http-client.ts';

// An error body up to this size is read to its end, because that keeps the connection; a longer one is cheaper to cut off.
const maxDrainedBytes = 64 * 1024;

/** Reads a body into memory. @throws ORIGIN_BAD_ANSWER beyond the limit */
export async function readBody(response: HttpResponse, maxBytes: number, what: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let receivedBytes = 0;
  for await (const chunk of response.body) {
    receivedBytes += chunk.length;
    if (receivedBytes > maxBytes) {
      throw new OriginError('ORIGIN_BAD_ANSWER', `the ${what} is larger than allowed`, { details: { maxBytes } });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, receivedBytes);
}

/** Reads a short error body for its text, or gives it up; never throws anything but the reason of an abort. */
export async function readErrorText(response: HttpResponse, signal: AbortSignal): Promise<string> {
  try {
    return (await readBody(response, maxDrainedBytes, 'error body')).toString();
  } catch {
    signal.throwIfAborted();
    return '';
  }
}

/** Finds what a registry says in its error body, made safe for logs: one line, printable, short. */
export function findRegistryMessage(text: string): string | undefined {
  try {
    const { errors } = JSON.parse(text) as { errors?: readonly { code?: unknown; message?: unknown }[] };
    const first = errors?.[0];
    if (first === undefined) return undefined;
    return `${String(first.code ?? '')}: ${String(first.message ?? '')}`.replace(/[^\x20-\x7e]+/g, ' ').slice(0, 200);
  } catch {
    return undefined;
  }
}
