/** What can be read from anywhere in it: a file, a blob. */
export interface RandomReadable {
  /** Fills a part of the target, all of it if it can; returns how many bytes, 0 at the end. */
  read(target: Uint8Array, position: number): Promise<number>;
}

/** Reads until the target is full or the source ends; returns how many bytes that were. */
export async function readFully(source: RandomReadable, target: Uint8Array, position: number): Promise<number> {
  let filled = 0;
  while (filled < target.length) {
    const count = await source.read(filled === 0 ? target : target.subarray(filled), position + filled);
    if (count === 0) break;
    filled += count;
  }
  return filled;
}
