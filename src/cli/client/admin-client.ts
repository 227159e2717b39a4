import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';
import { isAbort, isCode, toError } from '../../lib/errors.ts';
import { CliError } from '../errors.ts';
import type { AdminEndpoint } from './admin-endpoint.ts';

/**
 * Talks to the admin API of a running daemon. On node:http alone: `shoal status` should not load a client library.
 * All methods throw CLI_UNREACHABLE, CLI_REFUSED or CLI_BAD_ANSWER.
 */
export interface AdminClient {
  /** `host:port` */
  readonly address: string;
  get<Answer>(path: string, signal: AbortSignal): Promise<Answer>;
  /** Sends a request and yields the objects of the answer, one a line. */
  stream<Line>(method: 'POST', path: string, body: object, signal: AbortSignal): AsyncIterable<Line>;
}

// The daemon answers at once or is in trouble; streams have no limit, they last as long as a pull.
const answerTimeoutMs = 10_000;
// Far over any status of a large fleet, far under what would hurt here.
const maxAnswerBytes = 64 * 1024 * 1024;

export function createAdminClient({ address, token }: AdminEndpoint): AdminClient {
  const unreachable = (cause: unknown) =>
    new CliError('CLI_UNREACHABLE', `no daemon answers at ${address}: ${toError(cause).message || 'no connection'}`, {
      cause,
      details: { address },
    });

  const send = async (
    method: string,
    path: string,
    body: string | undefined,
    signal: AbortSignal,
  ): Promise<IncomingMessage> => {
    const answer = Promise.withResolvers<IncomingMessage>();
    let sent: ClientRequest;
    try {
      sent = request(`http://${address}${path}`, {
        method,
        signal,
        agent: false,
        headers: {
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
        },
      });
    } catch (error) {
      throw new CliError('CLI_USAGE', `not an admin address: ${address}`, { cause: error });
    }
    sent.on('response', answer.resolve);
    sent.on('error', answer.reject);
    sent.end(body);
    const response = await answer.promise.catch((error: unknown) => {
      if (signal.aborted) throw signal.reason;
      throw unreachable(error);
    });
    // Readiness answers 503 with the same body as 200.
    if (response.statusCode !== 200 && response.statusCode !== 202) throw await refusal(response, address);
    return response;
  };

  return {
    address,
    async get<Answer>(path: string, signal: AbortSignal): Promise<Answer> {
      const limit = AbortSignal.timeout(answerTimeoutMs);
      try {
        const response = await send('GET', path, undefined, AbortSignal.any([signal, limit]));
        return parse<Answer>(await readText(response), address);
      } catch (error) {
        if (limit.aborted && !signal.aborted) throw unreachable(new Error(`no answer for ${answerTimeoutMs / 1000} s`));
        throw error;
      }
    },
    async *stream<Line>(method: 'POST', path: string, body: object, signal: AbortSignal): AsyncIterable<Line> {
      const response = await send(method, path, JSON.stringify(body), signal);
      try {
        for await (const line of createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY })) {
          if (line !== '') yield parse<Line>(line, address);
        }
      } catch (error) {
        if (isAbort(error) || isCode(error, 'CLI_BAD_ANSWER')) throw error;
        throw unreachable(error);
      }
      signal.throwIfAborted();
      if (!response.complete) throw unreachable(new Error('the daemon closed the connection before the end'));
    },
  };
}

async function refusal(response: IncomingMessage, address: string): Promise<CliError> {
  const text = await readText(response);
  const error = findError(text);
  if (error === undefined) {
    return new CliError('CLI_BAD_ANSWER', `${address} answered ${response.statusCode}, not as Shoal's admin API does`, {
      details: { address, status: response.statusCode },
    });
  }
  return refusalOf(error, response.statusCode);
}

/** An error as the admin API writes it. */
export interface AnsweredError {
  readonly code: string;
  readonly message: string;
  readonly remedy?: string;
}

/** Turns an error of the daemon into one of this program. */
export function refusalOf(error: AnsweredError, status?: number): CliError {
  return new CliError('CLI_REFUSED', `${error.message} (${error.code})`, {
    details: {
      code: error.code,
      ...(status === undefined ? {} : { status }),
      ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
    },
  });
}

function findError(text: string): AnsweredError | undefined {
  try {
    const body = JSON.parse(text) as { error?: AnsweredError };
    return typeof body.error?.message === 'string' ? body.error : undefined;
  } catch {
    return undefined;
  }
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    bytes += (chunk as Buffer).length;
    if (bytes > maxAnswerBytes) throw new CliError('CLI_BAD_ANSWER', 'the answer of the daemon does not end');
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString();
}

function parse<Value>(text: string, address: string): Value {
  try {
    return JSON.parse(text) as Value;
  } catch (error) {
    throw new CliError('CLI_BAD_ANSWER', `${address} does not answer as Shoal's admin API does`, {
      cause: error,
      details: { address },
    });
  }
}
