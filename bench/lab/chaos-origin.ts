/** Starts the misbehaving origin in a network namespace; it stands in for docker-registry there. */
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ChaosRegistry } from '../../test/support/chaos-registry.ts';
import { type Child, startChild } from '../../test/support/child.ts';
import { nodeProgram } from '../../test/support/shoal-node.ts';
import type { ImageFiles } from './agent-protocol.ts';

type ChaosRule = Parameters<ChaosRegistry['fail']>[0];

/** A rule that survives JSON: no tests by function or pattern. */
export type OriginRule = Pick<ChaosRule, 'kinds' | 'times' | 'after'> & {
  /** `cut-every` closes the connection that sends the byte, each time so many have left in all. */
  readonly fault: ChaosRule['fault'] | { readonly kind: 'cut-every'; readonly bytes: number };
  /** Only answers of at least so many bytes. */
  readonly minBytes?: number;
};

/** One line each on the origin's stdin; answered in order. */
export type ChaosOrder = { readonly put: ImageFiles } | { readonly countHits: true };

export interface ChaosAnswer {
  /** How often a rule was applied, all rules together. */
  readonly hits: number;
}

export interface ChaosOrigin {
  readonly child: Child;
  put(image: ImageFiles): Promise<void>;
  countHits(): Promise<number>;
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
  const send = async (order: ChaosOrder): Promise<ChaosAnswer> => {
    stdin.write(`${JSON.stringify(order)}\n`);
    const answer = await answers.next();
    if (answer.done === true) throw new Error(`the chaos origin ended:\n${child.readLog()}`);
    return JSON.parse(answer.value) as ChaosAnswer;
  };
  return {
    child,
    async put(image) {
      await send({ put: image });
    },
    countHits: async () => (await send({ countHits: true })).hits,
  };
}
