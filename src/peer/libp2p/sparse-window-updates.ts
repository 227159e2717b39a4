import type { Stream } from '@libp2p/interface';

/** What js-yamux's streams have beyond libp2p's interface (YamuxStream, v8). */
interface WindowedStream {
  readonly recvWindow: number;
  readonly recvWindowCapacity: number;
  sendWindowUpdate(): void;
}

/** The sender still has this share of its window when the update that refills it leaves: never waits, and is told rarely. */
const refillBelow = 0.5;

/**
 * Lets a stream tell the sender of a new window when half of it is used up. js-yamux tells after every frame, which for short
 * messages doubles the frames of a connection, each encrypted, written and read on its own. A muxer of another make is left alone.
 */
export function sparseWindowUpdates(stream: Stream): void {
  if (!isWindowed(stream)) return;
  const send = stream.sendWindowUpdate.bind(stream);
  // The first update also accepts the stream or opens it (yamux's ACK and SYN flags).
  let isFirst = true;
  stream.sendWindowUpdate = () => {
    if (!isFirst && stream.recvWindowCapacity > stream.recvWindow * refillBelow) return;
    isFirst = false;
    send();
  };
}

function isWindowed(stream: object): stream is WindowedStream {
  return (
    'sendWindowUpdate' in stream &&
    typeof stream.sendWindowUpdate === 'function' &&
    'recvWindow' in stream &&
    typeof stream.recvWindow === 'number' &&
    'recvWindowCapacity' in stream &&
    typeof stream.recvWindowCapacity === 'number'
  );
}
