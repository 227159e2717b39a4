import {
  type EmbeddedOrigin,
  type EmbeddedOriginOptions,
  type OriginExchange,
  startEmbeddedOrigin,
} from '../../src/cli/demo/embedded-origin.ts';
import { errorAnswer, type OriginAnswer, type OriginQuestionKind } from '../../src/cli/demo/origin-answer.ts';
import { type ChaosAuth, type ChaosAuthOptions, createChaosAuth } from './chaos-auth.ts';

/** The embedded origin with faults on demand and, if asked for, authentication. Records every request. */
export interface ChaosRegistry extends EmbeddedOrigin {
  readonly auth: ChaosAuth;
  /** Adds a rule; the returned function removes it. Rules apply in the order they were added, all that match. */
  fail(rule: FaultRule): () => void;
  clearFaults(): void;
}

interface FaultRule {
  readonly fault: Fault;
  /** Absent = every kind of request. */
  readonly kinds?: readonly OriginQuestionKind[];
  /** A tag, a digest, or a test of either; absent = all. */
  readonly reference?: string | RegExp;
  /** A further condition on the request. */
  readonly when?: (exchange: OriginExchange) => boolean;
  /** How many matching requests are hit; absent = all. */
  readonly times?: number;
  /** How many matching requests pass before; absent = none. */
  readonly after?: number;
}

export type Fault =
  /** Answers with a status and, unless given, the registry's JSON error body. */
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly headers?: Record<string, string>;
      readonly body?: string;
    }
  /** Closes the connection without an answer. */
  | { readonly kind: 'hang-up' }
  /** Never answers. */
  | { readonly kind: 'silence' }
  /** Closes the connection after that many bytes of the body. */
  | { readonly kind: 'cut'; readonly afterBytes: number }
  /** Sends no more after that many bytes, and keeps the connection. */
  | { readonly kind: 'stall'; readonly afterBytes: number }
  | { readonly kind: 'slow'; readonly bytesPerSecond: number }
  /** Inverts one byte of the body; bodies that do not reach it pass. */
  | { readonly kind: 'corrupt'; readonly atByte: number }
  /** Ends the body early in a well-formed way: Content-Length says what is sent. */
  | { readonly kind: 'shorten'; readonly toBytes: number }
  /** Sends more bytes than the blob has, chunked. */
  | { readonly kind: 'lengthen'; readonly byBytes: number }
  | { readonly kind: 'ignore-range' }
  /** A login or error page where bytes were expected, status 200. */
  | { readonly kind: 'html-page' }
  | { readonly kind: 'without-headers'; readonly names: readonly string[] }
  | { readonly kind: 'with-headers'; readonly headers: Record<string, string> }
  /** Sends the client elsewhere: path and query are kept. */
  | { readonly kind: 'redirect'; readonly to: string; readonly status?: number };

export interface ChaosRegistryOptions extends Omit<EmbeddedOriginOptions, 'intercept'> {
  readonly auth?: ChaosAuthOptions;
}

/** Starts the registry without faults. */
export async function startChaosRegistry(options: ChaosRegistryOptions = {}): Promise<ChaosRegistry> {
  const rules: { rule: FaultRule; matched: number }[] = [];
  const auth = createChaosAuth(options.auth);
  const takeFaults = (exchange: OriginExchange): Fault[] => {
    const faults: Fault[] = [];
    for (const entry of rules) {
      if (!matches(entry.rule, exchange)) continue;
      const { after = 0, times = Number.POSITIVE_INFINITY, fault } = entry.rule;
      entry.matched += 1;
      if (entry.matched > after && entry.matched <= after + times) faults.push(fault);
    }
    return faults;
  };
  const origin = await startEmbeddedOrigin({
    ...options,
    async intercept(exchange, next) {
      const refused = await auth.answer(exchange, origin.url);
      if (refused !== undefined) return refused;
      const faults = takeFaults(exchange);
      if (faults.some(({ kind }) => kind === 'ignore-range')) delete exchange.request.headers.range;
      let answer: OriginAnswer = await next();
      for (const fault of faults) {
        if (fault.kind === 'hang-up') exchange.response.destroy();
        if (fault.kind === 'hang-up' || fault.kind === 'silence') return undefined;
        answer = applyFault(answer, fault, exchange);
      }
      return answer;
    },
  });
  return Object.assign(origin, {
    auth,
    fail(rule: FaultRule) {
      const entry = { rule, matched: 0 };
      rules.push(entry);
      return () => {
        const at = rules.indexOf(entry);
        if (at >= 0) rules.splice(at, 1);
      };
    },
    clearFaults() {
      rules.length = 0;
    },
  });
}

function matches(rule: FaultRule, exchange: OriginExchange): boolean {
  const { kind, reference = '' } = exchange.question;
  if (rule.kinds !== undefined && !rule.kinds.includes(kind)) return false;
  if (rule.reference instanceof RegExp && !rule.reference.test(reference)) return false;
  if (typeof rule.reference === 'string' && rule.reference !== reference) return false;
  return rule.when?.(exchange) ?? true;
}

function applyFault(answer: OriginAnswer, fault: Fault, exchange: OriginExchange): OriginAnswer {
  const { body = [] } = answer;
  const headers: Record<string, string> = { ...answer.headers };
  const hasBody = exchange.request.method !== 'HEAD';
  switch (fault.kind) {
    case 'status': {
      const failed = errorAnswer(fault.status, 'CHAOS', 'as the test asked');
      if (fault.body === undefined) return { ...failed, headers: { ...failed.headers, ...fault.headers } };
      return { status: fault.status, headers: fault.headers ?? {}, body: [Buffer.from(fault.body)] };
    }
    case 'redirect': {
      const location = `${fault.to}${exchange.request.url ?? ''}`;
      return { status: fault.status ?? 307, headers: { location, 'content-length': '0' } };
    }
    case 'html-page': {
      const page = Buffer.from('<!doctype html><title>Sign in</title><p>Please sign in.');
      return {
        status: 200,
        headers: { 'content-type': 'text/html', 'content-length': String(page.length) },
        ...(hasBody ? { body: [page] } : {}),
      };
    }
    case 'without-headers':
      for (const name of fault.names) delete headers[name];
      return { ...answer, headers };
    case 'with-headers':
      return { ...answer, headers: { ...headers, ...fault.headers } };
    case 'cut':
      return { ...answer, body: cut(body, fault.afterBytes) };
    case 'stall':
      return { ...answer, body: stall(body, fault.afterBytes, exchange) };
    case 'slow':
      return { ...answer, body: slow(body, fault.bytesPerSecond) };
    case 'corrupt':
      return { ...answer, body: corrupt(body, fault.atByte) };
    case 'shorten':
      headers['content-length'] = String(Math.min(fault.toBytes, Number(headers['content-length'])));
      return { ...answer, headers, body: limit(body, fault.toBytes) };
    case 'lengthen':
      delete headers['content-length'];
      return { ...answer, headers, body: lengthen(body, fault.byBytes) };
    default:
      return answer;
  }
}

type Body = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

async function* limit(body: Body, maxBytes: number): AsyncGenerator<Uint8Array> {
  let restBytes = maxBytes;
  for await (const chunk of body) {
    const part = chunk.subarray(0, restBytes);
    restBytes -= part.length;
    if (part.length > 0) yield part;
    if (restBytes === 0) return;
  }
}

async function* cut(body: Body, afterBytes: number): AsyncGenerator<Uint8Array> {
  let sentBytes = 0;
  for await (const chunk of limit(body, afterBytes)) {
    sentBytes += chunk.length;
    yield chunk;
  }
  if (sentBytes < afterBytes) return;
  // What was written leaves the process in the next turn of the loop; a cut before that would lose it.
  await new Promise((resolve) => setImmediate(resolve));
  throw new Error('cut as the test asked');
}

async function* stall(body: Body, afterBytes: number, { response }: OriginExchange): AsyncGenerator<Uint8Array> {
  yield* limit(body, afterBytes);
  if (response.destroyed) return;
  await new Promise((resolve) => response.once('close', resolve));
}

async function* slow(body: Body, bytesPerSecond: number): AsyncGenerator<Uint8Array> {
  const stepMs = 20;
  const stepBytes = Math.max(1, Math.floor((bytesPerSecond * stepMs) / 1000));
  for await (const chunk of body) {
    for (let at = 0; at < chunk.length; at += stepBytes) {
      yield chunk.subarray(at, at + stepBytes);
      await new Promise((resolve) => setTimeout(resolve, stepMs));
    }
  }
}

async function* corrupt(body: Body, atByte: number): AsyncGenerator<Uint8Array> {
  let at = 0;
  for await (const chunk of body) {
    const offset = atByte - at;
    at += chunk.length;
    if (offset >= 0 && offset < chunk.length) {
      const wrong = Uint8Array.from(chunk);
      wrong[offset] = (wrong[offset] ?? 0) ^ 0xff;
      yield wrong;
    } else {
      yield chunk;
    }
  }
}

async function* lengthen(body: Body, byBytes: number): AsyncGenerator<Uint8Array> {
  yield* body;
  yield new Uint8Array(byBytes);
}
