import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Worker } from 'node:worker_threads';

/** How the daemon's process differs from plain Node. */
interface Flag {
  readonly value: string;
  readonly initial: string;
}

const flags: readonly Flag[] = [
  // A heap that was compacted gets a limit so close above its content that a busy node marked all of it every second, a fifth of its
  // CPU in the fleet bench; with room for more than as much again that nearly ends.
  { value: '--heap-growing-percent=120', initial: '--heap-growing-percent=0' },
  // WebAssembly is here for heads of HTTP answers and for the encryption of short control messages. Compiling it a second time,
  // optimized, took a tenth of the CPU of a node's first pull and 5 MB.
  { value: '--no-wasm-tier-up', initial: '--wasm-tier-up' },
  { value: '--no-wasm-dynamic-tiering', initial: '--wasm-dynamic-tiering' },
];

// Compiles less, later and with fewer threads: 5 to 7 % less CPU in a first pull, as much as before in one of minutes. With the first of them
// memory would be collected by one thread, and buffers given back late: up to 50 MiB more. V8 cannot be told to forget the first, so that from
// then on it takes no code that was made without it: what is to start fast, or to be kept, comes before.
const lastingFlags = [
  '--efficiency-mode',
  '--no-single-threaded-gc-in-background',
  '--invocation-count-for-maglev=3000',
] as const;
// Older ones do not know them all.
const knowsLastingFlags = Number.parseInt(process.versions.v8, 10) >= 13;

// V8 lets its nursery grow to 48 MB when much survives in it and keeps it, and shrinks it to 1 MB in an idle node, where a pull then finds
// it: little of what a pull makes survives, since the bytes of blobs live in buffers outside. With 8 MB a pull takes 4 to 5 % less CPU
// than with 2, with more no less.
const nurseryBytes = 8 * 1024 * 1024;
const growthOf = (factor: number) => `--semi-space-growth-factor=${factor}`;
const fixedNursery: Flag = { value: growthOf(1), initial: growthOf(2) };
// Of 32 KiB: more than a nursery has room for that is too small. 24 are the rule.
const maxSurvivors = 256;

// Of what is outside the heap V8 counts the bytes: 64 MiB more of them, and it marks all of the heap, 30 to 80 ms of CPU. An origin that is read at
// full speed leaves that much in half a second, in buffers that no longer matter; a look at the nursery alone lets go of them in one.
const passingLimitBytes = 16 * 1024 * 1024;

let passedBytes = 0;
let collectNursery: (() => void) | undefined;
let isTuned = false;
let mayTuneForGood = knowsLastingFlags;
let starting = 0;

/** The process is the daemon's own: V8 may be set for all of it. */
export function tuneV8(): void {
  for (const { value } of [...flags, fixedNursery]) setFlagsFromString(value);
  isTuned = true;
}

/** A pull begins: makes its nursery large enough, in 7 ms of CPU if it is not. */
export function widenNursery(): void {
  if (!isTuned || starting > 0) return;
  const sizeBytes = readNurseryBytes();
  if (sizeBytes >= nurseryBytes) return;
  // There are flags for the size, but V8 reads them only once, before any of this runs. What it does at any time is to grow the nursery by a
  // factor when as much survived as it has room for.
  setFlagsFromString(growthOf(Math.ceil(nurseryBytes / Math.max(1, sizeBytes))));
  const survivors: unknown[] = [];
  while (survivors.length < maxSurvivors && readNurseryBytes() < nurseryBytes) survivors.push(new Array(4096).fill(0));
  setFlagsFromString(fixedNursery.value);
}

/** So many bytes came in buffers of their own and are let go of as soon as they are used. */
export function countPassingBytes(sizeBytes: number): void {
  passedBytes += sizeBytes;
  if (passedBytes < passingLimitBytes || !isTuned || starting > 0) return;
  passedBytes = 0;
  collectNursery ??= findNurseryCollector();
  collectNursery();
}

function findNurseryCollector(): () => void {
  // A context that is made while the flag is set has the function; the flag itself would keep V8 from code that was compiled without it.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options: { readonly type: 'minor' }) => void;
  setFlagsFromString('--no-expose-gc');
  return () => collect({ type: 'minor' });
}

function readNurseryBytes(): number {
  return getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space')?.space_size ?? nurseryBytes;
}

/** From now on everything that is set can be taken back with `untuneV8`. */
export function keepV8Restorable(): void {
  mayTuneForGood = false;
}

function tuneForGood(): void {
  if (!mayTuneForGood) return;
  mayTuneForGood = false;
  for (const flag of lastingFlags) setFlagsFromString(flag);
}

/** Sets V8 as Node knows it, whoever has tuned it; but for the flags that last. */
export function untuneV8(): void {
  for (const { initial } of [...flags, fixedNursery]) setFlagsFromString(initial);
  isTuned = false;
}

/**
 * Starts a thread with V8 as Node knows it, and returns to the daemon's flags once the thread runs or is gone; the flags that last come with
 * the first that runs. V8 takes Node's own compiled code only while every flag has its default: a thread started under others parses all of
 * Node anew, which doubles the 30 ms of CPU that its start takes.
 */
export function startWithPlainV8(start: () => Worker): Worker {
  if (!isTuned) return start();
  if (starting === 0) for (const { initial } of [...flags, fixedNursery]) setFlagsFromString(initial);
  starting += 1;
  let isStarting = true;
  const startEnded = () => {
    if (!isStarting) return;
    isStarting = false;
    starting -= 1;
    if (starting === 0) tuneV8();
  };
  const started = () => {
    startEnded();
    if (starting === 0) tuneForGood();
  };
  try {
    return start().once('online', started).once('exit', startEnded);
  } catch (error) {
    startEnded();
    throw error;
  }
}
