/**
 * A network of hosts on one machine: each host is a network namespace with one capped link to a switch, and the switch is a
 * bridge in a namespace of its own, so nothing of the machine's own network is touched and no firewall rule applies.
 * All names start with `sb<pid>-`, so that a later run can tell what a crashed one has left behind.
 */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface LabHost {
  readonly label: string;
  readonly netns: string;
  readonly address: string;
  readonly port: string;
}

export interface LinkBytes {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

export interface LabNetwork extends AsyncDisposable {
  /** Adds a host; a rate caps its link in both directions, undefined leaves it as fast as the machine. */
  addHost(label: string, rateBytesPerSecond: number | undefined): Promise<LabHost>;
  setRate(host: LabHost, rateBytesPerSecond: number | undefined): Promise<void>;
  setLink(host: LabHost, state: 'up' | 'down'): Promise<void>;
  /** Bytes that crossed the host's link since it was added, seen from the host. */
  readLinkBytes(): Promise<ReadonlyMap<string, LinkBytes>>;
  /** Removes everything at once and synchronously; safe to call twice and from an exit listener. */
  destroy(): void;
}

const namePattern = /^sb(\d+)-/;

const maxHosts = 254;
const addressOf = (index: number) => `10.88.0.${index}`;
const macOf = (index: number) => `02:53:42:00:00:${index.toString(16).padStart(2, '0')}`;
// All namespaces share one table of neighbours, by default of 1,024 entries: 33 hosts that all talk to each other are more, and those that came
// too late got no connection until the others were done. Entries that are given do not count.
const neighbours = Array.from(
  { length: maxHosts },
  (_, before) => `neigh replace ${addressOf(before + 1)} lladdr ${macOf(before + 1)} dev eth0 nud permanent\n`,
).join('');

/** Tells why this machine cannot run a lab network, or undefined if it can. */
export function labNetworkObstacle(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces need Linux';
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  if (spawnSync('ip', ['-V']).status !== 0 || spawnSync('tc', ['-V']).status !== 0) {
    return 'the programs ip and tc are missing (Debian: apt-get install iproute2)';
  }
  return undefined;
}

/** Fails with the reason if this machine cannot run a lab network. */
export function requireLabNetwork(): void {
  const obstacle = labNetworkObstacle();
  if (obstacle !== undefined) throw new Error(`this bench needs a lab network: ${obstacle}`);
}

/** Runs many commands of `ip` in a namespace at once. */
async function runBatch(netns: string, commands: string): Promise<void> {
  const child = spawn('ip', ['-n', netns, '-batch', '-'], { stdio: ['pipe', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  child.stdin.on('error', () => undefined).end(commands);
  const code = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
  if (code !== 0) throw new Error(`ip -n ${netns} -batch: ${said.trim()}`);
}

function listNamespaces(): string[] {
  const out = spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' }).stdout ?? '';
  return out
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
    .filter((name) => namePattern.test(name));
}

function removeNamespace(name: string): void {
  const pids = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).stdout ?? '';
  for (const pid of pids.split('\n').filter((line) => line !== '')) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It ended between the listing and now.
    }
  }
  spawnSync('ip', ['netns', 'delete', name]);
}

function isRunning(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').length > 0;
  } catch {
    return false;
  }
}

/** Removes what runs that crashed have left behind. */
export function removeLeftovers(): string[] {
  const left = listNamespaces().filter((name) => {
    const owner = Number(namePattern.exec(name)?.[1]);
    return owner === process.pid || !isRunning(owner);
  });
  for (const name of left) removeNamespace(name);
  return left;
}

/** Where docker runs, the firewall looks at what crosses any bridge, also at that of a switch. */
const passFirewall = 'for f in /proc/sys/net/bridge/bridge-nf-call-*tables; do [ ! -e "$f" ] || echo 0 > "$f"; done';

/** Creates the switch; hosts are added one by one. */
export async function createLabNetwork(): Promise<LabNetwork> {
  removeLeftovers();
  const prefix = `sb${process.pid}-`;
  const switchName = `${prefix}sw`;
  const hosts: LabHost[] = [];
  const destroy = () => {
    for (const name of listNamespaces()) if (name.startsWith(prefix)) removeNamespace(name);
  };
  process.on('exit', destroy);
  await run('ip', ['netns', 'add', switchName]);
  await run('ip', ['-n', switchName, 'link', 'add', 'br0', 'type', 'bridge']);
  await run('ip', ['-n', switchName, 'link', 'set', 'br0', 'up']);
  await run('ip', ['netns', 'exec', switchName, 'sh', '-c', passFirewall]);

  const shape = async (netns: string, device: string, rate: number | undefined) => {
    if (rate === undefined) {
      // Fails where there is no shaper, which is what was wanted.
      await run('tc', ['-n', netns, 'qdisc', 'del', 'dev', device, 'root']).catch(() => undefined);
      return;
    }
    // A burst below one GSO packet (64 KiB) stalls the link; a hundredth of a second at the rate keeps tbf's timer cheap.
    const burst = Math.max(131_072, Math.ceil(rate / 100));
    const bits = `${Math.round(rate * 8)}bit`;
    const shaper = ['tbf', 'rate', bits, 'burst', String(burst), 'latency', '200ms'];
    await run('tc', ['-n', netns, 'qdisc', 'replace', 'dev', device, 'root', ...shaper]);
  };

  const setRate = async (host: LabHost, rate: number | undefined) => {
    await shape(host.netns, 'eth0', rate);
    await shape(switchName, host.port, rate);
  };

  return {
    async addHost(label, rateBytesPerSecond) {
      const index = hosts.length + 1;
      if (index > maxHosts) throw new Error(`a lab network has room for ${maxHosts} hosts`);
      const netns = `${prefix}${label}`;
      const host: LabHost = { label, netns, address: addressOf(index), port: `p${index}` };
      await run('ip', ['netns', 'add', netns]);
      await run('ip', [
        '-n',
        switchName,
        'link',
        'add',
        host.port,
        'type',
        'veth',
        'peer',
        'name',
        'eth0',
        'address',
        macOf(index),
        'netns',
        netns,
      ]);
      await run('ip', ['-n', switchName, 'link', 'set', host.port, 'master', 'br0', 'up']);
      await run('ip', ['-n', netns, 'addr', 'add', `${host.address}/16`, 'dev', 'eth0']);
      await run('ip', ['-n', netns, 'link', 'set', 'lo', 'up']);
      await run('ip', ['-n', netns, 'link', 'set', 'eth0', 'up']);
      await runBatch(netns, neighbours);
      hosts.push(host);
      await setRate(host, rateBytesPerSecond);
      return host;
    },
    setRate,
    async setLink(host, state) {
      await run('ip', ['-n', switchName, 'link', 'set', host.port, state]);
    },
    async readLinkBytes() {
      const { stdout } = await run('ip', ['-n', switchName, '-s', '-j', 'link', 'show'], { maxBuffer: 16 << 20 });
      const links = JSON.parse(stdout) as { ifname: string; stats64: Record<'rx' | 'tx', { bytes: number }> }[];
      const byPort = new Map(links.map((link) => [link.ifname, link.stats64]));
      const result = new Map<string, LinkBytes>();
      for (const host of hosts) {
        const stats = byPort.get(host.port);
        // The switch receives what the host sends.
        if (stats !== undefined) result.set(host.label, { sentBytes: stats.rx.bytes, receivedBytes: stats.tx.bytes });
      }
      return result;
    },
    destroy,
    async [Symbol.asyncDispose]() {
      process.off('exit', destroy);
      destroy();
    },
  };
}
