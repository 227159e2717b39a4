import { dirname } from 'node:path';
import { StoreError } from '../errors.ts';
import { type Files, isAbsence } from '../files/files.ts';
import { OpenFile } from '../files/open-file.ts';
import { decodeRecord, encodeRecord } from '../metadata/records.ts';

/** Which version wrote the data directory, and the epoch its index carries too: an index without it is not this one's. */
export interface Format {
  readonly version: number;
  readonly epoch: string;
}

export const supportedVersion = 1;
const maxFormatBytes = 4096;

/** Reads the format; undefined for a new directory or an unreadable file. @throws STORE_FORMAT_UNSUPPORTED */
export async function readFormat(files: Files, path: string): Promise<Format | undefined> {
  let file: OpenFile;
  try {
    file = await OpenFile.open(files, path, 'read');
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
  const bytes = Buffer.alloc(maxFormatBytes);
  const length = await file.readFully(bytes, 0).finally(() => file.close());
  let format: Format;
  try {
    format = decodeRecord(path, bytes.toString('utf8', 0, length), (fields) => ({
      version: fields.number('version'),
      epoch: fields.text('epoch'),
    }));
  } catch {
    return undefined;
  }
  if (format.version > supportedVersion) {
    throw new StoreError('STORE_FORMAT_UNSUPPORTED', 'the data directory was written by a newer shoal', {
      details: { found: format.version, supported: supportedVersion, path },
    });
  }
  return format;
}

export async function writeFormat(files: Files, path: string, format: Format): Promise<void> {
  const next = `${path}.next`;
  const file = await OpenFile.open(files, next, 'replace');
  try {
    await file.write(Buffer.from(`${encodeRecord(format)}\n`), 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await files.rename(next, path);
  await files.syncDirectory(dirname(path));
}
