import { parentPort } from 'node:worker_threads';
import { HashLoop } from './hash-loop.ts';
import type { HashRequest } from './messages.ts';

/** Entry of a hash thread; started by `createPrefixVerifiers`. */
if (parentPort === null) throw new Error('hash-thread.ts runs as a worker thread only');
const port = parentPort;
const loop = new HashLoop((report) => port.postMessage(report));
port.on('message', (request: HashRequest) => loop.receive(request));
