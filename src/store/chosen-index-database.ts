/** The one place that says which database holds the index. */
export { levelIndexDatabase as indexDatabase } from './level/level-index-database.ts';
