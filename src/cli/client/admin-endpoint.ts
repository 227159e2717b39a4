import type { CommandIo } from '../command.ts';

/** Where the admin API of a daemon answers, and what lets a caller in. */
export interface AdminEndpoint {
  /** `host:port` */
  readonly address: string;
  readonly token: string | undefined;
}

/**
 * Finds the daemon of this machine: the flag, else SHOAL_ADMIN, else what the configuration says. A token of the configuration goes
 * to the address of the same configuration, or to an address named together with the file; one in SHOAL_ADMIN_TOKEN to any.
 * The configuration is loaded only where it is needed; its schema is most of the start of a small command.
 */
export async function findAdminEndpoint(
  options: { readonly admin?: string | undefined; readonly config?: string | undefined },
  io: CommandIo,
): Promise<AdminEndpoint> {
  const named = (options.admin ?? io.env['SHOAL_ADMIN'])?.replace(/^http:\/\//, '').replace(/\/+$/, '');
  if (named !== undefined && named !== '' && options.config === undefined) {
    const token = io.env['SHOAL_ADMIN_TOKEN'];
    return { address: named, token: token === '' ? undefined : token };
  }
  const { loadConfig } = await import('../../config/load.ts');
  const { listenAddressText } = await import('../../config/values.ts');
  const { config } = loadConfig({ env: io.env, path: options.config });
  const { host, port } = config.admin.listen;
  // A daemon that listens everywhere is reached on this machine.
  const isWildcard = host === '0.0.0.0' || host === '::';
  const address = named || listenAddressText({ host: isWildcard ? '127.0.0.1' : host, port });
  return { address, token: config.admin.token };
}
