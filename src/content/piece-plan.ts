/**
 * How a blob is cut, as a function of its size alone, so that every node agrees without asking.
 * piece = the unit that is verified and exchanged; extent = the run of pieces one request fetches from the origin.
 */
const MiB = 1024 * 1024;

export interface PiecePlan {
  readonly sizeBytes: number;
  readonly pieceBytes: number;
  readonly pieceCount: number;
  /** Pieces in a full extent; the last extent may be shorter. */
  readonly extentPieces: number;
  readonly extentCount: number;
}

/** Computes the plan of a blob: 1 MiB pieces up to 64 MiB, 2 MiB up to 512 MiB, else 4 MiB. An empty blob has no piece. */
export function planPieces(sizeBytes: number): PiecePlan {
  const pieceBytes = sizeBytes <= 64 * MiB ? MiB : sizeBytes <= 512 * MiB ? 2 * MiB : 4 * MiB;
  const pieceCount = Math.ceil(sizeBytes / pieceBytes);
  const extentPieces = sizeBytes <= 512 * MiB ? 2 : 4;
  return { sizeBytes, pieceBytes, pieceCount, extentPieces, extentCount: Math.ceil(pieceCount / extentPieces) };
}

/** Returns the byte range of a piece; `end` is exclusive. */
export function pieceRange(plan: PiecePlan, index: number): { start: number; end: number } {
  const start = index * plan.pieceBytes;
  return { start, end: Math.min(start + plan.pieceBytes, plan.sizeBytes) };
}

/** Returns the piece that holds a byte. */
export function pieceAt(plan: PiecePlan, offset: number): number {
  return Math.floor(offset / plan.pieceBytes);
}

/** Returns the pieces of an extent; `end` is exclusive. */
export function extentPieceRange(plan: PiecePlan, extent: number): { start: number; end: number } {
  const start = extent * plan.extentPieces;
  return { start, end: Math.min(start + plan.extentPieces, plan.pieceCount) };
}

/** Returns the extent a piece belongs to. */
export function extentOf(plan: PiecePlan, piece: number): number {
  return Math.floor(piece / plan.extentPieces);
}
