import type { LoadedConfig } from '../../config/load.ts';
import { spanText } from '../../lib/units.ts';
import { tuneV8 } from '../../lib/v8-flags.ts';
import { type CommandIo, startCommand } from '../command.ts';
import { addConfigFlags, loadConfigFor } from '../config-flags.ts';
import { exitCodes } from '../exit-codes.ts';
import { welcomeText } from '../output/welcome.ts';
import { readVersion } from '../version.ts';

/** `shoal serve` */
export function createCommand(io: CommandIo) {
  const command = startCommand('serve', 'Run the daemon of this node until it is told to stop (SIGTERM, SIGINT).', {
    examples: [
      'shoal serve',
      'shoal serve --config /etc/shoal/shoal.yaml',
      'SHOAL_FLEET_SECRET_FILE=/etc/shoal/secret shoal serve --fleet.bootstrap node-1:5002,node-2:5002',
      'shoal serve --registry.listen 127.0.0.1:6000 --cache.maxBytes 50GiB',
    ],
    exits: [
      exitCodes.done,
      exitCodes.usage,
      exitCodes.config,
      exitCodes.address,
      exitCodes.locked,
      exitCodes.dataDir,
      exitCodes.oldNode,
      exitCodes.interrupted,
    ],
  });
  addConfigFlags(command);
  return command.action(async (options) => {
    const loaded = loadConfigFor(options, io);
    await serve(loaded, io, options.json === true);
  });
}

// Beside the drain: taking back announcements, closing connections and the index take a second; ten mean that something hangs.
const closeTimeoutMs = 10_000;

async function serve(loaded: LoadedConfig, io: CommandIo, isJson: boolean): Promise<void> {
  const { config } = loaded;
  tuneV8();
  // The libraries of the daemon take most of the start; they load while nothing else waits.
  const [{ startDaemon }, { createLogger }, { catchStopSignals }] = await Promise.all([
    import('../../daemon/daemon.ts'),
    import('../../telemetry/logger.ts'),
    import('../../daemon/signals.ts'),
  ]);
  const isText = config.log.format === 'text' || (config.log.format === 'auto' && io.stderr.isTTY === true);
  const logger = createLogger({
    level: config.log.level,
    format: isText ? 'text' : 'json',
    destination: io.stderr,
    isColoured: io.stderr.isTTY === true,
  });
  for (const warning of loaded.warnings) logger.warn({ warning }, 'configuration warning');

  using signals = catchStopSignals(logger);
  await using daemon = await startDaemon(config, { logger, version: readVersion(), ownsProcess: true });
  // The process began before this module could be loaded: what a person waits for is counted from there.
  const startMs = process.uptime() * 1000;
  logger.info({ startMs: Math.round(startMs), ...daemon.addresses, peer: daemon.peerId }, 'ready');
  if (isJson) {
    const { addresses, peerId, peerAddresses, dataDir } = daemon;
    io.stdout.write(
      `${JSON.stringify({ ready: true, startMs: Math.round(startMs), peer: peerId, dataDir, ...addresses, peerAddresses })}\n`,
    );
  } else {
    io.stdout.write(`shoal ${readVersion()} is ready after ${spanText(startMs)}\n\n${welcomeText(config, daemon)}\n`);
  }
  await signals.first;
  const late = setTimeout(() => {
    logger.error({}, 'the stop takes too long, leaving');
    process.exit(exitCodes.bug);
  }, config.shutdown.drainTimeout + closeTimeoutMs);
  await daemon.stop();
  clearTimeout(late);
  logger.info({}, 'stopped');
  // Everything is closed, but libp2p leaves two timers behind that would keep the process for two more seconds.
  process.exit(exitCodes.done);
}
