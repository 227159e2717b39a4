/** How long requests to peers took lately, per byte: what is usual, and so what is late. */
export class RequestDurations {
  readonly #samples: { readonly bytes: number; readonly ms: number }[] = [];

  #msPerByte: number | undefined;

  add(bytes: number, ms: number): void {
    this.#msPerByte = undefined;
    this.#samples.push({ bytes, ms });
    if (this.#samples.length > keptSamples) this.#samples.shift();
  }

  /** Returns the 85th percentile for so many bytes; infinite before there is enough to tell. */
  usualMs(bytes: number): number {
    if (this.#samples.length < neededSamples) return Number.POSITIVE_INFINITY;
    if (this.#msPerByte === undefined) {
      const perByte = this.#samples.map((sample) => sample.ms / sample.bytes).sort((a, b) => a - b);
      this.#msPerByte = perByte[Math.floor(perByte.length * 0.85)] ?? 0;
    }
    return this.#msPerByte * bytes;
  }
}

// A few seconds of a busy download: old enough to be steady, young enough to follow the network.
const keptSamples = 64;
const neededSamples = 8;
