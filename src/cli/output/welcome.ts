import type { Config } from '../../config/schema.ts';

/** Where a daemon answers, as a person at its terminal needs it. */
export interface WelcomeFacts {
  readonly addresses: { readonly registry: string; readonly admin: string };
  readonly dataDir: string;
  readonly isLoopbackOnly: boolean;
  readonly peerAddresses: readonly string[];
}

/** Says where the daemon answers and what to do next. */
export function welcomeText(config: Pick<Config, 'defaultOrigin'>, facts: WelcomeFacts): string {
  const { registry, admin } = facts.addresses;
  return [
    `  registry  http://${registry}  (mirror of ${config.defaultOrigin}; other origins by name)`,
    `  admin     http://${admin}  (status, health, metrics)`,
    facts.isLoopbackOnly
      ? '  peers     this machine only: no fleet secret is set (fleet.secretFile), so no other node can join'
      : `  peers     ${facts.peerAddresses.join('\n            ')}`,
    `  data      ${facts.dataDir}`,
    '',
    clientHints(registry, config.defaultOrigin),
  ].join('\n');
}

/** Shows how container clients are pointed at a registry address. */
export function clientHints(registry: string, defaultOrigin: string): string {
  return [
    'Point your container client here:',
    '',
    '  docker      /etc/docker/daemon.json, then `systemctl reload docker`:',
    `              { "registry-mirrors": ["http://${registry}"] }`,
    '  containerd  /etc/containerd/certs.d/_default/hosts.toml:',
    `              [host."http://${registry}"]`,
    '                capabilities = ["pull", "resolve"]',
    '  podman      /etc/containers/registries.conf.d/50-shoal.conf:',
    '              [[registry]]',
    `              prefix = "${defaultOrigin}"`,
    `              location = "${defaultOrigin}"`,
    '              [[registry.mirror]]',
    `              location = "${registry}/${defaultOrigin}"`,
    '              insecure = true',
    '',
    'Complete files for each client are in config/, explained in docs/clients.md.',
  ].join('\n');
}
