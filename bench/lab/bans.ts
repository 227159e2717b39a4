/** What the honest nodes of a fleet know of each other and of its liars, as an operator would read it: the admin API and the log. */
import type { PeersAnswer, StatusAnswer } from '../../src/admin/api.ts';
import { getAdmin } from './admin.ts';
import type { FleetNode } from './fleet.ts';

/** One ban as a node tells it, in either place. */
interface ToldBan {
  readonly peer: string;
  readonly reason: string;
  readonly evidence: string;
}

/** What one honest node tells. */
export interface NodeTold {
  readonly label: string;
  readonly bans: readonly ToldBan[];
  readonly loggedBans: readonly ToldBan[];
}

export interface LiarReport {
  readonly label: string;
  /** How many of the honest nodes show it as banned, and how many name it in their log with evidence. */
  readonly bannedBy: number;
  readonly loggedBy: number;
  readonly honestNodes: number;
  readonly reasons: readonly string[];
  /** As one node gives it. */
  readonly evidence?: string;
}

export interface BanReport {
  readonly liars: readonly LiarReport[];
  /** Bans of nodes that never lied; each is a fault of the one who banned. */
  readonly wrongBans: readonly { readonly by: string; readonly banned: string; readonly reason: string }[];
}

/** Reads the bans out of a daemon's log in JSON lines; what is no such line is passed over. */
export function readLoggedBans(log: string): ToldBan[] {
  const bans: ToldBan[] = [];
  for (const line of log.split('\n')) {
    if (!line.includes('"peer banned"')) continue;
    const { peer, reason, evidence } = JSON.parse(line) as Partial<ToldBan>;
    if (peer !== undefined && reason !== undefined && evidence !== undefined) bans.push({ peer, reason, evidence });
  }
  return bans;
}

/** Holds what the honest nodes tell against who lied: `peers` names every node by its peer id. */
export function judgeBans(
  told: readonly NodeTold[],
  peers: ReadonlyMap<string, string>,
  liars: ReadonlySet<string>,
): BanReport {
  const reports: LiarReport[] = [];
  for (const [peer, label] of peers) {
    if (!liars.has(label)) continue;
    const bans = told.flatMap((node) => node.bans.filter((ban) => ban.peer === peer));
    const evidence = bans[0]?.evidence;
    reports.push({
      label,
      bannedBy: bans.length,
      loggedBy: told.filter((node) => node.loggedBans.some((ban) => ban.peer === peer && ban.evidence !== '')).length,
      honestNodes: told.length,
      reasons: [...new Set(bans.map((ban) => ban.reason))],
      ...(evidence === undefined ? {} : { evidence }),
    });
  }
  const wrongBans = told.flatMap((node) =>
    node.bans
      .map(({ peer, reason }) => ({ by: node.label, banned: peers.get(peer) ?? peer, reason }))
      .filter(({ banned }) => !liars.has(banned)),
  );
  return { liars: reports, wrongBans };
}

/** Asks nodes for their peer ids; each is given with the node's label. */
export async function readPeers(nodes: readonly FleetNode[]): Promise<ReadonlyMap<string, string>> {
  const peers = new Map<string, string>();
  for (const node of nodes) peers.set((await getAdmin<StatusAnswer>(node, '/api/v1/status')).peer, node.host.label);
  return peers;
}

/** Asks the honest nodes; `peers` names every node of the fleet. */
export async function readBans(
  honest: readonly FleetNode[],
  liars: ReadonlySet<string>,
  peers: ReadonlyMap<string, string>,
): Promise<BanReport> {
  const told: NodeTold[] = [];
  for (const node of honest) {
    const answer = await getAdmin<PeersAnswer>(node, '/api/v1/peers');
    told.push({
      label: node.host.label,
      bans: answer.peers.flatMap(({ peer, ban }) => (ban === undefined ? [] : [{ peer, ...ban }])),
      loggedBans: readLoggedBans(node.daemon?.readLog() ?? ''),
    });
  }
  return judgeBans(told, peers, liars);
}
