import { stringify } from 'yaml';
import { type ConfigKey, configKeys } from './keys.ts';

// Values shown for keys that have no default, or whose default shows nothing of their shape.
const samples: Readonly<Record<string, unknown>> = {
  dataDir: '/var/lib/shoal',
  'fleet.secretFile': '/etc/shoal/fleet-secret',
  'fleet.secret': 'at least sixteen characters',
  'fleet.bootstrap': ['node-1.lan:5002', 'shoal-peers.default.svc:5002'],
  'fleet.zone': 'rack-1',
  'admin.token': 'at least sixteen characters',
  'admin.hosts': ['node-1.lan'],
  'peer.announce': ['203.0.113.7:5002'],
  'peer.bulkAnnounce': '203.0.113.7:5003',
  dockerConfigFile: '/root/.docker/config.json',
  'proxy.http': 'http://proxy.lan:3128',
  'proxy.https': 'http://proxy.lan:3128',
  'proxy.bypass': 'localhost,.lan,10.0.0.0/8',
  origins: {
    'docker.io': { username: 'me', passwordFile: '/etc/shoal/docker.token' },
    'registry.lan:5000': { url: 'http://registry.lan:5000' },
  },
};

const head = `# Shoal: every key of the configuration, with its meaning and its default.
# A line that begins with a bare # is a key at its default (or an example, where there is none): remove the # to set it.
# Sizes: 512MiB, 10GiB. Times: 500ms, 30s, 5m, 12h. 0 = no limit, where it says so.
# Each key can also be set in the environment or as a flag; later ones win: defaults < this file < environment < flags.
# \`shoal config check\` says whether this file is right, \`shoal config show\` where each value comes from.
`;

/** Writes a complete configuration file: prose after `# `, each key after a bare `#`, so that removing that one sign sets it. */
export function exampleConfig(): string {
  const lines: string[] = [head.trimEnd()];
  let section: string | undefined;
  for (const key of configKeys) {
    const name = key.segments.length > 1 ? key.segments[0] : undefined;
    if (name !== section || name === undefined) lines.push('');
    if (name !== section && name !== undefined) lines.push(`${name}:`);
    section = name;
    const indent = name === undefined ? '' : '  ';
    lines.push(...wrap(key.text, 118 - indent.length).map((line) => `${indent}# ${line}`));
    const byDefault = key.byDefault === undefined ? `; default: ${key.defaultText ?? 'not set'}` : '';
    lines.push(`${indent}# ${key.variable}${byDefault}`);
    lines.push(...entryOf(key).map((line) => `${indent}#${line}`));
  }
  return `${lines.join('\n')}\n`;
}

function entryOf(key: ConfigKey): readonly string[] {
  const value = samples[key.path] ?? key.byDefault;
  return stringify({ [key.segments.at(-1) ?? '']: value }, { lineWidth: 0 })
    .trimEnd()
    .split('\n');
}

function wrap(text: string, columns: number): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines;
}
