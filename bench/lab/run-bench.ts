/** The frame of every bench that is run by hand. */

/** Prints the usage or runs the bench, and ends the process with the exit code that `run` resolves with, or with 1 if it fails. */
export async function runBench(bench: {
  readonly usage: string;
  readonly isHelpAsked: boolean;
  readonly run: () => Promise<number>;
}): Promise<never> {
  if (bench.isHelpAsked) {
    console.log(bench.usage);
    process.exit(0);
  }
  // An exit runs the listeners that end every process and namespace of this run.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130));
  try {
    process.exit(await bench.run());
  } catch (error) {
    console.error(error instanceof Error ? (error.stack ?? error.message) : error);
    process.exit(1);
  }
}
