import { PARTITIONED_TABLES } from '../db/partitions.ts';
import { STEP_KINDS } from '../definition/types.ts';
import { TERMINAL_EXECUTION_STATES } from '../executions/status.ts';
import { PLATFORM_FAULTS } from '../step-error.ts';
import { VERSION } from '../version.ts';
import { createMakers, type MetricDescription } from './metric-makers.ts';
import { REFUSAL_REASONS, SANDBOX_LOSS_REASONS, SANDBOX_RECYCLE_REASONS } from './reasons.ts';
import { createRegistries } from './registries.ts';
import { createWorkflowLabels, type WorkflowLabel } from './workflow-labels.ts';

const DELIVERY_OUTCOMES = [
  'accepted',
  'duplicate',
  'filtered',
  'rejected',
  'limited',
  'shed',
  'failed',
] as const;
export const CERTIFICATES = ['public_url', 'public_hooks_url', 'postgres', 'redis', 'gateway'] as const;
const ATTEMPT_OUTCOMES = ['succeeded', 'failed'] as const;

// Bounds are where targets and objectives are (docs/performance.md), so that what is promised can be read off exactly.
const ANSWER_S = [0.0025, 0.005, 0.01, 0.03, 0.06, 0.1, 0.25, 0.5, 1, 2.5, 10, 30];
const START_DELAY_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200];
const EXECUTION_S = [0.005, 0.012, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 1800, 7200];
const STEP_S = [0.001, 0.005, 0.01, 0.03, 0.06, 0.1, 0.25, 1, 5, 30, 120, 300];
const CLAIM_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.03, 0.06, 0.1, 0.25, 0.6, 1, 2.5, 5, 10, 30, 60];
const BATCH = [1, 2, 5, 10, 20, 50, 100, 200];

/**
 * All metrics of Millrace, registered at start. Labels come from closed sets, or are bounded ({@link WorkflowLabel}); ids
 * are never labels. API and worker share the names, so that one machine's single process shows them all.
 */
export function createMetrics() {
  const registries = createRegistries();
  const catalog: MetricDescription[] = [];
  const { counter, gauge, histogram, timing } = createMakers(registries, catalog);
  const ofWorkflow = { tenant: undefined, workflow: undefined } as const;

  const metrics = {
    registry: registries,
    catalog: catalog as readonly MetricDescription[],
    buildInfo: gauge('build_info', 'every process', '1, for the release that runs', { version: undefined }),
    deliveries: counter(
      'deliveries_total',
      'API',
      'Webhook requests by what became of them: `rejected` for what the sender sent, `limited` by a rate limit (429), `shed` because too much waits (503), and `failed` for want of the database (503) or by a fault of ours (500)',
      { outcome: DELIVERY_OUTCOMES },
    ),
    httpRequestDuration: timing(
      'http_request_duration_seconds',
      'API',
      'Time to answer a request; `route` is the path template, `/hooks` or `other`',
      { route: undefined, status: undefined },
      ANSWER_S,
    ),
    acceptDuration: timing(
      'accept_duration_seconds',
      'API',
      'From the arrival of a webhook until its delivery was committed; what a webhook with `respond: result` then waits for is not in it',
      {},
      ANSWER_S,
    ),
    ingestBatchSize: histogram('ingest_batch_size', 'API', 'Deliveries that shared one commit', {}, BATCH),
    hints: counter('hints_total', 'every process', 'Hints by what became of them', {
      outcome: ['published', 'failed', 'dropped', 'received'],
    }),
    executions: counter(
      'executions_total',
      'worker',
      'Executions that ended, by outcome; those that were cancelled before they started are not among them',
      { ...ofWorkflow, outcome: TERMINAL_EXECUTION_STATES },
    ),
    executionDuration: timing(
      'execution_duration_seconds',
      'worker',
      'From the start of an execution to its end, waiting included',
      ofWorkflow,
      EXECUTION_S,
    ),
    executionStartDelay: timing(
      'execution_start_delay_seconds',
      'worker',
      'From the commit of an execution to its first start',
      {},
      START_DELAY_S,
    ),
    stepDuration: timing(
      'step_duration_seconds',
      'worker',
      'Time of one attempt of a step',
      { ...ofWorkflow, kind: STEP_KINDS, outcome: ATTEMPT_OUTCOMES },
      STEP_S,
    ),
    platformFailures: counter(
      'platform_failures_total',
      'worker',
      'Steps, and executions apart from their steps, that failed for good by the platform’s fault; one that fails its execution counts once',
      { code: PLATFORM_FAULTS },
    ),
    activeExecutions: gauge(
      'active_executions',
      'worker',
      'Executions that this worker advances right now',
      {},
    ),
    workerSlots: gauge(
      'worker_slots',
      'worker',
      'Executions that this worker advances at once at most (`WORKER_CONCURRENCY`)',
      {},
    ),
    leaseLosses: counter(
      'lease_losses_total',
      'worker',
      'Leases that this worker lost, or took over from another one',
      { side: ['lost', 'taken_over'] },
    ),
    leaseOldestAge: gauge(
      'lease_oldest_age_seconds',
      'worker',
      'For how long this worker has held its oldest lease; 0 when it holds none',
      {},
    ),
    journalBatchSize: histogram(
      'journal_batch_size',
      'worker',
      'Journal writes that shared one commit',
      {},
      BATCH,
    ),
    queueDepth: gauge(
      'queue_depth',
      'elected',
      'Executions that are due and wait for a worker, those of lost leases included; counted up to 100,000',
      {},
    ),
    queueOldestAge: gauge(
      'queue_oldest_age_seconds',
      'elected',
      'For how long the longest due execution has been due; 0 when none is. The signal to scale workers by',
      {},
    ),
    outboxOldestAge: gauge(
      'outbox_oldest_age_seconds',
      'elected',
      'The same of accepted executions that no worker has ever claimed: of each tenant, among its 50 longest due. With free slots (`millrace_active_executions` below `millrace_worker_slots`) more than `POLL_MS` means that neither hints nor the dispatcher find them',
      {},
    ),
    workers: gauge(
      'workers',
      'elected',
      'Workers that live: those that reported to the database within the last 30 s',
      {},
    ),
    // Not one with a label: what scales pools by them finds a metric by its name.
    javascriptClaims: gauge(
      'sandbox_javascript_claims_per_minute',
      'elected',
      'Sandboxes for JavaScript that became a workflow’s in the last minute, in all workers',
      {},
    ),
    pythonClaims: gauge(
      'sandbox_python_claims_per_minute',
      'elected',
      'Sandboxes for Python that became a workflow’s in the last minute, in all workers',
      {},
    ),
    databaseBytes: gauge('database_bytes', 'elected', 'Size of the database', {}),
    partitionBytes: gauge(
      'table_partition_bytes',
      'elected',
      'Size of all partitions of a table, with indexes',
      { table: PARTITIONED_TABLES },
    ),
    partitions: gauge(
      'table_partitions',
      'elected',
      'How many partitions a table has, the default one included',
      { table: PARTITIONED_TABLES },
    ),
    defaultPartitionRows: gauge(
      'default_partition_rows',
      'worker',
      'Rows of deliveries, executions, steps and their logs outside all dated partitions; anything but 0 wants a look',
      {},
    ),
    partitionsDropped: counter(
      'partitions_dropped_total',
      'worker',
      'Partitions of history that were older than `RETENTION` and were dropped',
      {},
    ),
    partitionsOverdue: gauge(
      'partitions_overdue',
      'worker',
      'Partitions older than `RETENTION` that are kept because something in them has not ended',
      {},
    ),
    poolConnections: gauge(
      'database_pool_connections',
      'every process',
      'Connections to PostgreSQL; `waiting` are callers without one',
      { pool: undefined, state: ['busy', 'idle', 'waiting'] },
    ),
    clockSkew: gauge(
      'clock_skew_seconds',
      'every process',
      'How far this process’s clock is ahead of the database’s',
      {},
    ),
    redisUp: gauge(
      'redis_up',
      'every process',
      '1 while Redis answers and takes writes, 0 while it does not; no sample without `REDIS_URL`',
      {},
    ),
    certificateExpiry: gauge(
      'certificate_expiry_timestamp_seconds',
      'every process',
      'When a certificate ends, in seconds since 1970: of the servers of `DATABASE_URL` and `REDIS_URL`; on an API of `PUBLIC_URL` and, where it is another server, `PUBLIC_HOOKS_URL`, on a worker of the gateway that runners dial; no sample where there is no TLS',
      { name: CERTIFICATES },
    ),
    sandboxClaim: timing(
      'sandbox_claim_seconds',
      'worker',
      'Time until an attempt had its place in a sandbox: a warm one (hit) or one started for it (miss)',
      { result: ['hit', 'miss'] },
      CLAIM_S,
    ),
    sandboxDriver: gauge(
      'sandbox_driver',
      'worker',
      'What isolates code steps on this worker: 1 for it; `none`, too',
      { driver: undefined },
    ),
    sandboxPoolSize: gauge(
      'sandbox_pool_size',
      'worker',
      'Sandboxes of this worker by what they do; with runner pods (`millrace_sandbox_driver{driver="kubernetes"}`) `spare` are those that wait for all workers, and each worker shows them all: take the `max` of these',
      { state: ['spare', 'starting', 'idle', 'busy'] },
    ),
    sandboxLosses: counter('sandbox_losses_total', 'worker', 'Sandboxes that ended without being asked to', {
      reason: SANDBOX_LOSS_REASONS,
    }),
    sandboxRecycled: counter('sandbox_recycled_total', 'worker', 'Sandboxes that were ended, by why', {
      reason: SANDBOX_RECYCLE_REASONS,
    }),
    egressRefusals: counter('broker_refusals_total', 'worker', 'Outgoing requests that were refused', {
      reason: REFUSAL_REASONS,
    }),
  };

  metrics.buildInfo.set({ version: VERSION }, 1);
  // Nobody has measured yet; 0 would be news.
  for (const measured of [
    metrics.queueDepth,
    metrics.queueOldestAge,
    metrics.outboxOldestAge,
    metrics.workers,
    metrics.javascriptClaims,
    metrics.pythonClaims,
    metrics.databaseBytes,
    metrics.redisUp,
  ])
    measured.remove();

  const endSeries = ({ tenant, workflow }: WorkflowLabel): void => {
    for (const outcome of TERMINAL_EXECUTION_STATES) metrics.executions.remove({ tenant, workflow, outcome });
    metrics.executionDuration.remove({ tenant, workflow });
    for (const kind of STEP_KINDS) {
      for (const outcome of ATTEMPT_OUTCOMES)
        metrics.stepDuration.remove({ tenant, workflow, kind, outcome });
    }
  };
  return { ...metrics, endSeries, workflows: createWorkflowLabels({ onHidden: endSeries }) };
}

export type Metrics = ReturnType<typeof createMetrics>;
