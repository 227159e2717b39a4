/** Starts real container clients by name; see `lab/client.ts` for what they are and what they need. */
import type { ClientName, LabClient, LabClientOptions } from './lab/client.ts';
import { startPodmanLikeClient, startSkopeoClient } from './lab/containers-clients.ts';
import { startCtrClient } from './lab/ctr-client.ts';
import { startDockerClient } from './lab/docker-client.ts';

const starters: Readonly<Record<ClientName, (options: LabClientOptions) => Promise<LabClient>>> = {
  docker: startDockerClient,
  ctr: startCtrClient,
  podman: (options) => startPodmanLikeClient('podman', options),
  buildah: (options) => startPodmanLikeClient('buildah', options),
  skopeo: startSkopeoClient,
};

export const clientNames: readonly ClientName[] = ['docker', 'ctr', 'podman', 'skopeo', 'buildah'];

/** Starts a client with its own directory below the given one. */
export function startClient(name: ClientName, options: LabClientOptions): Promise<LabClient> {
  return starters[name](options);
}
