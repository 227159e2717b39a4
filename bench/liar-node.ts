/**
 * A node that lies, for the fleet bench: the daemon as installed, of which only what leaves it over the bulk plane is changed.
 * It takes the same arguments and environment as `shoal`, and SHOAL_BENCH_LIE: the name of a lie. Not meant to be run by hand.
 */
import { join } from 'node:path';
import type { PieceSource } from '../src/peer/bulk.ts';
import { loadIdentity } from '../src/peer/identity.ts';
import { flipping, lying, withRead } from '../test/support/lying-sources.ts';
import { isLie, type Lie, lieVariable } from './lab/lies.ts';

const installed = join(import.meta.dirname, '..', 'dist');

// The settings of the daemon share the prefix; what is no key of theirs would stop it.
const { [lieVariable]: lie, SHOAL_DATA_DIR: dataDir } = process.env;
delete process.env[lieVariable];
if (lie === undefined || !isLie(lie) || dataDir === undefined) throw new Error(`${lieVariable}: no lie "${lie}"`);

/** Kept by the daemon from its start on, long before the first piece is asked for. */
let identity: ReturnType<typeof loadIdentity> | undefined;

async function lieAs(name: Exclude<Lie, 'endless'>, honest: PieceSource): Promise<PieceSource> {
  if (name === 'flip') return flipping(honest);
  if (name === 'stall') return withRead(honest, () => new Promise<number>(() => undefined));
  identity ??= loadIdentity(join(dataDir as string, 'identity.key'));
  const isFalse = name === 'sign' ? undefined : (pieceBytes: number) => pieceBytes >= largePieceBytes;
  return lying(honest, await identity, isFalse);
}

/** Above the pieces of a blob's head: a client gets its first bytes before the first lie. */
const largePieceBytes = 512 * 1024;

if (lie === 'endless') await sendEndlessly();
else {
  // Typed by its source; run from where the daemon below gets it, so that there is only one.
  const shared = (await import(
    join(installed, 'swarm', 'piece-share.js')
  )) as typeof import('../src/swarm/piece-share.ts');
  const { prototype } = shared.PieceShare;
  const { openPieces } = prototype;
  prototype.openPieces = async function (...args) {
    const liar = await lieAs(lie, { openPieces: (...asked) => openPieces.apply(this, asked) });
    return liar.openPieces(...args);
  };
}

/** Every answer with pieces is followed by zeros for as long as the peer takes them. */
async function sendEndlessly(): Promise<void> {
  const zeros = Buffer.alloc(64 * 1024);
  const sending = (await import(
    join(installed, 'peer', 'tls', 'run-sender.js')
  )) as typeof import('../src/peer/tls/run-sender.ts');
  const { prototype } = sending.RunSender;
  const { send } = prototype;
  prototype.send = async function (socket, ...rest) {
    await send.call(this, socket, ...rest);
    await new Promise<never>((_, reject) => {
      const more = () => socket.write(zeros, (error) => (error ? reject(error) : more()));
      more();
    });
  };
}

// From the modules: what is changed above is not in the bundle that `main.js` would run.
const { runCli } = (await import(join(installed, 'cli', 'run.js'))) as typeof import('../src/cli/run.ts');
process.exitCode = await runCli(process.argv.slice(2));
