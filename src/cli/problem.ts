import { styleText } from 'node:util';
import { isAbort, toError } from '../lib/errors.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';

/** An error as a person at a terminal needs it: what happened, to what, what to do. */
export interface Problem {
  readonly code: string;
  readonly text: string;
  readonly remedy: string | undefined;
  readonly exitCode: ExitCode;
}

interface Known {
  readonly exitCode: ExitCode;
  readonly remedy: string;
}

const known: Readonly<Record<string, Known>> = {
  CONFIG_UNREADABLE: {
    exitCode: exitCodes.config,
    remedy: 'check the path and its permissions; `shoal config path` prints which file is read',
  },
  CONFIG_INVALID: {
    exitCode: exitCodes.config,
    remedy: 'correct the lines named; `shoal config example` prints every key with its meaning',
  },
  DISCOVERY_BOOTSTRAP_INVALID: {
    exitCode: exitCodes.config,
    remedy: 'correct that entry of fleet.bootstrap; `shoal config show` prints where the value comes from',
  },
  DAEMON_SECRET_UNREADABLE: {
    exitCode: exitCodes.config,
    remedy: 'create the file with at least 16 characters, readable by the user Shoal runs as',
  },
  DAEMON_PORT_TAKEN: {
    exitCode: exitCodes.address,
    remedy: 'stop the other process, or choose another port with the flag named',
  },
  DAEMON_ADDRESS_REFUSED: {
    exitCode: exitCodes.address,
    remedy: 'choose an address of this machine and a port of 1024 or more, or give the process the right to bind it',
  },
  STORE_LOCKED: {
    exitCode: exitCodes.locked,
    remedy: 'stop the other daemon, or give this one its own --dataDir',
  },
  STORE_UNWRITABLE: {
    exitCode: exitCodes.dataDir,
    remedy: 'give the user Shoal runs as the right to write there, or choose another --dataDir',
  },
  STORE_FULL: { exitCode: exitCodes.dataDir, remedy: 'free space on the disk, or move the data with --dataDir' },
  STORE_CORRUPT: {
    exitCode: exitCodes.dataDir,
    remedy: 'move the damaged path away and start again; what it held is fetched anew',
  },
  STORE_FORMAT_UNSUPPORTED: {
    exitCode: exitCodes.dataDir,
    remedy: 'run the newer version of Shoal that wrote it, or choose another --dataDir',
  },
  PEER_IDENTITY: {
    exitCode: exitCodes.dataDir,
    remedy: 'restore identity.key from a backup, or remove it: the node then starts with a new identity',
  },
  CLI_USAGE: { exitCode: exitCodes.usage, remedy: '`shoal --help` lists commands and options' },
  CLI_UNREACHABLE: {
    exitCode: exitCodes.unreachable,
    remedy: 'start the daemon with `shoal serve`, or name its admin address with --admin host:port',
  },
  CLI_BAD_ANSWER: {
    exitCode: exitCodes.unreachable,
    remedy: 'name the admin address of a Shoal daemon with --admin host:port',
  },
  CLI_REFUSED: { exitCode: exitCodes.failed, remedy: 'the log of the daemon says more' },
  CLI_DEMO_NODE: { exitCode: exitCodes.failed, remedy: 'run the demo again with --keep and read the logs it names' },
  CLI_DEMO_UNVERIFIED: {
    exitCode: exitCodes.failed,
    remedy: 'this must not happen; report it with the output of --debug',
  },
};

// Node gives these for a file system problem wherever it happens.
const systemRemedies: Readonly<Record<string, Known>> = {
  ENOSPC: known['STORE_FULL'] as Known,
  EACCES: known['STORE_UNWRITABLE'] as Known,
  EROFS: known['STORE_UNWRITABLE'] as Known,
  ENOTDIR: known['STORE_UNWRITABLE'] as Known,
};

/** Finds the words and the exit code for an error. */
export function describeProblem(thrown: unknown): Problem {
  if (isAbort(thrown)) {
    return { code: 'ABORTED', text: 'interrupted', remedy: undefined, exitCode: exitCodes.interrupted };
  }
  const error = toError(thrown);
  const code = 'code' in error && typeof error.code === 'string' ? error.code : 'BUG';
  const entry = known[code] ?? systemRemedies[code];
  const remedy = remedyOf(error) ?? entry?.remedy;
  return { code, text: error.message, remedy, exitCode: entry?.exitCode ?? exitCodes.bug };
}

/** An error of the daemon's own may say better than this table what to do. */
function remedyOf(error: Error): string | undefined {
  const details = 'details' in error ? error.details : undefined;
  if (typeof details !== 'object' || details === null || !('remedy' in details)) return undefined;
  return typeof details.remedy === 'string' ? details.remedy : undefined;
}

/** Prints a problem: text for people on stderr, or one JSON object where --json was asked for. */
export function printProblem(thrown: unknown, options: { isJson: boolean; isDebug: boolean }): ExitCode {
  const problem = describeProblem(thrown);
  if (options.isJson) {
    const { code, text, remedy } = problem;
    process.stdout.write(
      `${JSON.stringify({ error: { code, message: text, ...(remedy === undefined ? {} : { remedy }) } })}\n`,
    );
  } else {
    process.stderr.write(`${styleText('red', 'shoal:', { stream: process.stderr })} ${problem.text}\n`);
    if (problem.remedy !== undefined) process.stderr.write(`       ${problem.remedy}\n`);
  }
  if (options.isDebug) process.stderr.write(`${causeChain(thrown)}\n`);
  else if (problem.exitCode === exitCodes.bug) process.stderr.write('       run again with --debug to see where\n');
  return problem.exitCode;
}

function causeChain(thrown: unknown): string {
  const lines: string[] = [];
  // A loop of causes must not hang the last words of the program.
  for (let error: unknown = thrown, depth = 0; error !== undefined && depth < 10; depth += 1) {
    const link = toError(error);
    const code = 'code' in link ? ` [${String(link.code)}]` : '';
    const details = 'details' in link ? ` ${JSON.stringify(link.details)}` : '';
    lines.push(`${depth === 0 ? '' : 'caused by: '}${link.stack ?? link.message}${code}${details}`);
    error = link.cause;
  }
  return lines.join('\n');
}
