import type { CommandIo } from '../command.ts';

/**
 * Finds the admin address of the daemon of this machine: the flag, else SHOAL_ADMIN, else what the configuration says.
 * The configuration is loaded only then; its schema is most of the start of a small command.
 */
export async function findAdminAddress(
  options: { readonly admin?: string | undefined; readonly config?: string | undefined },
  io: CommandIo,
): Promise<string> {
  const named = options.admin ?? io.env['SHOAL_ADMIN'];
  if (named !== undefined && named !== '') return named.replace(/^http:\/\//, '').replace(/\/+$/, '');
  const { loadConfig } = await import('../../config/load.ts');
  const { listenAddressText } = await import('../../config/values.ts');
  const { config } = loadConfig({ env: io.env, path: options.config });
  const { host, port } = config.admin.listen;
  // A daemon that listens everywhere is reached on this machine.
  const isWildcard = host === '0.0.0.0' || host === '::';
  return listenAddressText({ host: isWildcard ? '127.0.0.1' : host, port });
}
