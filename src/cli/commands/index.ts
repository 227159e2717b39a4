import type { CommandEntry } from '../command.ts';

/** Every command, in the order of the help text. */
export const commandEntries: readonly CommandEntry[] = [
  { name: 'serve', summary: 'run the daemon of this node', load: () => import('./serve.ts') },
  {
    name: 'pull',
    summary: 'pull an image into this node and show where its bytes come from',
    load: () => import('./pull.ts'),
  },
  { name: 'status', summary: 'show what the daemon is doing', load: () => import('./status.ts') },
  { name: 'peers', summary: 'show the nodes of the fleet and what they gave', load: () => import('./peers.ts') },
  { name: 'images', summary: 'list the images this node holds', load: () => import('./images.ts') },
  { name: 'config', summary: 'show, check or explain the configuration', load: () => import('./config.ts') },
  {
    name: 'demo',
    summary: 'start a fleet of three on this machine and pull an image through it',
    load: () => import('./demo.ts'),
  },
  { name: 'version', summary: 'print the version', load: () => import('./version.ts') },
];
