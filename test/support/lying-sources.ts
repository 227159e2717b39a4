import { pieceHash } from '../../src/content/piece-hash.ts';
import { pieceRange, planPieces } from '../../src/content/piece-plan.ts';
import { type NodeIdentity, signPiece } from '../../src/content/signed-piece.ts';
import type { PieceRun, PieceSource } from '../../src/peer/bulk.ts';
import { generateIdentity } from '../../src/peer/identity.ts';
import { decodeFrame, encodeFrame, type SwarmMessage, swarmProtocol } from '../../src/swarm/messages.ts';
import type { BlobRequest } from '../../src/swarm/swarm.ts';
import type { SwarmFleet } from './swarm-fleet.ts';

/** Replaces how an honest source's runs are read. */
export function withRead(
  honest: PieceSource,
  read: (run: PieceRun, target: Uint8Array, position: number) => Promise<number>,
): PieceSource {
  return {
    async openPieces(...args) {
      const run = await honest.openPieces(...args);
      return { ...run, read: (target, position) => read(run, target, position) };
    },
  };
}

/** Sends other bytes than it says while the condition holds. */
export function flipping(honest: PieceSource, isLying: () => boolean = () => true): PieceSource {
  return withRead(honest, async (run, target, position) => {
    const count = await run.read(target, position);
    if (isLying()) target[0] = (target[0] ?? 0) ^ 0xff;
    return count;
  });
}

/** Sends other bytes and signs them as true, in the pieces of which the condition holds. */
export function lying(
  honest: PieceSource,
  identity: NodeIdentity,
  isFalse: (pieceBytes: number) => boolean = () => true,
): PieceSource {
  return {
    async openPieces(...args) {
      const run = await honest.openPieces(...args);
      const plan = planPieces(run.blob.sizeBytes);
      const bytes = Buffer.alloc(run.end - run.start);
      let filled = 0;
      while (filled < bytes.length) filled += await run.read(bytes.subarray(filled), run.start + filled);
      const pieces = run.pieces.map((honestPiece) => {
        const { index } = honestPiece;
        const { start, end } = pieceRange(plan, index);
        if (!isFalse(end - start)) return honestPiece;
        const piece = bytes.subarray(start - run.start, end - run.start);
        piece[0] = (piece[0] ?? 0) ^ 0xff;
        return signPiece(identity, run.blob, index, pieceHash(piece));
      });
      return { ...run, pieces, read: async (target, position) => bytes.copy(target, 0, position - run.start) };
    },
  };
}

/** A member that answers every greeting: it fetches too, claims every extent of the blob, and never has anything. */
export async function joinBoaster(
  fleet: Pick<SwarmFleet, 'hub' | 'directories' | 'nodes'>,
  blob: BlobRequest,
): Promise<{ readonly greetings: number } & AsyncDisposable> {
  const { digest, sizeBytes } = blob;
  const { peerId } = await generateIdentity();
  const network = fleet.hub.join(peerId);
  const directory = fleet.directories.join(peerId);
  const plan = planPieces(sizeBytes);
  let greetings = 0;
  network.handle(swarmProtocol, (channel) => {
    const say = (...messages: SwarmMessage[]) => channel.send(encodeFrame(messages));
    say({ kind: 'hello', bulkPort: 1, zone: '' });
    const answer = async () => {
      for await (const frame of channel.messages()) {
        const isGreeting = decodeFrame(frame).some((message) => message.kind === 'state' && message.wantsReply);
        if (!isGreeting) continue;
        greetings += 1;
        const pieces = new Uint8Array(Math.ceil(plan.pieceCount / 8));
        const claims = Array.from(
          { length: plan.extentCount },
          (_, extent) => ({ kind: 'claim', digest, extent, receivedBytes: 0 }) as const,
        );
        const state = { isFetching: true, canAskOrigin: true, wantsReply: false } as const;
        say({ kind: 'state', digest, sizeBytes, pieces, ...state }, ...claims);
      }
    };
    answer().catch(() => {});
  });
  for (const node of fleet.nodes) await network.dial(node.network.addresses()[0] ?? '', AbortSignal.timeout(15_000));
  await directory.announce([{ digest, holding: 'fetching' }], AbortSignal.timeout(15_000));
  return {
    get greetings() {
      return greetings;
    },
    async [Symbol.asyncDispose]() {
      await directory[Symbol.asyncDispose]();
      await network[Symbol.asyncDispose]();
    },
  };
}
