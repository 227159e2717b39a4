import { bytesText, percentText, rateText, spanText } from '../../lib/units.ts';
import type { Transfer } from '../../swarm/swarm.ts';
import { formatTable, leftColumns, rightColumns } from '../output/table.ts';
import { shortDigest } from '../output/units.ts';

/** What came to one node. */
interface NodeReport {
  readonly name: string;
  readonly peer: string;
  readonly durationMs: number;
  readonly transfers: readonly Transfer[];
}

export interface DemoReport {
  readonly layers: readonly { readonly digest: string; readonly sizeBytes: number }[];
  readonly nodes: readonly NodeReport[];
  /** Bytes of blob bodies that left the origin. */
  readonly originBytes: number;
  readonly durationMs: number;
}

interface LayerBytes {
  readonly origin: number;
  readonly local: number;
  readonly byPeer: ReadonlyMap<string, number>;
}

/** Writes the table that ends the demo: per node and layer, where the bytes came from; then origin against image. */
export function formatReport(report: DemoReport, isColoured: boolean): string {
  const { nodes, layers } = report;
  const columns = [
    ...leftColumns('NODE', 'LAYER'),
    ...rightColumns('SIZE', 'ORIGIN', ...nodes.map((node) => node.name.toUpperCase()), 'LOCAL'),
  ];
  const rows = nodes.flatMap((node) => {
    const sums = { size: 0, origin: 0, local: 0, byPeer: new Map<string, number>() };
    const lines = layers.map((layer, at) => {
      const bytes = bytesOf(node, layer);
      sums.size += layer.sizeBytes;
      sums.origin += bytes.origin;
      sums.local += bytes.local;
      for (const [peer, count] of bytes.byPeer) sums.byPeer.set(peer, (sums.byPeer.get(peer) ?? 0) + count);
      return row(at === 0 ? node.name : '', shortDigest(layer.digest), layer.sizeBytes, bytes, node, nodes);
    });
    return [...lines, row('', 'together', sums.size, sums, node, nodes), columns.map(() => '')];
  });
  return [formatTable(columns, rows.slice(0, -1), isColoured), '', ...summary(report)].join('\n');
}

/** The same figures for programs. */
export function reportJson(report: DemoReport): object {
  const imageBytes = report.layers.reduce((sum, layer) => sum + layer.sizeBytes, 0);
  return {
    imageBytes,
    originBytes: report.originBytes,
    originPerImage: report.originBytes / imageBytes,
    seconds: report.durationMs / 1000,
    verified: true,
    nodes: report.nodes.map((node) => ({
      name: node.name,
      peer: node.peer,
      seconds: node.durationMs / 1000,
      layers: report.layers.map((layer) => {
        const { origin, local, byPeer } = bytesOf(node, layer);
        return { ...layer, origin, local, peers: Object.fromEntries(byPeer) };
      }),
    })),
  };
}

function row(
  name: string,
  label: string,
  sizeBytes: number,
  bytes: LayerBytes,
  node: NodeReport,
  nodes: readonly NodeReport[],
): readonly string[] {
  const cell = (count: number) => (count === 0 ? '·' : bytesText(count));
  return [
    name,
    label,
    bytesText(sizeBytes),
    cell(bytes.origin),
    ...nodes.map((other) => (other === node ? '' : cell(bytes.byPeer.get(other.peer) ?? 0))),
    cell(bytes.local),
  ];
}

function bytesOf(node: NodeReport, layer: { readonly digest: string; readonly sizeBytes: number }): LayerBytes {
  const transfer = node.transfers.find(({ digest }) => digest === layer.digest);
  // No transfer: the node had the blob before anyone asked.
  if (transfer === undefined) return { origin: 0, local: layer.sizeBytes, byPeer: new Map() };
  return {
    origin: transfer.bytes.origin,
    local: transfer.bytes.local,
    byPeer: new Map(transfer.peers.map(({ peer, bytes }) => [peer, bytes])),
  };
}

function summary(report: DemoReport): readonly string[] {
  const imageBytes = report.layers.reduce((sum, layer) => sum + layer.sizeBytes, 0);
  const pulled = imageBytes * report.nodes.length;
  return [
    `${report.nodes.length} nodes pulled ${bytesText(imageBytes)} each, ${bytesText(pulled)} together, in ${spanText(report.durationMs)} (${rateText((pulled * 1000) / report.durationMs)}).`,
    `The origin sent ${bytesText(report.originBytes)}: ${(report.originBytes / imageBytes).toFixed(2)} times the image, ${percentText(report.originBytes, pulled)} of what the nodes received.`,
    'Every manifest and blob was hashed by the client: all digests are right.',
  ];
}
