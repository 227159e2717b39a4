import { generateIdentity } from '../../src/peer/identity.ts';
import { startTestNetwork } from './peer-networks.ts';

/** A peer in a process of its own, to be stopped or killed; it sends its addresses to its parent. */
const network = await startTestNetwork(await generateIdentity());
network.handle('talk', () => {});
process.send?.(network.addresses());
process.on('disconnect', () => process.exit(0));
