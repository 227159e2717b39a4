import type { DigestAlgorithm } from '../../oci/digest.ts';

/** What a hash thread is told. Every message but `open` of an id that is unknown (closed, failed) is ignored. */
export type HashRequest =
  | { readonly type: 'open'; readonly id: number; readonly algorithm: DigestAlgorithm; readonly path: string }
  | { readonly type: 'advance'; readonly id: number; readonly endBytes: number }
  | { readonly type: 'finish'; readonly id: number; readonly sizeBytes: number }
  | { readonly type: 'close'; readonly id: number };

/** What a hash thread tells. `cpuSeconds` is the thread's total so far. `finished` and `failed` are the last word on an id. */
export type HashReport =
  | { readonly type: 'hashed'; readonly id: number; readonly hashedBytes: number; readonly cpuSeconds: number }
  | { readonly type: 'finished'; readonly id: number; readonly hex: string; readonly cpuSeconds: number }
  | {
      readonly type: 'failed';
      readonly id: number;
      readonly code: 'CONTENT_SHORT' | 'CONTENT_READ_FAILED';
      readonly positionBytes: number;
      readonly reason: string;
    };
