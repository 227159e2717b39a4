/**
 * Returns the CPU seconds of the calling thread; meant for differences around synchronous work.
 * Node before 23.9 cannot tell them: there the elapsed time of the work stands in, which is an upper bound.
 */
export function threadCpuSeconds(): number {
  if (typeof process.threadCpuUsage !== 'function') return performance.now() / 1000;
  const usage = process.threadCpuUsage();
  return (usage.user + usage.system) / 1_000_000;
}
