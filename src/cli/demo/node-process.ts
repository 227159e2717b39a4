import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { CliError } from '../errors.ts';

/** One daemon of the demo: a real `shoal serve` in a process of its own. */
export interface DemoNode extends AsyncDisposable {
  readonly name: string;
  readonly peer: string;
  /** `host:port` */
  readonly registry: string;
  readonly admin: string;
  /** What other nodes may bootstrap from. */
  readonly peerAddresses: readonly string[];
  readonly startMs: number;
  readonly logPath: string;
}

export interface DemoNodeOptions {
  readonly name: string;
  /** Everything of the node lies below it. */
  readonly directory: string;
  readonly secret: string;
  readonly bootstrap: readonly string[];
  /** Namespace and URL of the origin. */
  readonly origin: { readonly host: string; readonly url: string };
  /** The script that runs it and the arguments before its own; what runs this process when absent. */
  readonly program?: readonly string[] | undefined;
}

// A loaded machine may need several times the 1.5 s a start takes.
const readyTimeoutMs = 60_000;
// Longer than the drain of the daemon itself (10 s), so that it is cut only when it hangs.
const stopTimeoutMs = 15_000;

/** Starts a daemon on free ports and waits until it is ready. @throws CLI_DEMO_NODE */
export async function startDemoNode(options: DemoNodeOptions, signal: AbortSignal): Promise<DemoNode> {
  const { name, directory } = options;
  await mkdir(directory, { recursive: true });
  const configPath = join(directory, 'shoal.yaml');
  const logPath = join(directory, 'log.jsonl');
  await writeFile(configPath, configText(options), { mode: 0o600 });

  const child = spawn(
    process.execPath,
    [...process.execArgv, ...(options.program ?? [entryPoint()]), 'serve', '--json', '--config', configPath],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: cleanEnvironment(),
      // Its own group: Ctrl-C at the terminal reaches the demo alone, which then stops its nodes in order.
      detached: true,
    },
  );
  // Whatever ends this process, no daemon of the demo outlives it.
  const leave = () => child.kill('SIGKILL');
  process.once('exit', leave);
  child.stderr.pipe(createWriteStream(logPath));
  const exited = once(child, 'exit').then(() => {
    process.off('exit', leave);
    return undefined;
  });
  try {
    const ready = await readReady(child, exited, name, logPath, signal);
    return {
      name,
      peer: ready.peer,
      registry: ready.registry,
      admin: ready.admin,
      peerAddresses: ready.peerAddresses,
      startMs: ready.startMs,
      logPath,
      [Symbol.asyncDispose]: () => stop(child, exited),
    };
  } catch (error) {
    await stop(child, exited);
    throw error;
  }
}

interface ReadyLine {
  readonly peer: string;
  readonly registry: string;
  readonly admin: string;
  readonly peerAddresses: readonly string[];
  readonly startMs: number;
}

async function readReady(
  child: ChildProcess & { stdout: NodeJS.ReadableStream },
  exited: Promise<undefined>,
  name: string,
  logPath: string,
  signal: AbortSignal,
): Promise<ReadyLine> {
  const lines = createInterface({ input: child.stdout });
  const limit = AbortSignal.any([signal, AbortSignal.timeout(readyTimeoutMs)]);
  const first = once(lines, 'line', { signal: limit }).then(([line]) => String(line));
  first.catch(() => {});
  const line = await Promise.race([first, exited]);
  if (line !== undefined) {
    const answer = JSON.parse(line) as ReadyLine & { ready?: true; error?: { message: string } };
    if (answer.ready === true) return answer;
    throw new CliError('CLI_DEMO_NODE', `${name} did not start: ${answer.error?.message ?? line}`, {
      details: { node: name, logPath },
    });
  }
  throw new CliError('CLI_DEMO_NODE', `${name} ended before it was ready; its log is ${logPath}`, {
    details: { node: name, logPath },
  });
}

async function stop(child: ChildProcess, exited: Promise<undefined>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs);
  await exited;
  clearTimeout(timer);
}

function configText(options: DemoNodeOptions): string {
  // JSON is YAML, and needs no quoting rules.
  const config = {
    dataDir: join(options.directory, 'data'),
    log: { format: 'json' },
    registry: { listen: '127.0.0.1:0' },
    admin: { listen: '127.0.0.1:0' },
    peer: { listen: '127.0.0.1:0', bulkListen: '127.0.0.1:0' },
    fleet: { secret: options.secret, bootstrap: options.bootstrap },
    origins: { [options.origin.host]: { url: options.origin.url } },
    defaultOrigin: options.origin.host,
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}

/** The script this process was started with: main.ts in the sources, main.js in a package. */
function entryPoint(): string {
  return process.argv[1] ?? '';
}

/** What a person has set for their own daemon must not leak into the demo. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SHOAL_')));
}
