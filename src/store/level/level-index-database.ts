import type { IndexDatabase } from '../index-database.ts';
import { repairLevel } from './level-errors.ts';
import { openLevelKeyValue } from './level-key-value.ts';
import { createTableSums } from './table-sums.ts';

export const levelIndexDatabase: IndexDatabase = {
  open: openLevelKeyValue,
  // LevelDB finds everything else through this file, and starts empty without it.
  isThere: async (files, directory) => (await files.stat(`${directory}/CURRENT`)) !== undefined,
  repair: repairLevel,
  createSums: createTableSums,
};
