/**
 * An HTTP/1.1 connection for load: one request at a time, bodies read by the kernel straight into the caller's memory, so
 * that the client takes as little as possible of the cores that the measured program also needs.
 * Understands what registries send: a status line, headers, Content-Length. Chunked bodies are an error, and said so.
 */
import { connect, type Socket } from 'node:net';

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'PATCH' | 'PUT' | 'POST';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  /** Where the body goes; a body that does not fit is an error. Collected in new memory when absent. */
  readonly target?: Buffer;
  readonly onBytes?: (count: number) => void;
  /** Any other status is an error, known before the body is read. */
  readonly expectedStatus?: number;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
  /** `performance.now()` when the first body byte (or, without a body, the head) came in. */
  readonly firstByteAtMs: number;
}

/** Cut in the middle of a body; says how much of it had come. */
export class BodyCutError extends Error {
  readonly receivedBytes: number;

  constructor(receivedBytes: number, cause: unknown) {
    super(`connection ended ${receivedBytes} bytes into a body`, { cause });
    this.receivedBytes = receivedBytes;
  }
}

/** Another status than the request expected. */
export class StatusError extends Error {
  readonly status: number;

  constructor(path: string, status: number) {
    super(`${path}: ${status}`);
    this.status = status;
  }
}

/** Heads here are small; a longer one is a broken server. */
const headLimitBytes = 65_536;
/** Largest single read into a body; larger ones gain nothing on loopback or a capped link. */
const readLimitBytes = 1 << 20;

interface Pending {
  readonly request: HttpRequest;
  readonly resolve: (answer: HttpAnswer) => void;
  readonly reject: (error: Error) => void;
  status: number;
  headers: Map<string, string>;
  body: Buffer | undefined;
  receivedBytes: number;
  firstByteAtMs: number;
}

export class HttpConnection {
  readonly #host: string;
  readonly #port: number;
  readonly #head = Buffer.allocUnsafeSlow(headLimitBytes);
  #headBytes = 0;
  #socket: Socket | undefined;
  #pending: Pending | undefined;

  constructor(host: string, port: number) {
    this.#host = host;
    this.#port = port;
  }

  /** Sends one request and resolves when its body is complete. @throws BodyCutError, StatusError, or the socket's error */
  request(request: HttpRequest): Promise<HttpAnswer> {
    if (this.#pending !== undefined) throw new Error('one request at a time');
    return new Promise((resolve, reject) => {
      const headers = new Map<string, string>();
      this.#pending = {
        request,
        resolve,
        reject,
        status: 0,
        headers,
        body: undefined,
        receivedBytes: 0,
        firstByteAtMs: 0,
      };
      this.#headBytes = 0;
      const lines = [`${request.method} ${request.path} HTTP/1.1`, `Host: ${this.#host}:${this.#port}`];
      for (const [name, value] of Object.entries(request.headers ?? {})) lines.push(`${name}: ${value}`);
      if (request.method !== 'GET' && request.method !== 'HEAD')
        lines.push(`Content-Length: ${request.body?.length ?? 0}`);
      const socket = this.#socket ?? this.#open();
      socket.write(`${lines.join('\r\n')}\r\n\r\n`);
      if (request.body !== undefined && request.body.length > 0) socket.write(request.body);
    });
  }

  close(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.destroy();
    this.#fail(new Error('connection closed'));
  }

  #open(): Socket {
    const socket = connect({
      host: this.#host,
      port: this.#port,
      noDelay: true,
      onread: { buffer: () => this.#nextBuffer(), callback: (count) => this.#onRead(count) },
    });
    this.#socket = socket;
    let cause: unknown;
    socket.on('error', (error) => {
      cause = error;
    });
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#fail(cause instanceof Error ? cause : new Error('connection closed by the server'));
    });
    return socket;
  }

  #nextBuffer(): Buffer {
    const pending = this.#pending;
    if (pending?.body === undefined) return this.#head.subarray(this.#headBytes);
    const end = Math.min(pending.body.length, pending.receivedBytes + readLimitBytes);
    return pending.body.subarray(pending.receivedBytes, end);
  }

  #onRead(count: number): boolean {
    const pending = this.#pending;
    if (pending === undefined) {
      this.close();
      return false;
    }
    try {
      if (pending.body === undefined) this.#onHead(pending, count);
      else this.#onBody(pending, count);
    } catch (error) {
      this.#fail(error as Error);
      this.close();
      return false;
    }
    return true;
  }

  #onHead(pending: Pending, count: number): void {
    this.#headBytes += count;
    const end = this.#head.subarray(0, this.#headBytes).indexOf('\r\n\r\n');
    if (end === -1) {
      if (this.#headBytes === headLimitBytes) throw new Error('response head is too long');
      return;
    }
    const [statusLine, ...lines] = this.#head.toString('latin1', 0, end).split('\r\n');
    pending.status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(statusLine ?? '')?.[1] ?? 0);
    if (pending.status === 0) throw new Error(`not an HTTP answer: ${statusLine}`);
    const { expectedStatus = pending.status, path } = pending.request;
    if (pending.status !== expectedStatus) throw new StatusError(path, pending.status);
    for (const line of lines) {
      const colon = line.indexOf(':');
      pending.headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
    const bodyless = pending.request.method === 'HEAD' || pending.status === 204 || pending.status === 304;
    const length = bodyless ? 0 : Number(pending.headers.get('content-length') ?? Number.NaN);
    if (!Number.isInteger(length)) throw new Error(`${pending.request.path}: ${pending.status} without Content-Length`);
    const target = pending.status < 300 ? pending.request.target : undefined;
    if (target !== undefined && length > target.length)
      throw new Error(`body of ${length} bytes, ${target.length} expected`);
    pending.body = target?.subarray(0, length) ?? Buffer.allocUnsafeSlow(length);
    pending.firstByteAtMs = performance.now();
    const early = this.#headBytes - end - 4;
    if (early > length) throw new Error('bytes after the end of a body');
    if (early > 0) this.#head.copy(pending.body, 0, end + 4, this.#headBytes);
    else if (length > 0) pending.firstByteAtMs = 0;
    this.#headBytes = 0;
    this.#onBody(pending, early);
  }

  #onBody(pending: Pending, count: number): void {
    const body = pending.body as Buffer;
    if (count > 0 && pending.firstByteAtMs === 0) pending.firstByteAtMs = performance.now();
    pending.receivedBytes += count;
    if (count > 0 && pending.status < 300) pending.request.onBytes?.(count);
    if (pending.receivedBytes < body.length) return;
    this.#pending = undefined;
    const { status, headers, firstByteAtMs } = pending;
    if (headers.get('connection') === 'close') this.#socket?.destroy();
    pending.resolve({ status, headers, body, firstByteAtMs });
  }

  #fail(error: Error): void {
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.reject(pending.body === undefined ? error : new BodyCutError(pending.receivedBytes, error));
  }
}
