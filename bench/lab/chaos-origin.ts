/** Starts the misbehaving origin in a network namespace; it stands in for docker-registry there. */
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ChaosRegistry } from '../../test/support/chaos-registry.ts';
import { type Child, startChild } from '../../test/support/child.ts';
import { nodeProgram } from '../../test/support/shoal-node.ts';
import type { PushOrder } from './agent-protocol.ts';

/** A rule that survives JSON: no tests by function or pattern. */
export type OriginRule = Pick<Parameters<ChaosRegistry['fail']>[0], 'fault' | 'kinds' | 'times' | 'after'>;

export type ChaosImage = Omit<PushOrder, 'host' | 'port'>;

export interface ChaosOrigin {
  readonly child: Child;
  put(image: ChaosImage): Promise<void>;
}

export function startChaosOrigin(options: {
  readonly directory: string;
  readonly port: number;
  readonly netns: string;
  readonly rules: readonly OriginRule[];
}): ChaosOrigin {
  const child = startChild({
    name: 'chaos origin',
    command: nodeProgram,
    args: [join(import.meta.dirname, '..', 'chaos-origin.ts'), String(options.port), JSON.stringify(options.rules)],
    logPath: join(options.directory, 'chaos-origin.log'),
    netns: options.netns,
    piped: true,
    stopTimeoutMs: 500,
  });
  const { stdin, stdout } = child.process;
  if (stdin === null || stdout === null) throw new Error('the chaos origin takes its images over a pipe');
  stdin.on('error', () => undefined);
  const answers = createInterface({ input: stdout })[Symbol.asyncIterator]();
  return {
    child,
    async put(image) {
      stdin.write(`${JSON.stringify(image)}\n`);
      const answer = await answers.next();
      if (answer.done === true) throw new Error(`the chaos origin ended:\n${child.readLog()}`);
    },
  };
}
