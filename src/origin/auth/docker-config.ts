import type { Credentials } from './credentials.ts';

/** The part of docker's `config.json` that tells credentials. */
export interface DockerConfig {
  readonly auths: ReadonlyMap<string, DockerAuth>;
  readonly credHelpers: ReadonlyMap<string, string>;
  readonly credsStore?: string;
}

interface DockerAuth {
  readonly username?: string;
  readonly password?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
}

export type StoredCredentials =
  | Credentials
  | { readonly kind: 'helper'; readonly helper: string; readonly server: string };

// Docker's own name for the credentials of Docker Hub.
const dockerHubServer = 'https://index.docker.io/v1/';

/** Reads the file's text; unreadable entries are left out, undefined = it is no JSON object. */
export function readDockerConfig(text: string): DockerConfig | undefined {
  const root = parseObject(text);
  if (root === undefined) return undefined;
  const auths = new Map<string, DockerAuth>();
  for (const [server, value] of Object.entries(asObject(root['auths']) ?? {})) {
    auths.set(server, readAuth(asObject(value) ?? {}));
  }
  const credHelpers = new Map<string, string>();
  for (const [server, helper] of Object.entries(asObject(root['credHelpers']) ?? {})) {
    if (typeof helper === 'string' && helper !== '') credHelpers.set(server, helper);
  }
  const store = root['credsStore'];
  return typeof store === 'string' && store !== '' ? { auths, credHelpers, credsStore: store } : { auths, credHelpers };
}

/** Finds what the file says of an origin, in docker's order: its own helper, the store, the file itself. */
export function findStoredCredentials(config: DockerConfig, namespace: string): StoredCredentials | undefined {
  const servers = serverNames(namespace);
  for (const server of servers) {
    const helper = config.credHelpers.get(server);
    if (helper !== undefined) return { kind: 'helper', helper, server };
  }
  const inFile = servers.map((server) => config.auths.get(server)).find((auth) => auth !== undefined);
  const found = inFile === undefined ? undefined : toCredentials(inFile);
  if (found !== undefined) return found;
  if (config.credsStore === undefined) return undefined;
  // The store lists a server in `auths` without a secret when it holds one; under that very name.
  const listed = [...config.auths.keys()].find((server) => servers.includes(server));
  return { kind: 'helper', helper: config.credsStore, server: listed ?? servers[0] ?? namespace };
}

/** Lists the names under which docker may have stored an origin, the usual one first. */
function serverNames(namespace: string): readonly string[] {
  const plain = [
    namespace,
    `https://${namespace}`,
    `https://${namespace}/`,
    `https://${namespace}/v1/`,
    `https://${namespace}/v2/`,
  ];
  if (namespace !== 'docker.io') return [...plain, `http://${namespace}`];
  return [dockerHubServer, 'index.docker.io', 'registry-1.docker.io', ...plain];
}

function toCredentials(auth: DockerAuth): Credentials | undefined {
  if (auth.registryToken !== undefined) return { kind: 'bearer', token: auth.registryToken };
  if (auth.identityToken !== undefined) return { kind: 'identity', token: auth.identityToken };
  const { username, password } = auth;
  return username === undefined || password === undefined ? undefined : { kind: 'basic', username, password };
}

function readAuth(value: Readonly<Record<string, unknown>>): DockerAuth {
  const text = (name: string) => {
    const found = value[name];
    return typeof found === 'string' && found !== '' ? found : undefined;
  };
  const auth: { -readonly [Name in keyof DockerAuth]?: string } = {};
  const encoded = text('auth');
  if (encoded !== undefined) {
    const decoded = Buffer.from(encoded, 'base64').toString();
    const colon = decoded.indexOf(':');
    if (colon > 0) {
      auth.username = decoded.slice(0, colon);
      // The docker client drops NUL at the end too; every other character belongs to the password.
      auth.password = decoded.slice(colon + 1).replace(/\0+$/, '');
    }
  }
  const username = text('username');
  const password = text('password');
  if (auth.username === undefined && username !== undefined && password !== undefined) {
    auth.username = username;
    auth.password = password;
  }
  const identityToken = text('identitytoken');
  if (identityToken !== undefined) auth.identityToken = identityToken;
  const registryToken = text('registrytoken');
  if (registryToken !== undefined) auth.registryToken = registryToken;
  // An entry without a secret still says that the store knows the server.
  return auth;
}

function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function asObject(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}
