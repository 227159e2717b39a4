import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { type ExitCode, exitCodeHelp } from './exit-codes.ts';

/** What the command line offers under one name; the module behind it is loaded only when it is asked for. */
export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  load(): Promise<CommandModule>;
}

/** The face of each file under `commands/`. An action that ends well sets nothing; one that does not throws. */
interface CommandModule {
  createCommand(io: CommandIo): CommandUnknownOpts;
}

/** What a command may touch of the process. */
export interface CommandIo {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts at SIGINT or SIGTERM. Made at the first call, so that `serve` can treat signals in its own way. */
  interrupted(): AbortSignal;
}

interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

/** Starts a command with the options that all share and the tail of its help text. */
export function startCommand(
  name: string,
  summary: string,
  help: { readonly examples: readonly string[]; readonly exits: readonly ExitCode[] },
) {
  return new Command(name)
    .description(summary)
    .option('--json', 'print JSON, for programs')
    .option('--debug', 'print the chain of causes of an error')
    .addHelpText(
      'after',
      `\nExamples:\n${help.examples.map((example) => `  ${example}`).join('\n')}\n\n${exitCodeHelp(help.exits)}`,
    );
}
