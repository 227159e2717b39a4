/**
 * When TCP asks whether the other end of a silent connection is still there: some stay between pulls, and what stands between the nodes may
 * forget them; and a peer that has vanished is noticed.
 */
export const keepAliveAfterMs = 20_000;
