import { availableParallelism } from 'node:os';
import { Command, CommanderError } from '@commander-js/extra-typings';
import type { CommandEntry, CommandIo } from './command.ts';
import { commandEntries } from './commands/index.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { printProblem } from './problem.ts';

/** Whoever loads the program as one file has a v8-flags.ts of its own, which knows nothing of the program's. @public */
export { keepV8Restorable } from '../lib/v8-flags.ts';

/**
 * Runs one command line and returns the exit code. Only the command that was asked for is loaded: `shoal status` must not wait
 * for the peer-to-peer libraries of `shoal serve`.
 */
export async function runCli(args: readonly string[]): Promise<ExitCode> {
  const program = new Command('shoal')
    .description('Distributes container images between the nodes of a fleet, behind a registry mirror on each of them.')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', '\n`shoal <command> --help` shows examples and exit codes.\nStart here: shoal serve')
    .exitOverride();

  const asked = args.find((arg) => !arg.startsWith('-') && arg !== 'help');
  // Read once, when the first thread is wanted: before anything of the daemon is loaded.
  if (asked === 'serve') process.env['UV_THREADPOOL_SIZE'] ??= ioThreads;
  for (const entry of commandEntries) {
    const command =
      entry.name === asked
        ? (await entry.load()).createCommand(processIo())
        : new Command(entry.name).description(entry.summary);
    program.addCommand(command.exitOverride());
    for (const child of command.commands) child.exitOverride();
  }
  survivePipes(asked === 'serve');
  const isJson = args.includes('--json');
  const isDebug = args.includes('--debug');
  try {
    if (args.length === 0) program.outputHelp();
    else if (args.length === 1 && (args[0] === '--version' || args[0] === '-V')) return await runCli(['version']);
    else await program.parseAsync([...args], { from: 'user' });
    return exitCodes.done;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
    return printProblem(error, { isJson, isDebug });
  }
}

// Flushes of files hold a thread each while reads wait: more than Node's 4 where there are cores for them. On two cores 16 halved
// the warm throughput (bench:pull: 580 against 1230 MiB/s), since every read woke another thread.
const ioThreads = String(Math.min(16, Math.max(4, 2 * availableParallelism())));

/** Lists the commands, for the reference page. */
export function listCommands(): readonly CommandEntry[] {
  return commandEntries;
}

/** A reader that leaves (`shoal status --watch | head`) ends a command quietly, and never a daemon. */
function survivePipes(isDaemon: boolean): void {
  process.stderr.on('error', () => {});
  process.stdout.on('error', () => {
    if (!isDaemon) process.exit(exitCodes.done);
  });
}

function processIo(): CommandIo {
  let controller: AbortController | undefined;
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    interrupted() {
      if (controller !== undefined) return controller.signal;
      const started = new AbortController();
      controller = started;
      const stop = () => {
        // The second time nobody wants to wait; leaving by `exit` still runs what must not be left out.
        if (started.signal.aborted) process.exit(exitCodes.interrupted);
        started.abort(new DOMException('interrupted', 'AbortError'));
      };
      // A closed terminal asks for the same as Ctrl-C.
      for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, stop);
      return started.signal;
    },
  };
}
