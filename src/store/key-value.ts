/**
 * What the store needs from a database: ordered text keys, quick look-ups, and batches that land whole or not at all. Keys are printable ASCII, so that byte order and text order agree.
 * Read-modify-write is serialised by the callers; a batch that rejects may or may not have landed.
 */
export interface KeyValue {
  find(key: string): Promise<string | undefined>;
  /** Applies all changes or none; a durable batch survives power loss once it resolves, the others survive kill -9. */
  batch(changes: readonly KeyChange[], options: { isDurable: boolean }): Promise<void>;
  /** Walks in key order, `from` inclusive, `to` exclusive; changes made meanwhile may or may not be seen. */
  walk(range: KeyRange): AsyncIterable<readonly [key: string, value: string]>;
  close(): Promise<void>;
}

export type KeyChange =
  | { readonly type: 'put'; readonly key: string; readonly value: string }
  | { readonly type: 'del'; readonly key: string };

export interface KeyRange {
  readonly from: string;
  readonly to: string;
  readonly limit?: number;
}
