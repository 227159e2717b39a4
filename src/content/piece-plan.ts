/**
 * How a blob is cut, as a function of its size alone, so that every node agrees without asking.
 * piece = the unit that is verified and exchanged; extent = the run of pieces one turn fetches from the origin.
 *
 * The first MiB of a larger blob is cut finer (64, 64, 128, 256, 512 KiB): a piece must be whole before it is passed on, so the time
 * to a client's first byte is that of the first piece over log2(N) hops. The rest is cut into pieces small against N/R and
 * large against the cost of a request. Figures: docs/adr/0005-piece-sizes.md.
 */
const KiB = 1024;
const MiB = 1024 * KiB;
const headPieceBytes = [64 * KiB, 64 * KiB, 128 * KiB, 256 * KiB, 512 * KiB] as const;

export interface PiecePlan {
  readonly sizeBytes: number;
  /** Size of a piece behind the head; no piece is larger. */
  readonly pieceBytes: number;
  readonly pieceCount: number;
  /** Pieces of the finer head; 0 in blobs up to 1 MiB. */
  readonly headPieces: number;
  /** Pieces in an extent behind the head; the last extent may be shorter. The head is an extent of its own. */
  readonly extentPieces: number;
  readonly extentCount: number;
}

/** Computes the plan of a blob: pieces of 512 KiB up to 64 MiB, 1 MiB up to 512 MiB, 2 MiB up to 4 GiB, else 4 MiB. An empty blob has no piece. */
export function planPieces(sizeBytes: number): PiecePlan {
  const pieceBytes =
    sizeBytes <= 64 * MiB ? MiB / 2 : sizeBytes <= 512 * MiB ? MiB : sizeBytes <= 4096 * MiB ? 2 * MiB : 4 * MiB;
  const headPieces = sizeBytes > MiB ? headPieceBytes.length : 0;
  const restPieces = Math.ceil((sizeBytes - (headPieces > 0 ? MiB : 0)) / pieceBytes);
  const extentPieces = Math.max(1, MiB / pieceBytes);
  return {
    sizeBytes,
    pieceBytes,
    pieceCount: headPieces + restPieces,
    headPieces,
    extentPieces,
    extentCount: (headPieces > 0 ? 1 : 0) + Math.ceil(restPieces / extentPieces),
  };
}

/** Returns the byte range of a piece; `end` is exclusive. */
export function pieceRange(plan: PiecePlan, index: number): { start: number; end: number } {
  if (index < plan.headPieces) {
    let start = 0;
    for (let before = 0; before < index; before += 1) start += headPieceBytes[before] ?? 0;
    return { start, end: start + (headPieceBytes[index] ?? 0) };
  }
  const start = headBytes(plan) + (index - plan.headPieces) * plan.pieceBytes;
  return { start, end: Math.min(start + plan.pieceBytes, plan.sizeBytes) };
}

/** Returns the byte range of a run of pieces; `end` is exclusive. */
export function runRange(plan: PiecePlan, first: number, count: number): { start: number; end: number } {
  return { start: pieceRange(plan, first).start, end: pieceRange(plan, first + count - 1).end };
}

/** Returns the piece that holds a byte. */
export function pieceAt(plan: PiecePlan, offset: number): number {
  if (offset >= headBytes(plan)) return plan.headPieces + Math.floor((offset - headBytes(plan)) / plan.pieceBytes);
  let index = 0;
  while (pieceRange(plan, index).end <= offset) index += 1;
  return index;
}

/** Returns the pieces of an extent; `end` is exclusive. */
export function extentPieceRange(plan: PiecePlan, extent: number): { start: number; end: number } {
  if (plan.headPieces === 0) return extentFrom(plan, extent * plan.extentPieces);
  if (extent === 0) return { start: 0, end: plan.headPieces };
  return extentFrom(plan, plan.headPieces + (extent - 1) * plan.extentPieces);
}

/** Returns the extent a piece belongs to. */
export function extentOf(plan: PiecePlan, piece: number): number {
  if (plan.headPieces === 0) return Math.floor(piece / plan.extentPieces);
  return piece < plan.headPieces ? 0 : 1 + Math.floor((piece - plan.headPieces) / plan.extentPieces);
}

function extentFrom(plan: PiecePlan, start: number): { start: number; end: number } {
  return { start, end: Math.min(start + plan.extentPieces, plan.pieceCount) };
}

function headBytes(plan: PiecePlan): number {
  return plan.headPieces > 0 ? MiB : 0;
}
