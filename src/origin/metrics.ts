import type { Metrics } from '../telemetry/metrics.ts';

export type OriginOperation = 'tag' | 'manifest' | 'stat' | 'blob' | 'tags';

/** Creates the folder's metrics. */
export function createOriginMetrics(metrics: Metrics) {
  return {
    requests: metrics.counter<'operation' | 'outcome'>({
      name: 'shoal_origin_requests_total',
      help: 'Requests sent to origins by operation; the outcome is ok or the code of the error.',
      labels: ['operation', 'outcome'],
    }),
    answerSeconds: metrics.histogram<'operation'>({
      name: 'shoal_origin_answer_seconds',
      help: 'Time from a request to the head of its answer, tokens and redirects included, retries not.',
      labels: ['operation'],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    }),
    receivedBytes: metrics.counter({
      name: 'shoal_origin_received_bytes_total',
      help: 'Bytes of blob bodies taken from origins.',
    }),
    retries: metrics.counter<'operation'>({
      name: 'shoal_origin_retries_total',
      help: 'Requests sent again after a failure that passes.',
      labels: ['operation'],
    }),
    resumes: metrics.counter({
      name: 'shoal_origin_resumes_total',
      help: 'Blob bodies continued by Range after a cut or a stall.',
    }),
    stoppedNamespaces: metrics.gauge<'state'>({
      name: 'shoal_origin_stopped_namespaces',
      help: 'Namespaces that are left alone now, because the breaker is open or the origin said 429.',
      labels: ['state'],
    }),
  };
}

export type OriginMetrics = ReturnType<typeof createOriginMetrics>;
