// What a message takes beside its bytes: many short ones are no less of a flood.
const messageBytes = 64;

/**
 * What has arrived on a channel and is not consumed yet, bounded in bytes. `push` says whether there was room, so that the owner
 * closes a flooding channel instead of growing.
 */
export class MessageQueue {
  readonly #maxBytes: number;
  readonly #messages: Uint8Array[] = [];
  #bytes = 0;
  #isEnded = false;
  #isWalked = false;
  #wake: (() => void) | undefined;
  #room: (() => void) | undefined;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Queues a message; false when it does not fit or the queue has ended. */
  push(message: Uint8Array): boolean {
    if (this.#isEnded || this.#bytes + message.length + messageBytes > this.#maxBytes) return false;
    this.#messages.push(message);
    this.#bytes += message.length + messageBytes;
    this.#wake?.();
    return true;
  }

  /** Resolves when at most `bytes` wait, or the queue has ended. One waiter at a time. */
  async drained(bytes: number): Promise<void> {
    while (!this.#isEnded && this.#bytes > bytes) {
      await new Promise<void>((resolve) => {
        this.#room = resolve;
      });
    }
  }

  /** Ends the queue; what waits is still yielded unless `discard`. */
  end(discard: boolean): void {
    this.#isEnded = true;
    if (discard) {
      this.#messages.length = 0;
      this.#bytes = 0;
    }
    this.#wake?.();
    this.#room?.();
  }

  /** Yields until the end; a walker that leaves early calls `onLeave`. @throws TypeError on a second walk */
  async *walk(onLeave: () => void): AsyncGenerator<Uint8Array, void, void> {
    if (this.#isWalked) throw new TypeError('the messages of a channel are walked once');
    this.#isWalked = true;
    try {
      for (;;) {
        const message = this.#messages.shift();
        if (message !== undefined) {
          this.#bytes -= message.length + messageBytes;
          this.#room?.();
          yield message;
        } else if (this.#isEnded) {
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      onLeave();
    }
  }
}
