import { expect, it } from 'vitest';
import { systemClock } from '../../../src/lib/clock.ts';
import { silentLogger } from '../../../src/lib/logger.ts';
import { TaskGroup } from '../../../src/lib/task-group.ts';
import type { DirectChannels } from '../../../src/peer/direct-channels.ts';
import { createMemoryDirectChannels } from '../../../src/peer/memory/memory-direct-channels.ts';
import { createMemoryNetworkHub } from '../../../src/peer/memory/memory-network.ts';
import type { Channel } from '../../../src/peer/peer-network.ts';
import { MemberLinks } from '../../../src/swarm/member-links.ts';
import { encodeFrame, swarmProtocol } from '../../../src/swarm/messages.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { until } from '../../support/swarm-blobs.ts';
import { alice, bob, digest } from './schedule-fixtures.ts';

it('a link has four channels at most, and the first ones go on', async () => {
  const hub = createMemoryNetworkHub({ maxSendQueueBytes: 1 << 20, maxReceiveQueueBytes: 1 << 20 });
  const tasks = new TaskGroup(() => {});
  const [network, other] = [hub.join(alice), hub.join(bob)];
  let messages = 0;
  const events = { ready: () => {}, message: () => (messages += 1), gone: () => {} };
  const direct = createMemoryDirectChannels(network);
  const deps = { clock: systemClock, network, direct, logger: silentLogger, tasks };
  const links = new MemberLinks(deps, { bulkPort: 11, bulkHost: undefined, zone: '' }, events);
  network.handle(swarmProtocol, (channel) => links.accept(channel));
  const { signal } = new AbortController();
  await network.dial(other.addresses()[0]!, signal);
  const channels: Channel[] = [];
  for (let index = 0; index < 7; index += 1) channels.push(await other.openChannel(alice, swarmProtocol, signal));
  const open = () => channels.filter(({ isOpen }) => isOpen);
  await until(() => open().length === 4, 'the others are closed');
  expect(open()).toEqual(channels.slice(0, 4));
  for (const channel of open()) channel.send(encodeFrame([{ kind: 'leave', digest }]));
  await until(() => messages === 4, 'all were read');
  await tasks.stop();
});

it('a direct channel that could not be had is tried again, later each time, until it is there', async () => {
  const hub = createMemoryNetworkHub({ maxSendQueueBytes: 1 << 20, maxReceiveQueueBytes: 1 << 20 });
  const tasks = new TaskGroup(() => {});
  const clock = new FakeClock();
  const [network, other] = [hub.join(alice), hub.join(bob)];
  const attemptsMs: number[] = [];
  let fails = true;
  const channels = createMemoryDirectChannels(network);
  const direct: DirectChannels = {
    ...channels,
    open: (...args) => {
      attemptsMs.push(clock.nowMs());
      return fails ? Promise.reject(new Error('too busy')) : channels.open(...args);
    },
  };
  const events = { ready: () => {}, message: () => {}, gone: () => {} };
  const deps = { clock, network, direct, logger: silentLogger, tasks };
  const links = new MemberLinks(deps, { bulkPort: 11, bulkHost: undefined, zone: '' }, events);
  network.handle(swarmProtocol, (channel) => links.accept(channel));
  const taken: Channel[] = [];
  createMemoryDirectChannels(other).handle((channel) => taken.push(channel));
  const { signal } = new AbortController();
  await network.dial(other.addresses()[0]!, signal);
  const channel = await other.openChannel(alice, swarmProtocol, signal);
  channel.send(encodeFrame([{ kind: 'hello', bulkPort: 12, bulkHost: undefined, zone: '' }]));
  await until(() => attemptsMs.length === 1, 'the first attempt');
  for (const waitMs of [10_000, 20_000]) {
    await clock.advanceAsync(waitMs - 1);
    const before = attemptsMs.length;
    links.send(bob, { kind: 'leave', digest });
    await clock.advanceAsync(0);
    expect(attemptsMs).toHaveLength(before);
    await clock.advanceAsync(1);
  }
  expect(attemptsMs).toEqual([0, 10_000, 30_000]);
  fails = false;
  await clock.advanceAsync(40_000);
  expect(attemptsMs).toEqual([0, 10_000, 30_000, 70_000]);
  await until(() => taken.length === 1, 'the other end has taken it');

  // The other end does not say that it has moved, as one that is starved of CPU: this one is given up and another tried.
  await clock.advanceAsync(10_000);
  expect(taken[0]?.isOpen).toBe(false);
  await clock.advanceAsync(80_000);
  expect(attemptsMs.at(-1)).toBe(160_000);

  // With the link its attempts end.
  await clock.advanceAsync(10_000);
  links.drop(bob);
  const { pending } = clock;
  await clock.advanceAsync(1_000_000);
  expect(attemptsMs).toHaveLength(5);
  expect(pending).toBe(0);
  await tasks.stop();
});
