import type { Stream, StreamMessageEvent } from '@libp2p/interface';
import { decode, encode } from 'it-length-prefixed';
import { pipe } from 'it-pipe';
import type { Clock } from '../../lib/clock.ts';

type Chunk = StreamMessageEvent['data'];

export interface ReceiveOptions {
  readonly maxMessageBytes: number;
  /** Told of every arrival, for the keep-alive. */
  onBytes(count: number): void;
}

/** Two full frames: enough that decoding never waits for the network, little enough for thousands of channels. */
const pauseAtBytes = 256 * 1024;

/**
 * Hands over the messages of a stream, one at a time and awaited, until it ends.
 * libp2p's own iterator queues without bound (js-libp2p AbstractMessageStream), so arrivals are taken from events and the
 * stream is paused while too many wait.
 */
export function receiveMessages(
  stream: Stream,
  options: ReceiveOptions,
  onMessage: (message: Uint8Array) => Promise<void> | void,
): Promise<void> {
  return pipe(
    () => arrivals(stream, options),
    (source) => decode(source, { maxDataLength: options.maxMessageBytes, maxLengthLength: 4 }),
    async (source) => {
      // A plain copy: the view may be a Buffer, whose slice() does not copy, and keeps a whole socket buffer alive.
      for await (const message of source) await onMessage(new Uint8Array(message.subarray()));
    },
  );
}

/** Frames a message in memory of its own, so that the caller may reuse its buffer. */
export function encodeFrame(message: Uint8Array): Uint8Array {
  return encode.single(message).subarray();
}

/** Flushes and closes a stream, and resets it when the other side does not close in time. */
export async function closeStream(stream: Stream, clock: Clock, timeoutMs: number): Promise<void> {
  const controller = new AbortController();
  const cancel = clock.schedule(timeoutMs, () => controller.abort());
  try {
    const closed = whenClosed(stream, controller.signal);
    await stream.close({ signal: controller.signal });
    await closed;
  } catch {
    // Falls through to the reset below: a stream that cannot be closed has nothing left to say.
  } finally {
    cancel();
    if (stream.status !== 'closed') stream.abort(new Error('the stream was not closed in time'));
  }
}

function whenClosed(stream: Stream, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (stream.status === 'closed' || stream.status === 'aborted' || stream.status === 'reset') return resolve();
    stream.addEventListener('close', () => resolve(), { once: true });
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

async function* arrivals(stream: Stream, options: ReceiveOptions): AsyncGenerator<Chunk, void, void> {
  let waiting: Chunk[] = [];
  let waitingBytes = 0;
  let isEnded = false;
  let wake: (() => void) | undefined;
  const onChunk = ({ data }: StreamMessageEvent) => {
    waiting.push(data);
    waitingBytes += data.byteLength;
    options.onBytes(data.byteLength);
    if (waitingBytes >= pauseAtBytes && !isEnded && stream.readStatus === 'readable') stream.pause();
    wake?.();
  };
  const resume = () => {
    if (stream.readStatus !== 'paused') return;
    try {
      stream.resume();
    } catch {
      // The muxer below may be gone already; what was buffered has been dispatched by then.
    }
  };
  const onEnd = () => {
    isEnded = true;
    resume();
    wake?.();
  };
  stream.addEventListener('message', onChunk);
  stream.addEventListener('end', onEnd);
  stream.addEventListener('close', onEnd);
  // The events of a stream that ended before are past; libp2p dispatches what it had buffered in a microtask queued before this one.
  if (stream.readableEnded || stream.status !== 'open') queueMicrotask(onEnd);
  try {
    for (;;) {
      if (waiting.length === 0) {
        if (isEnded) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const chunks = waiting;
      waiting = [];
      waitingBytes = 0;
      yield* chunks;
      if (waiting.length === 0) resume();
    }
  } finally {
    stream.removeEventListener('message', onChunk);
    stream.removeEventListener('end', onEnd);
    stream.removeEventListener('close', onEnd);
  }
}
