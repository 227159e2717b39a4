import type { ExplainAnswer, PullLine, PullOrder } from '../../admin/api.ts';
import { isAbort, toError } from '../../lib/errors.ts';
import { bytesText, rateText, spanText } from '../../lib/units.ts';
import type { Transfer } from '../../swarm/swarm.ts';
import { type AdminClient, createAdminClient, refusalOf } from '../client/admin-client.ts';
import { findAdminEndpoint } from '../client/admin-endpoint.ts';
import { type CommandIo, startCommand } from '../command.ts';
import { CliError } from '../errors.ts';
import { exitCodes } from '../exit-codes.ts';
import { formatExplanation } from '../output/explain.ts';
import { Progress, type ProgressRow } from '../output/progress.ts';
import { shortDigest } from '../output/units.ts';

/** `shoal pull` */
export function createCommand(io: CommandIo) {
  return startCommand('pull', 'Pull an image into the store of this node, from peers where they have it.', {
    examples: [
      'shoal pull alpine:3.20',
      'shoal pull ghcr.io/owner/app@sha256:… --platform linux/arm64',
      'shoal pull registry.lan:5000/app --explain',
    ],
    exits: [exitCodes.done, exitCodes.usage, exitCodes.unreachable, exitCodes.failed, exitCodes.interrupted],
  })
    .argument('<image>', 'as docker writes it: [host/]name[:tag][@digest]')
    .option('--platform <os/arch[/variant]>', 'platform of a multi-arch image, or "all" (default: that of the node)')
    .option('--explain', 'say why it took as long as it did; for an image that is here already, why its last pull did')
    .option('--admin <host:port>', 'admin address of the daemon (SHOAL_ADMIN)')
    .option('-c, --config <path>', 'configuration file the admin address and token are taken from (SHOAL_CONFIG)')
    .action(async (image, options) => {
      const client = createAdminClient(await findAdminEndpoint(options, io));
      const request: PullOrder = {
        reference: image,
        ...(options.platform === undefined ? {} : { platform: options.platform }),
      };
      const signal = io.interrupted();
      const lines = client.stream<PullLine>('POST', '/api/v1/pull', request, signal);
      if (options.json === true) {
        for await (const line of lines) {
          io.stdout.write(`${JSON.stringify(line)}\n`);
          if (line.kind === 'failed') throw refusalOf(line.error);
        }
        if (options.explain === true)
          io.stdout.write(`${JSON.stringify({ kind: 'explained', ...(await explain(client, request, signal)) })}\n`);
        return;
      }
      const view = new PullView(io);
      const failure = await showPull(image, lines, view, io).catch((error: unknown) => toError(error));
      if (options.explain === true && !signal.aborted) {
        // A pull that failed is explained too, if it came far enough; its error is told in any case.
        const answer = await explain(client, request, signal).catch((error: unknown) => failure ?? toError(error));
        if (!(answer instanceof Error))
          io.stdout.write(`\n${formatExplanation(answer, Date.now(), view.namedAfterMs)}\n`);
        else if (failure === undefined) throw answer;
      }
      if (failure !== undefined) throw failure;
    });
}

function explain(client: AdminClient, order: PullOrder, signal: AbortSignal): Promise<ExplainAnswer> {
  const query = new URLSearchParams({ ...order });
  return client.get<ExplainAnswer>(`/api/v1/explain?${query}`, signal);
}

async function showPull(image: string, lines: AsyncIterable<PullLine>, view: PullView, io: CommandIo): Promise<void> {
  try {
    for await (const line of lines) {
      switch (line.kind) {
        case 'resolved':
          io.stdout.write(
            `${image}  ${line.digest}${line.isStale ? '  (stale: the origin could not be asked)' : ''}\n`,
          );
          break;
        case 'layers':
          view.setLayers(line.layers);
          break;
        case 'transfer':
          view.setTransfer(line.transfer);
          break;
        case 'failed':
          throw refusalOf(line.error);
        case 'done':
          view.finish();
          io.stdout.write(
            `done: ${bytesText(line.totalBytes)} in ${spanText(line.durationMs)}` +
              ` (${rateText((line.totalBytes * 1000) / Math.max(1, line.durationMs))});` +
              ` origin ${bytesText(line.bytes.origin)}, peers ${bytesText(line.bytes.peer)}, local ${bytesText(line.bytes.local)}\n`,
          );
          return;
      }
    }
  } catch (error) {
    if (!isAbort(error)) view.finish();
    throw error;
  }
  throw new CliError('CLI_BAD_ANSWER', 'the daemon ended the pull without saying how it went');
}

/** Keeps what is known of each layer and draws it. */
class PullView {
  readonly #rows = new Map<string, ProgressRow>();
  readonly #progress: Progress;
  readonly #startedMs = performance.now();
  #namedAfterMs: number | undefined;

  constructor(io: CommandIo) {
    this.#progress = new Progress({
      stream: io.stdout,
      isTty: io.stdout.isTTY === true,
      nowMs: () => performance.now(),
    });
  }

  /** How long it took until the blobs of the first image were known. */
  get namedAfterMs(): number | undefined {
    return this.#namedAfterMs;
  }

  setLayers(layers: Extract<PullLine, { kind: 'layers' }>['layers']): void {
    this.#namedAfterMs ??= performance.now() - this.#startedMs;
    for (const { digest, sizeBytes, isLocal } of layers) {
      if (this.#rows.has(digest)) continue;
      this.#rows.set(digest, {
        label: shortDigest(digest),
        totalBytes: sizeBytes,
        bytes: { origin: 0, peer: 0, local: isLocal ? sizeBytes : 0 },
        state: isLocal ? 'complete' : 'waiting',
      });
    }
    this.#progress.update([...this.#rows.values()]);
  }

  setTransfer(transfer: Transfer): void {
    this.#rows.set(transfer.digest, {
      label: shortDigest(transfer.digest),
      totalBytes: transfer.sizeBytes,
      bytes: transfer.bytes,
      state: transfer.state,
    });
    this.#progress.update([...this.#rows.values()]);
  }

  finish(): void {
    this.#progress.finish();
  }
}
