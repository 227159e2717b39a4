import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
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

// V8 lets its nursery grow to 48 MB when much is going on, and keeps it. The bytes of blobs live in buffers outside of it: with 2 MB the fleet
// bench takes 3 % more CPU, with more than 8 MB no less.
const nurseryBytes = 8 * 1024 * 1024;
const fixedNursery: Flag = { value: '--semi-space-growth-factor=1', initial: '--semi-space-growth-factor=2' };
const nurseryLookMs = 200;

let isTuned = false;
let isNurseryFixed = false;
let nurseryWatch: NodeJS.Timeout | undefined;
let starting = 0;

/** The process is the daemon's own: V8 may be set for all of it. */
export function tuneV8(): void {
  for (const { value } of flags) setFlagsFromString(value);
  if (isNurseryFixed) setFlagsFromString(fixedNursery.value);
  isTuned = true;
  // There is a flag for the limit, but V8 reads it only once, before any of this runs.
  if (!isNurseryFixed) nurseryWatch ??= setInterval(limitNursery, nurseryLookMs).unref();
}

function limitNursery(): void {
  const nursery = getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space');
  if (nursery !== undefined && nursery.space_size < nurseryBytes) return;
  isNurseryFixed = true;
  clearInterval(nurseryWatch);
  if (isTuned && starting === 0) setFlagsFromString(fixedNursery.value);
}

/** Sets V8 as Node knows it, whoever has tuned it. */
export function untuneV8(): void {
  for (const { initial } of [...flags, fixedNursery]) setFlagsFromString(initial);
  isTuned = false;
}

/**
 * Starts a thread with V8 as Node knows it, and returns to the daemon's flags once the thread runs or is gone. V8 takes Node's own
 * compiled code only while every flag has its default: a thread started under the daemon's parses all of Node anew, which doubles
 * the 30 ms of CPU that its start takes.
 */
export function startWithPlainV8(start: () => Worker): Worker {
  if (!isTuned) return start();
  if (starting === 0) for (const { initial } of [...flags, fixedNursery]) setFlagsFromString(initial);
  starting += 1;
  let isStarting = true;
  const started = () => {
    if (!isStarting) return;
    isStarting = false;
    starting -= 1;
    if (starting === 0) tuneV8();
  };
  try {
    return start().once('online', started).once('exit', started);
  } catch (error) {
    started();
    throw error;
  }
}
