import { createCipheriv } from 'node:crypto';

/** Incompressible bytes that are the same for the same seed. */
export function seededBytes(sizeBytes: number, seed: number): Buffer {
  const iv = Buffer.alloc(16);
  iv.writeUInt32BE(seed);
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), iv).update(Buffer.alloc(sizeBytes));
}
