/** The bench's side of an agent: typed orders, answered one by one. */
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Child, startChild } from '../../test/support/child.ts';
import type { AgentMessage, AgentOperation, AgentOrders } from './agent-protocol.ts';

export interface Agent extends AsyncDisposable {
  readonly child: Child;
  send<Name extends AgentOperation>(
    operation: Name,
    order: AgentOrders[Name]['order'],
  ): Promise<AgentOrders[Name]['answer']>;
}

/** Starts an agent, in a network namespace if one is given. */
export function startAgent(name: string, directory: string, netns: string | undefined): Agent {
  const child = startChild({
    name: `agent ${name}`,
    command: process.execPath,
    args: [join(import.meta.dirname, '..', 'agent.ts')],
    logPath: join(directory, `agent-${name}.log`),
    piped: true,
    ...(netns === undefined ? {} : { netns }),
  });
  const waiting = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>();
  let lastId = 0;
  const { stdin, stdout } = child.process;
  if (stdin === null || stdout === null) throw new Error('an agent talks over pipes');
  stdin.on('error', () => undefined);
  createInterface({ input: stdout }).on('line', (line) => {
    const message = JSON.parse(line) as AgentMessage;
    const waiter = waiting.get(message.id);
    waiting.delete(message.id);
    if ('error' in message) waiter?.reject(new Error(`${name}: ${message.error}`));
    else waiter?.resolve(message.answer);
  });
  void child.exited.then((outcome) => {
    for (const waiter of waiting.values())
      waiter.reject(new Error(`agent ${name} ended: ${outcome}\n${child.readLog()}`));
    waiting.clear();
  });
  return {
    child,
    send: (operation, order) =>
      new Promise((resolve, reject) => {
        lastId += 1;
        // The protocol's types pair operation and answer; JSON cannot.
        waiting.set(lastId, { resolve: resolve as (answer: unknown) => void, reject });
        stdin.write(`${JSON.stringify({ id: lastId, operation, order })}\n`);
      }),
    async [Symbol.asyncDispose]() {
      stdin.end();
      await child.stop();
    },
  };
}
