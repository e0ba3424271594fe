import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800];

/**
 * All metrics of Millrace, registered at start. Labels come from closed sets; ids are never labels.
 * API and worker share the names, so that one machine's single process shows them all.
 */
export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name: `millrace_${name}`, help, labelNames, registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Gauge<L>({ name: `millrace_${name}`, help, labelNames, registers });
  const histogram = <L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[] = [],
    buckets = SECONDS,
  ) => new Histogram<L>({ name: `millrace_${name}`, help, labelNames, buckets, registers });

  return {
    registry,
    deliveries: counter('deliveries_total', 'Webhook requests by what became of them', ['outcome']),
    ingestBatchSize: histogram(
      'ingest_batch_size',
      'Deliveries that shared one commit',
      [],
      [1, 2, 5, 10, 20, 50, 100, 200],
    ),
    httpRequestDuration: histogram('http_request_duration_seconds', 'Time to answer a request', [
      'route',
      'status',
    ]),
    executions: counter('executions_total', 'Executions that ended, by outcome', ['outcome']),
    executionDuration: histogram('execution_duration_seconds', 'From the start of an execution to its end'),
    stepDuration: histogram('step_duration_seconds', 'Time of one attempt of a step', ['kind', 'outcome']),
    queueDepth: gauge('queue_depth', 'Executions that are due and wait for a worker'),
    queueOldestAge: gauge('queue_oldest_age_seconds', 'Age of the execution that has been due the longest'),
    activeExecutions: gauge('active_executions', 'Executions that this worker advances right now'),
    leaseLosses: counter('lease_losses_total', 'Leases that expired or were taken over', ['side']),
    hints: counter('hints_total', 'Hints by what became of them', ['outcome']),
    journalBatchSize: histogram(
      'journal_batch_size',
      'Journal writes that shared one commit',
      [],
      [1, 2, 5, 10, 20, 50, 100, 200],
    ),
    defaultPartitionRows: gauge(
      'default_partition_rows',
      'Rows outside all dated partitions; anything but 0 wants a look',
    ),
    partitionsDropped: counter(
      'partitions_dropped_total',
      'Partitions of history that were older than RETENTION and were dropped',
    ),
    partitionsOverdue: gauge(
      'partitions_overdue',
      'Partitions older than RETENTION that are kept because something in them has not ended',
    ),
    clockSkew: gauge('clock_skew_seconds', 'How far this process’s clock is ahead of the database’s'),
    sandboxClaim: histogram(
      'sandbox_claim_seconds',
      'Time until an attempt had its place in a sandbox: a warm one (hit) or one started for it (miss)',
      ['result'],
    ),
    sandboxDriver: gauge('sandbox_driver', 'What isolates code steps on this worker: 1 for it; none, too', [
      'driver',
    ]),
    sandboxPoolSize: gauge('sandbox_pool_size', 'Sandboxes of this worker by what they do', ['state']),
    sandboxLosses: counter('sandbox_losses_total', 'Sandboxes that ended without being asked to', ['reason']),
    sandboxRecycled: counter('sandbox_recycled_total', 'Sandboxes that were ended, by why', ['reason']),
    egressRefusals: counter('broker_refusals_total', 'Outgoing requests that were refused', ['reason']),
  };
}

export type Metrics = ReturnType<typeof createMetrics>;
