import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { constants, Script } from 'node:vm';
import { crc32 } from 'node:zlib';
import { untuneV8 } from '../lib/v8-flags.ts';

/**
 * The program in one file, and beside it what V8 made of it: the build bundles it, lets three nodes pull an image through it, and keeps the
 * functions that were compiled by then. A start from there reads two files in place of 1,600 and compiles next to nothing.
 * The code fits one version of V8, one architecture and one set of flags; where it does not fit there is no compiled program.
 */
export interface CompiledProgram {
  readonly runCli: typeof import('./run.ts').runCli;
  /** Before the program runs, if its code is to be kept. */
  readonly keepV8Restorable: typeof import('./run.ts').keepV8Restorable;
  /** Keeps what is compiled by now for the starts to come; the last thing a process does. */
  keepCode(): void;
}

// In the file: added here they would double its text.
/** How the file begins: what its modules see of Node, and where they are. */
export const programHead = '(function (exports, require, module, __filename, __dirname, __bundleUrl) {';
/** How it ends. */
export const programFoot = '})';

/** Loads the program with its compiled code; nothing where either is missing, damaged or made by another V8. */
export function findCompiledProgram(bundlePath: string): CompiledProgram | undefined {
  if (!existsSync(codePath(bundlePath))) return undefined;
  try {
    const source = readSource(bundlePath);
    const code = unpackCode(readFileSync(codePath(bundlePath)), source.sum);
    return code && load(bundlePath, source, code);
  } catch {
    // A file that vanished or cannot be read: the modules it was made of are there.
    return undefined;
  }
}

/** Loads the program without compiled code, so that it can be made. */
export function loadProgram(bundlePath: string): CompiledProgram {
  const program = load(bundlePath, readSource(bundlePath), undefined);
  if (program === undefined) throw new Error(`${bundlePath} cannot be loaded`);
  return program;
}

interface Source {
  readonly text: string;
  readonly sum: number;
}

function readSource(bundlePath: string): Source {
  const bytes = readFileSync(bundlePath);
  // The bundle is ASCII, which V8 keeps in one byte per character.
  return { text: bytes.toString('latin1'), sum: crc32(bytes) };
}

function load(bundlePath: string, { text, sum }: Source, code: Buffer | undefined): CompiledProgram | undefined {
  const script = new Script(text, {
    filename: bundlePath,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    ...(code === undefined ? {} : { cachedData: code }),
  });
  if (script.cachedDataRejected === true) return undefined;
  const module = { exports: {} as Omit<CompiledProgram, 'keepCode'> };
  const url = pathToFileURL(bundlePath).href;
  const run = script.runInThisContext();
  run(module.exports, createRequire(bundlePath), module, bundlePath, dirname(bundlePath), url);
  return {
    ...module.exports,
    keepCode() {
      // The next start compares the flags before it has set any.
      untuneV8();
      const path = codePath(bundlePath);
      writeFileSync(`${path}.${process.pid}`, packCode(script.createCachedData(), sum));
      renameSync(`${path}.${process.pid}`, path);
    },
  };
}

const codePath = (bundlePath: string) => `${bundlePath}.code`;

// V8 looks at its own version, its flags and the length of the source, but not at the bytes of either.
const sumBytes = 8;

function packCode(code: Buffer, sourceSum: number): Buffer {
  const sums = Buffer.alloc(sumBytes);
  sums.writeUInt32LE(sourceSum, 0);
  sums.writeUInt32LE(crc32(code), 4);
  return Buffer.concat([sums, code]);
}

function unpackCode(kept: Buffer, sourceSum: number): Buffer | undefined {
  if (kept.length <= sumBytes) return undefined;
  const code = kept.subarray(sumBytes);
  return kept.readUInt32LE(0) === sourceSum && kept.readUInt32LE(4) === crc32(code) ? code : undefined;
}
