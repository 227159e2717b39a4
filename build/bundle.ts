/**
 * The second half of `npm run build`: puts the program that tsc compiled into one file, `dist/bundle/shoal.cjs`, and beside it what V8
 * compiles of it in a pull (`src/cli/compiled-program.ts`). Where that pull cannot run the program starts from its modules.
 */
import { readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { programFoot, programHead } from '../src/cli/compiled-program.ts';
import { recordCode } from './record-code.ts';

const dist = join(import.meta.dirname, '..', 'dist');
const bundlePath = join(dist, 'bundle', 'shoal.cjs');

/** Modules that look for files beside them find them from the bundle as well. */
const keepModuleUrls: Plugin = {
  name: 'keep module URLs',
  setup({ onLoad }) {
    onLoad({ filter: /\.js$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      if (!text.includes('import.meta.url')) return undefined;
      const place = JSON.stringify(relative(join(dist, 'bundle'), path));
      return { contents: text.replaceAll('import.meta.url', `new URL(${place}, __bundleUrl).href`), loader: 'js' };
    });
  },
};

await build({
  entryPoints: [join(dist, 'cli', 'run.js')],
  outfile: bundlePath,
  bundle: true,
  platform: 'node',
  // One script: V8 keeps compiled functions of scripts, and of modules only what is compiled as they load.
  format: 'cjs',
  target: 'node22',
  charset: 'ascii',
  legalComments: 'none',
  // The text stays in memory as long as the program runs. Names and lines remain for stack traces.
  minifyWhitespace: true,
  lineLimit: 160,
  banner: { js: programHead },
  footer: { js: programFoot },
  // They find their native halves relative to themselves.
  external: ['classic-level', '@napi-rs/blake-hash'],
  plugins: [keepModuleUrls],
  logLevel: 'warning',
});
try {
  await recordCode(bundlePath);
} catch (error) {
  console.warn(`The program will start from its modules, a second slower: no pull could be recorded here. ${error}`);
}
