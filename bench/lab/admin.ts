/** Asks a node's admin API from inside its network namespace. */
import type { FleetNode } from './fleet.ts';

export const adminPort = 5001;

export async function getAdmin<Answer>(node: FleetNode, path: string): Promise<Answer> {
  const { status, body } = await node.agent.send('get', { host: '127.0.0.1', port: adminPort, path });
  if (status !== 200) throw new Error(`${node.host.label} ${path}: ${status}`);
  return JSON.parse(body) as Answer;
}
