/**
 * Pulls an image the way dockerd does: GET /v2/, HEAD of the tag, GET of the manifest by digest, then the config and the
 * layers, at most three layers at once; a broken layer is resumed by Range after a growing wait.
 * Bodies stay in memory as they came, so that digests are computed after the clock has stopped; only a blob that was resumed is
 * checked at once, since dockerd would fetch it anew if what came before the break was wrong.
 */
import { BodyCutError, HttpConnection, StatusError } from './http-connection.ts';
import { digestOf } from './random-image.ts';

export interface PullOrder {
  readonly host: string;
  readonly port: number;
  readonly repository: string;
  readonly reference: string;
  /** Layers that the client already has, which dockerd would not ask for. */
  readonly haveDigests: readonly string[];
  readonly deadlineMs: number;
}

export interface BlobTiming {
  readonly digest: string;
  readonly bytes: number;
  readonly ttfbSeconds: number;
  readonly seconds: number;
  /** Attempts after the first, and how many of them began at byte 0 again because what had come could not be used. */
  readonly resumes: number;
  readonly restarts: number;
}

export interface PullOutcome {
  readonly seconds: number;
  readonly bytes: number;
  readonly blobs: readonly BlobTiming[];
  readonly errors: readonly string[];
}

interface KeptBody {
  readonly digest: string;
  readonly body: Buffer;
}

interface ManifestText {
  readonly config: { readonly digest: string; readonly size: number };
  readonly layers: readonly { readonly digest: string; readonly size: number }[];
}

/** dockerd's `max-concurrent-downloads`. */
const layersAtOnce = 3;
/** dockerd's attempts for a layer, and the wait it adds before each. */
const attempts = 5;
const retryStepMs = 5000;

const acceptManifests = [
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
].join(', ');

export class DockerPull {
  readonly #order: PullOrder;
  /** Memory touched before the clock starts, so that page faults are not part of the figures. */
  readonly #pool: Buffer;
  readonly #connections: HttpConnection[] = [];
  readonly #idle: HttpConnection[] = [];
  readonly #kept: KeptBody[] = [];
  #poolUsedBytes = 0;
  #receivedBytes = 0;

  constructor(order: PullOrder, pool: Buffer) {
    this.#order = order;
    this.#pool = pool;
  }

  /** Pulls once; failures are in the outcome, not thrown. */
  async run(): Promise<PullOutcome> {
    const startedAt = performance.now();
    const blobs: BlobTiming[] = [];
    const errors: string[] = [];
    const deadline = setTimeout(() => {
      errors.push(`not finished after ${this.#order.deadlineMs} ms`);
      for (const connection of this.#connections) connection.close();
    }, this.#order.deadlineMs);
    try {
      const manifest = await this.#resolve();
      const have = new Set(this.#order.haveDigests);
      const layers = manifest.layers.filter((layer) => !have.has(layer.digest));
      const fetchLayers = async () => {
        for (let layer = layers.shift(); layer !== undefined; layer = layers.shift())
          blobs.push(await this.#fetch(layer, errors));
      };
      const fetchConfig = async () => {
        blobs.push(await this.#fetch(manifest.config, errors));
      };
      await Promise.all([fetchConfig(), ...Array.from({ length: layersAtOnce }, fetchLayers)]);
    } catch (error) {
      errors.push(error instanceof Error ? error.message : String(error));
    }
    clearTimeout(deadline);
    for (const connection of this.#connections) connection.close();
    return { seconds: (performance.now() - startedAt) / 1000, bytes: this.#receivedBytes, blobs, errors };
  }

  /** Hashes what came and returns the number of bytes in bodies that are not what their digest says. */
  countWrongBytes(): number {
    return this.#kept.reduce((sum, { digest, body }) => sum + (isTrue(digest, body) ? 0 : body.length), 0);
  }

  async #resolve(): Promise<ManifestText> {
    const connection = this.#connect();
    const path = `/v2/${this.#order.repository}/manifests`;
    const headers = { Accept: acceptManifests };
    const ping = await connection.request({ method: 'GET', path: '/v2/' });
    if (ping.status !== 200) throw new Error(`GET /v2/: ${ping.status}`);
    const head = await connection.request({ method: 'HEAD', path: `${path}/${this.#order.reference}`, headers });
    const digest = head.headers.get('docker-content-digest');
    if (head.status !== 200 || digest === undefined) throw new Error(`HEAD ${this.#order.reference}: ${head.status}`);
    const answer = await connection.request({ method: 'GET', path: `${path}/${digest}`, headers });
    if (answer.status !== 200) throw new Error(`GET manifest: ${answer.status}`);
    this.#kept.push({ digest, body: answer.body });
    this.#release(connection);
    return JSON.parse(answer.body.toString('utf8')) as ManifestText;
  }

  async #fetch(blob: { readonly digest: string; readonly size: number }, errors: string[]): Promise<BlobTiming> {
    const body = this.#take(blob.size);
    const path = `/v2/${this.#order.repository}/blobs/${blob.digest}`;
    const startedAt = performance.now();
    let ttfbSeconds: number | undefined;
    let received = 0;
    let restarts = 0;
    const startAnew = () => {
      this.#receivedBytes -= received;
      received = 0;
      restarts += 1;
    };
    for (let attempt = 1; ; attempt += 1) {
      const connection = this.#connect();
      const isResumed = received > 0;
      try {
        const answer = await connection.request({
          method: 'GET',
          path,
          ...(isResumed ? { headers: { Range: `bytes=${received}-` } } : {}),
          expectedStatus: isResumed ? 206 : 200,
          target: body.subarray(received),
          onBytes: (count) => {
            ttfbSeconds ??= (performance.now() - startedAt) / 1000;
            this.#receivedBytes += count;
          },
        });
        if (answer.body.length !== blob.size - received) throw new Error(`${path}: ${answer.body.length} bytes`);
        if (isResumed && !isTrue(blob.digest, body)) {
          received = blob.size;
          startAnew();
          throw new Error(`${path}: the bytes have another digest`);
        }
        this.#kept.push({ digest: blob.digest, body });
        this.#release(connection);
        const seconds = (performance.now() - startedAt) / 1000;
        const resumes = attempt - 1;
        return {
          digest: blob.digest,
          bytes: blob.size,
          ttfbSeconds: ttfbSeconds ?? seconds,
          seconds,
          resumes,
          restarts,
        };
      } catch (error) {
        connection.close();
        if (error instanceof BodyCutError) received += error.receivedBytes;
        // As dockerd does when a registry gives the whole where a part was asked for.
        else if (error instanceof StatusError && isResumed && error.status === 200) startAnew();
        if (attempt === attempts || errors.length > 0) throw error;
        await new Promise((resolve) => setTimeout(resolve, attempt * retryStepMs));
        if (errors.length > 0) throw error;
      }
    }
  }

  #take(bytes: number): Buffer {
    const start = this.#poolUsedBytes;
    this.#poolUsedBytes += bytes;
    return this.#poolUsedBytes <= this.#pool.length
      ? this.#pool.subarray(start, this.#poolUsedBytes)
      : Buffer.allocUnsafeSlow(bytes);
  }

  #connect(): HttpConnection {
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    const connection = new HttpConnection(this.#order.host, this.#order.port);
    this.#connections.push(connection);
    return connection;
  }

  #release(connection: HttpConnection): void {
    this.#idle.push(connection);
  }
}

const isTrue = (digest: string, body: Buffer) => digestOf(body, digest.slice(0, digest.indexOf(':'))) === digest;
