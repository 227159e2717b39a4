import { TaskGroup } from '../../lib/task-group.ts';
import type { Channel, PeerNetwork } from '../../peer/peer-network.ts';
import type { TagSource } from '../tag-hints.ts';
import {
  decodeTagRequest,
  encodeTagAnswer,
  maxManifestBytes,
  maxSliceBytes,
  type TagAnswer,
  type TagRequest,
  tagProtocol,
} from './tag-messages.ts';

export interface TagServerOptions {
  /** Requests of one peer answered at once; more are answered with "absent". */
  readonly maxRequestsPerPeer: number;
}

/** Answers peers from a source until stopped. */
export function serveTags(
  network: PeerNetwork,
  source: TagSource,
  options: TagServerOptions,
  onFailure: (error: Error) => void,
): () => Promise<void> {
  const tasks = new TaskGroup(onFailure);
  const channels = new Set<Channel>();
  const unhandle = network.handle(tagProtocol, (channel) => {
    channels.add(channel);
    tasks.run((signal) => serveChannel(channel, signal).finally(() => channels.delete(channel)));
  });

  async function serveChannel(channel: Channel, signal: AbortSignal): Promise<void> {
    const inFlight = new Set<Promise<void>>();
    const gone = new AbortController();
    channel.onClose(() => gone.abort(new DOMException('the peer hung up', 'AbortError')));
    const either = AbortSignal.any([signal, gone.signal]);
    try {
      for await (const bytes of channel.messages()) {
        const { id, message } = decodeTagRequest(bytes);
        if (inFlight.size >= options.maxRequestsPerPeer) {
          channel.send(encodeTagAnswer({ id, message: { kind: 'absent' } }));
          continue;
        }
        const answering = answer(source, message, either)
          .then((found) => {
            if (channel.isOpen) channel.send(encodeTagAnswer({ id, message: found }));
          })
          // A source that fails, or a peer that is gone: either way there is nothing to tell on this channel any more.
          .catch(() => channel.close())
          .finally(() => inFlight.delete(answering));
        inFlight.add(answering);
      }
    } catch {
      // A frame that cannot be read: the peer is broken or lies, and a closed channel tells it all it needs.
    } finally {
      channel.close();
      await Promise.allSettled([...inFlight]);
    }
  }

  return async () => {
    unhandle();
    for (const channel of channels) channel.close();
    await tasks.stop();
  };
}

async function answer(source: TagSource, request: TagRequest, signal: AbortSignal): Promise<TagAnswer> {
  if (request.kind === 'tag') {
    const { namespace, name, tag } = request;
    const found = await source.findTag({ namespace, name }, tag);
    return found === undefined || found.sizeBytes > maxManifestBytes ? { kind: 'absent' } : { ...found, kind: 'tag' };
  }
  if (request.kind === 'size') {
    const sizeBytes = await source.findSize(request.digest);
    return sizeBytes === undefined ? { kind: 'absent' } : { kind: 'size', sizeBytes };
  }
  const found = await source.findManifest(request.digest, request.waitMs, signal);
  if (found === undefined || found.bytes.length > maxManifestBytes) return { kind: 'absent' };
  return {
    kind: 'manifest',
    mediaType: found.mediaType,
    sizeBytes: found.bytes.length,
    slice: found.bytes.subarray(request.offset, request.offset + maxSliceBytes),
  };
}
