import { crc32 } from 'node:zlib';
import { isCode } from '../../lib/errors.ts';
import type { Files } from '../files/files.ts';
import { OpenFile } from '../files/open-file.ts';
import type { DatabaseSums } from '../index-database.ts';
import { decodeRecord, encodeRecord } from '../metadata/records.ts';

const stepBytes = 1024 * 1024;
const maxSumsBytes = 1024 * 1024;

/**
 * Check sums of LevelDB's table files, which never change once written. LevelDB has its own per block but reads without looking
 * at them, and its binding cannot turn that on; so a flipped bit on the disk would come back as a missing key or another value.
 * Taken and compared only while the database is closed: before that a table may be half written.
 */
export function createTableSums(files: Files, directory: string, path: string): DatabaseSums {
  let sums = new Map<string, string>();

  async function listTables(): Promise<string[]> {
    return (await files.list(directory)).filter((name) => name.endsWith('.ldb') || name.endsWith('.sst'));
  }

  return {
    async check() {
      const noted = await readSums(files, path);
      sums = new Map();
      for (const name of await listTables()) {
        const sum = await computeSum(files, `${directory}/${name}`).catch(unreadable);
        if (sum === undefined || (noted.has(name) && noted.get(name) !== sum)) return false;
        sums.set(name, sum);
      }
      return true;
    },

    async save(database) {
      const left = new Map<string, string>();
      for (const name of await listTables()) {
        const sum =
          sums.get(name) ?? (database === 'closed' ? await computeSum(files, `${directory}/${name}`) : undefined);
        if (sum !== undefined) left.set(name, sum);
      }
      sums = left;
      await writeSums(files, path, sums);
    },
  };
}

/** Returns nothing noted for an absent or torn file: then there is nothing to compare with. */
async function readSums(files: Files, path: string): Promise<Map<string, string>> {
  const sizeBytes = (await files.stat(path))?.sizeBytes ?? 0;
  if (sizeBytes === 0 || sizeBytes > maxSumsBytes) return new Map();
  const file = await OpenFile.open(files, path, 'read');
  const bytes = Buffer.alloc(sizeBytes);
  await file.readFully(bytes, 0).finally(() => file.close());
  const [check, json = ''] = bytes.toString('utf8').split('\n');
  if (check !== hex(crc32(json))) return new Map();
  return decodeRecord(path, json, (fields) => new Map(fields.entries().map(([name]) => [name, fields.text(name)])));
}

async function writeSums(files: Files, path: string, sums: ReadonlyMap<string, string>): Promise<void> {
  const json = encodeRecord(Object.fromEntries(sums));
  const file = await OpenFile.open(files, `${path}.next`, 'replace');
  try {
    await file.write(Buffer.from(`${hex(crc32(json))}\n${json}\n`), 0);
  } finally {
    await file.close();
  }
  await files.rename(`${path}.next`, path);
}

async function computeSum(files: Files, path: string): Promise<string> {
  const file = await OpenFile.open(files, path, 'read');
  try {
    const buffer = Buffer.allocUnsafe(stepBytes);
    let sum = 0;
    let position = 0;
    for (let length = -1; length !== 0; position += length) {
      length = await file.readFully(buffer, position);
      sum = crc32(buffer.subarray(0, length), sum);
    }
    return `${position}-${hex(sum)}`;
  } finally {
    await file.close();
  }
}

function unreadable(error: unknown): undefined {
  if (!isCode(error, 'STORE_CORRUPT')) throw error;
}

function hex(sum: number): string {
  return sum.toString(16).padStart(8, '0');
}
