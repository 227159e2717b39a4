import { readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageOf, readImports } from './support/read-imports.ts';

const root = join(import.meta.dirname, '..');

interface FolderRule {
  /** Folders of src it may import from, itself aside. */
  readonly mayImport: readonly string[];
  readonly why: string;
}

const everywhere = ['lib', 'oci', 'content', 'health', 'telemetry'];
const folders: Readonly<Record<string, FolderRule>> = {
  lib: { mayImport: [], why: 'lib knows no domain word, so that it can be read and reused alone' },
  oci: { mayImport: ['lib'], why: 'oci is pure: names and documents, nothing that runs' },
  content: { mayImport: ['lib', 'oci'], why: 'content is pure: what pieces are, not where they go' },
  telemetry: { mayImport: ['lib'], why: 'everybody imports telemetry, so it must not pull anybody in' },
  health: { mayImport: ['lib', 'telemetry'], why: 'everybody imports health, so it must not pull anybody in' },
  store: { mayImport: everywhere, why: 'an adapter never imports another adapter' },
  origin: { mayImport: everywhere, why: 'an adapter never imports another adapter' },
  peer: { mayImport: everywhere, why: 'peer is below discovery and swarm and knows neither' },
  discovery: {
    mayImport: [...everywhere, 'peer'],
    why: 'discovery speaks to peers and knows no store, origin or swarm',
  },
  swarm: {
    mayImport: [...everywhere, 'peer', 'store', 'origin', 'discovery'],
    why: 'swarm takes the faces of store, origin and discovery, never their implementations',
  },
  image: {
    mayImport: [...everywhere, 'store', 'origin', 'swarm', 'discovery'],
    why: 'use cases see the faces of what is below them, and no HTTP and no peer',
  },
  registry: { mayImport: [...everywhere, 'image'], why: 'an edge turns HTTP into calls of use cases, nothing else' },
  admin: {
    mayImport: [...everywhere, 'image', 'swarm', 'discovery', 'store', 'origin', 'peer'],
    why: 'an edge shows what the faces below tell',
  },
  config: { mayImport: ['lib', 'oci', 'content'], why: 'configuration is data; parts never see it whole' },
  daemon: {
    mayImport: [
      'lib',
      'oci',
      'content',
      'telemetry',
      'health',
      'store',
      'origin',
      'peer',
      'discovery',
      'swarm',
      'image',
      'registry',
      'admin',
      'config',
    ],
    why: 'the composition root names everything but the command line',
  },
  cli: {
    mayImport: [
      'lib',
      'oci',
      'config',
      'daemon',
      'image',
      'content',
      'swarm',
      'health',
      'telemetry',
      'admin',
      'discovery',
      'store',
      'origin',
      'peer',
    ],
    why: 'the command line starts a daemon or asks one',
  },
};

/** Folders that see only the interface files (direct children) of these folders; adapters of others stay out of reach. */
const facesOnly: readonly { readonly from: string; readonly of: readonly string[]; readonly why: string }[] = [
  { from: 'image', of: ['store', 'origin', 'swarm', 'discovery'], why: 'use cases must run on the memory twins' },
  { from: 'swarm', of: ['store', 'origin', 'discovery', 'peer'], why: 'the swarm must run in the simulator' },
  { from: 'discovery', of: ['peer'], why: 'the directory must run on the memory network' },
  { from: 'registry', of: ['image'], why: 'an edge must run on any images' },
  { from: 'admin', of: ['image', 'swarm', 'discovery', 'store', 'origin', 'peer'], why: 'an edge reads faces' },
];

/** Sub-folders named by a technology. Others (`store/metadata`, `swarm/schedule`) are behaviour that adapters may share. */
const adapters: Readonly<Record<string, readonly string[]>> = {
  store: ['disk', 'level', 'memory'],
  origin: ['http', 'memory'],
  peer: ['libp2p', 'tls', 'memory'],
  discovery: ['kad', 'memory'],
};

interface LibraryRule {
  readonly packages: readonly string[];
  readonly only: readonly string[];
  readonly why: string;
}

const libraries: readonly LibraryRule[] = [
  {
    packages: [
      'libp2p',
      '@chainsafe/libp2p-noise',
      '@libp2p/tcp',
      '@libp2p/yamux',
      '@libp2p/identify',
      '@libp2p/ping',
      'it-pipe',
      'it-length-prefixed',
      'datastore-core',
      'interface-datastore',
    ],
    only: ['peer'],
    why: 'the transport can be replaced in one folder',
  },
  {
    packages: ['@libp2p/crypto', '@libp2p/interface', '@libp2p/peer-id', '@multiformats/multiaddr'],
    only: ['peer', 'discovery'],
    why: 'libp2p words stay where libp2p is',
  },
  {
    packages: ['@libp2p/kad-dht', '@libp2p/mdns'],
    only: ['discovery'],
    why: 'how nodes find each other is discovery’s alone',
  },
  { packages: ['level'], only: ['store'], why: 'another ACID store can take its place' },
  {
    packages: ['undici'],
    only: ['origin'],
    why: 'origins have rules of credentials and redirects that one folder must keep',
  },
  { packages: ['fastify'], only: ['registry', 'admin'], why: 'HTTP is known at the edges only' },
  { packages: ['pino', 'prom-client'], only: ['telemetry'], why: 'parts see the Logger and Metrics faces' },
  { packages: ['zod', 'yaml'], only: ['config'], why: 'parts receive complete, typed options' },
  { packages: ['commander', '@commander-js/extra-typings'], only: ['cli'], why: 'the command line is one folder' },
  { packages: ['@napi-rs/blake-hash'], only: ['content'], why: 'what a piece hash is stands in one place' },
  { packages: ['multiformats'], only: ['content', 'discovery'], why: 'peer IDs and CIDs are made in one place each' },
];

const maxLines = 400;

const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .map((path) => {
    const text = readFileSync(join(root, 'src', path), 'utf8');
    return {
      path,
      folder: path.includes('/') ? path.slice(0, path.indexOf('/')) : '',
      text,
      imports: readImports(text),
    };
  });

/** Imports between files of src, as paths in src. */
const edges = files.flatMap(({ path, folder, imports }) =>
  imports
    .filter(({ specifier }) => specifier.startsWith('.'))
    .map(({ specifier, isType }) => {
      const to = relative(join(root, 'src'), join(root, 'src', dirname(path), specifier));
      return { from: path, folder, to, toFolder: to.slice(0, to.indexOf('/')), isType };
    }),
);
const packageImports = files.flatMap(({ path, folder, imports }) =>
  imports
    .filter(({ specifier }) => !specifier.startsWith('.') && !isBuiltin(specifier))
    .map(({ specifier }) => ({ path, folder, name: packageOf(specifier) })),
);

describe('folders', () => {
  it('are exactly those of the design', () => {
    const present = readdirSync(join(root, 'src'), { withFileTypes: true });
    expect(
      present
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => name)
        .sort(),
    ).toEqual(Object.keys(folders).sort());
    const loose = present.filter((entry) => entry.isFile()).map(({ name }) => name);
    expect(loose, 'src has one file, the entry; everything else belongs to a part').toEqual(['main.ts']);
  });

  it('are each described in docs/architecture.md', () => {
    const described = [
      ...readFileSync(join(root, 'docs/architecture.md'), 'utf8').matchAll(/^\| `src\/([a-z]+)` \| \S.*\|$/gm),
    ];
    expect(
      described.map(([, name]) => name).sort(),
      'one table line for each folder, and none for a folder that is gone',
    ).toEqual(Object.keys(folders).sort());
  });

  it('import in the direction of the design', () => {
    const wrong = edges
      .filter(
        ({ folder, toFolder }) =>
          folder !== '' && folder !== toFolder && !folders[folder]?.mayImport.includes(toFolder),
      )
      .map(({ from, to, folder }) => `${from} imports ${to}: ${folders[folder]?.why ?? 'unknown folder'}`);
    const entry = edges
      .filter(({ folder, toFolder }) => folder === '' && toFolder !== 'cli' && toFolder !== 'lib')
      .map(({ to }) => `main.ts imports ${to}: the entry only starts the command line`);
    expect([...wrong, ...entry]).toEqual([]);
  });

  it('see faces, not adapters, of the folders below', () => {
    const wrong = facesOnly.flatMap(({ from, of, why }) =>
      edges
        .filter(({ folder, toFolder, to }) => folder === from && of.includes(toFolder) && to.split('/').length > 2)
        .map((edge) => `${edge.from} imports ${edge.to}: ${why}`),
    );
    expect(wrong).toEqual([]);
  });

  it('have adapters that do not know each other', () => {
    const wrong = edges
      .filter(({ from, to }) => adapterOf(from) !== undefined && adapterOf(to) !== undefined)
      .filter(({ from, to }) => adapterOf(from) !== adapterOf(to))
      .map(
        ({ from, to, folder }) =>
          `${from} imports ${to}: adapters share through files of ${folder} that name no technology`,
      );
    expect(wrong).toEqual([]);
  });
});

describe('libraries', () => {
  it('are imported where they belong', () => {
    const wrong = packageImports.flatMap(({ path, folder, name }) =>
      libraries
        .filter(({ packages, only }) => packages.includes(name) && !only.includes(folder))
        .map(({ only, why }) => `${path} imports ${name}, which belongs to ${only.join(' and ')}: ${why}`),
    );
    expect(wrong).toEqual([]);
  });

  it('are declared, and imported from anywhere only when small', () => {
    const { dependencies } = readManifest();
    const ruled = libraries.flatMap(({ packages }) => packages);
    // lru-cache is a data structure, not an architecture.
    const free = ['lru-cache'];
    const wrong = packageImports
      .filter(({ name }) => !(name in dependencies) || (!ruled.includes(name) && !free.includes(name)))
      .map(({ path, name }) => `${path} imports ${name}: give it a rule here that says which folder may`);
    expect(wrong).toEqual([]);
    expect(Object.keys(dependencies).filter((name) => !ruled.includes(name) && !free.includes(name))).toEqual([]);
  });

  it('named in a rule exist', () => {
    const { dependencies } = readManifest();
    const gone = libraries.flatMap(({ packages }) => packages.filter((name) => !(name in dependencies)));
    expect(gone, 'a rule about a package that is no dependency guards nothing: remove it').toEqual([]);
  });
});

describe('rules', () => {
  it('name folders that exist', () => {
    const named = [
      ...Object.values(folders).flatMap(({ mayImport }) => mayImport),
      ...libraries.flatMap(({ only }) => only),
      ...facesOnly.flatMap(({ from, of }) => [from, ...of]),
    ];
    const gone = [...new Set(named)].filter((name) => !(name in folders));
    const goneAdapters = Object.entries(adapters)
      .flatMap(([folder, names]) => names.map((name) => `${folder}/${name}`))
      .filter((adapter) => !files.some(({ path }) => adapterOf(path) === adapter));
    expect([...gone, ...goneAdapters], 'a rule about no folder guards nothing: remove it').toEqual([]);
  });

  it('point one way: no two folders may import each other', () => {
    const mutual = Object.entries(folders).flatMap(([name, { mayImport }]) =>
      mayImport.filter((other) => folders[other]?.mayImport.includes(name)).map((other) => `${name} <-> ${other}`),
    );
    expect(mutual).toEqual([]);
  });
});

describe('files', () => {
  it(`have at most ${maxLines} lines`, () => {
    const long = files
      .map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }))
      .filter(({ lines }) => lines > maxLines)
      .map(({ path, lines }) => `${path}: ${lines} lines; split it, a reader holds no more in mind`);
    expect(long).toEqual([]);
  });

  it('import files that exist', () => {
    const present = new Set(files.map(({ path }) => path));
    expect(edges.filter(({ to }) => !present.has(to)).map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  it('form no cycle', () => {
    // Type imports are erased and cannot make a cycle at run time, but they make one for the reader all the same.
    expect(findCycle(), 'a cycle has no first file to read; move what both need into a third').toBeUndefined();
  });

  it('of oci and content touch no disk, but those of the hash threads', () => {
    const wrong = files
      .filter(({ path, folder }) => (folder === 'oci' || folder === 'content') && !path.startsWith('content/worker/'))
      .flatMap(({ path, imports }) => imports.map(({ specifier }) => ({ path, specifier })))
      .filter(({ specifier }) => /^node:(fs|http|https|tls|dgram|child_process|cluster)(\/|$)/.test(specifier))
      .map(
        ({ path, specifier }) =>
          `${path} imports ${specifier}: pure parts are given bytes, so that they can be tested by the million`,
      );
    expect(wrong).toEqual([]);
  });

  it('name what they export', () => {
    const wrong = files
      .filter(({ text }) => /^export default\b/m.test(text))
      .map(({ path }) => `${path}: a default export has another name in every importer`);
    expect(wrong).toEqual([]);
  });
});

/** Returns the adapter a file belongs to (`store/level`), or undefined for a file that is part of none. */
function adapterOf(path: string): string | undefined {
  const [folder, name] = path.split('/');
  return folder !== undefined && name !== undefined && adapters[folder]?.includes(name)
    ? `${folder}/${name}`
    : undefined;
}

function readManifest(): { dependencies: Record<string, string> } {
  return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
}

function findCycle(): string | undefined {
  const targets = new Map<string, string[]>();
  for (const { from, to } of edges) targets.set(from, [...(targets.get(from) ?? []), to]);
  const finished = new Set<string>();
  const visit = (path: string, trail: readonly string[]): string | undefined => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path].join(' -> ');
    if (finished.has(path)) return undefined;
    for (const to of targets.get(path) ?? []) {
      const cycle = visit(to, [...trail, path]);
      if (cycle !== undefined) return cycle;
    }
    finished.add(path);
    return undefined;
  };
  for (const { path } of files) {
    const cycle = visit(path, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}
