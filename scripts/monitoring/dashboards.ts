import type { Dashboard, Panel, Query } from './grafana.ts';

const NS = 'namespace=~"$namespace"';
const OWN = `${NS},tenant=~"$tenant",workflow=~"$workflow"`;

/** `sum by (outcome) (rate(millrace_x_total{…}[…]))` */
const rate = (metric: string, by = '', selector = NS): string =>
  `sum${by === '' ? '' : ` by (${by})`} (rate(${metric}{${selector}}[$__rate_interval]))`;
const max = (metric: string, by = '', selector = NS): string =>
  `max${by === '' ? '' : ` by (${by})`} (${metric}{${selector}})`;
const sum = (metric: string, by = '', selector = NS): string =>
  `sum${by === '' ? '' : ` by (${by})`} (${metric}{${selector}})`;

const quantiles = (histogram: string, selector = NS): readonly Query[] =>
  [0.5, 0.95, 0.99].map((quantile) => ({
    expr: `histogram_quantile(${quantile}, ${rate(`${histogram}_bucket`, 'le', selector)})`,
    legend: `p${quantile * 100}`,
  }));
const one = (expr: string, legend: string): readonly Query[] => [{ expr, legend }];
const stat = (panel: Omit<Panel, 'kind'>): Panel => ({ width: 4, ...panel, kind: 'stat' });

const BURN = (slo: string): string => `max(millrace:slo_errors:ratio_rate1h{slo="${slo}",${NS}})`;

const OVERVIEW: Dashboard = {
  name: 'overview',
  title: 'Millrace: overview',
  description: 'Do users feel anything, and where does it come from?',
  rows: [
    {
      title: 'Promises',
      panels: [
        stat({
          title: 'Refused webhooks, 1 h',
          about: 'Share answered with 503 or 500; 0.1 % are allowed. Alert AcceptErrorBudgetBurn.',
          unit: 'percentunit',
          queries: one(BURN('accepted'), ''),
          bounds: [0.001, 0.0144],
        }),
        stat({
          title: 'Slow accepts, 1 h',
          about:
            'Share of webhooks accepted after more than 250 ms; 1 % is allowed. Alert AcceptLatencyBudgetBurn.',
          unit: 'percentunit',
          queries: one(BURN('accept_latency'), ''),
          bounds: [0.01, 0.144],
        }),
        stat({
          title: 'Late starts, 1 h',
          about:
            'Share of executions that started after more than 5 s; 1 % is allowed. Alert StartDelayBudgetBurn.',
          unit: 'percentunit',
          queries: one(BURN('start'), ''),
          bounds: [0.01, 0.144],
        }),
        stat({
          title: 'Platform failures, 1 h',
          about:
            'Share of executions that failed by our fault; 0.1 % are allowed. Alert PlatformFailureBudgetBurn.',
          unit: 'percentunit',
          queries: one(BURN('platform_failures'), ''),
          bounds: [0.001, 0.0144],
        }),
        stat({
          title: 'Workers',
          about: 'That reported to the database within 30 s. Alert NoWorker.',
          unit: 'short',
          queries: one(max('millrace_workers'), ''),
        }),
        stat({
          title: 'Oldest in the queue',
          about: 'Alert QueueAging at 120 s.',
          unit: 's',
          queries: one(max('millrace_queue_oldest_age_seconds'), ''),
          bounds: [15, 120],
        }),
      ],
    },
    {
      title: 'Flow',
      panels: [
        {
          title: 'Webhooks',
          about: 'By what became of them.',
          unit: 'reqps',
          queries: one(rate('millrace_deliveries_total', 'outcome'), '{{outcome}}'),
        },
        {
          title: 'Executions that ended',
          about: 'Failed ones are mostly their authors’ own; see the share of platform failures above.',
          unit: 'ops',
          queries: one(rate('millrace_executions_total', 'outcome'), '{{outcome}}'),
        },
        {
          title: 'Queue',
          about: 'What is due and waits. Grows while workers are fewer than the load needs.',
          unit: 'short',
          queries: one(max('millrace_queue_depth'), 'due'),
        },
        {
          title: 'Accepting a webhook',
          about: 'From its arrival to the commit.',
          unit: 's',
          queries: quantiles('millrace_accept_duration_seconds'),
          bounds: [0.1, 0.25],
        },
        {
          title: 'Start of executions',
          about: 'From the commit to the first claim.',
          unit: 's',
          queries: quantiles('millrace_execution_start_delay_seconds'),
          bounds: [1, 5],
        },
        {
          title: 'Places in use',
          about: 'Executions under way against WORKER_CONCURRENCY of all workers.',
          unit: 'percentunit',
          queries: one(`${sum('millrace_active_executions')} / ${sum('millrace_worker_slots')}`, 'in use'),
          bounds: [0.8, 1],
        },
      ],
    },
    {
      title: 'Dependencies and processes',
      panels: [
        {
          title: 'Redis',
          about: 'The least of all processes; 0 is gone for one at least. Alert RedisGone.',
          unit: 'short',
          queries: one(`min(millrace_redis_up{${NS}})`, 'up'),
        },
        {
          title: 'Event-loop lag, p99',
          about: 'Of each process. Above 200 ms health checks suffer.',
          unit: 's',
          queries: one(max('nodejs_eventloop_lag_p99_seconds', 'job, instance'), '{{job}} {{instance}}'),
          bounds: [0.1, 0.2],
        },
        {
          title: 'Memory',
          about: 'Resident, of each process.',
          unit: 'bytes',
          queries: one(max('process_resident_memory_bytes', 'job, instance'), '{{job}} {{instance}}'),
        },
        {
          title: 'CPU',
          about: 'Cores, of each process.',
          unit: 'short',
          queries: one(rate('process_cpu_seconds_total', 'job, instance'), '{{job}} {{instance}}'),
        },
        {
          title: 'Clock against PostgreSQL’s',
          about: 'Beyond 30 s an API is not ready.',
          unit: 's',
          queries: one(
            `max by (job, instance) (abs(millrace_clock_skew_seconds{${NS}}))`,
            '{{job}} {{instance}}',
          ),
          bounds: [10, 30],
        },
        {
          title: 'Releases',
          about: 'More than one for long: a rollout stands still.',
          unit: 'short',
          queries: one(`count by (version) (millrace_build_info{${NS}})`, '{{version}}'),
        },
      ],
    },
  ],
};

const INGEST: Dashboard = {
  name: 'ingest',
  title: 'Millrace: ingest',
  description: 'From a sender’s request to the commit.',
  rows: [
    {
      title: 'Webhooks',
      panels: [
        {
          title: 'By outcome',
          about:
            '`rejected` is what the sender did wrong (a changed secret shows here), `limited` a rate limit, `shed` and `failed` are ours.',
          unit: 'reqps',
          width: 12,
          queries: one(rate('millrace_deliveries_total', 'outcome'), '{{outcome}}'),
        },
        {
          title: 'Refused by us',
          about: 'Share of `shed` and `failed`.',
          unit: 'percentunit',
          width: 12,
          queries: one(
            `${rate('millrace_deliveries_total', '', `${NS},outcome=~"shed|failed"`)} / ${rate('millrace_deliveries_total')}`,
            'refused',
          ),
          bounds: [0.001, 0.0144],
        },
        {
          title: 'Time to accept',
          about: 'From the arrival of a webhook to the commit. Alert AcceptLatencyBudgetBurn.',
          unit: 's',
          queries: quantiles('millrace_accept_duration_seconds'),
          bounds: [0.1, 0.25],
        },
        {
          title: 'Time to answer',
          about: 'Route /hooks; senders with `respond: result` wait for more than the commit.',
          unit: 's',
          queries: quantiles('millrace_http_request_duration_seconds', `${NS},route="/hooks"`),
        },
        {
          title: 'Answers by status',
          about: 'Route /hooks; 499 are senders that went away.',
          unit: 'reqps',
          queries: one(
            rate('millrace_http_request_duration_seconds_count', 'status', `${NS},route="/hooks"`),
            '{{status}}',
          ),
        },
        {
          title: 'Deliveries in a commit',
          about: 'Grows with load; a high one with little load means slow commits.',
          unit: 'short',
          queries: one(
            `${rate('millrace_ingest_batch_size_sum')} / ${rate('millrace_ingest_batch_size_count')}`,
            'mean',
          ),
        },
      ],
    },
    {
      title: 'Hints and the REST API',
      panels: [
        {
          title: 'Hints',
          about: '`dropped`: Redis is gone or full of them, and the dispatcher finds the rows instead.',
          unit: 'ops',
          queries: one(rate('millrace_hints_total', 'outcome'), '{{outcome}}'),
        },
        {
          title: 'Requests by route',
          about: 'All but webhooks.',
          unit: 'reqps',
          queries: one(
            `topk(10, ${rate('millrace_http_request_duration_seconds_count', 'route', `${NS},route!="/hooks"`)})`,
            '{{route}}',
          ),
        },
        {
          title: 'Slowest routes, p99',
          about: 'Streams and `?wait=` are long on purpose.',
          unit: 's',
          queries: one(
            `topk(10, histogram_quantile(0.99, ${rate('millrace_http_request_duration_seconds_bucket', 'le, route', `${NS},route!="/hooks"`)}))`,
            '{{route}}',
          ),
        },
      ],
    },
  ],
};

const EXECUTIONS: Dashboard = {
  name: 'executions',
  title: 'Millrace: executions',
  description: 'From the queue to the end, and the steps between.',
  byWorkflow: true,
  rows: [
    {
      title: 'Queue and workers',
      panels: [
        {
          title: 'Due and waiting',
          about: 'Counted up to 100,000.',
          unit: 'short',
          queries: one(max('millrace_queue_depth'), 'due'),
        },
        {
          title: 'Age',
          about: 'Of the longest due execution, and of the longest that was never claimed.',
          unit: 's',
          queries: [
            ...one(max('millrace_queue_oldest_age_seconds'), 'due'),
            ...one(max('millrace_outbox_oldest_age_seconds'), 'never claimed'),
          ],
          bounds: [15, 120],
        },
        {
          title: 'Start delay',
          about: 'From the commit to the first claim.',
          unit: 's',
          queries: quantiles('millrace_execution_start_delay_seconds'),
          bounds: [1, 5],
        },
        {
          title: 'Under way',
          about: 'Against the places of each worker.',
          unit: 'short',
          queries: [
            ...one(sum('millrace_active_executions', 'instance'), '{{instance}}'),
            ...one(sum('millrace_worker_slots'), 'places'),
          ],
        },
        {
          title: 'Leases',
          about: '`taken_over`: another worker’s, which was lost. Alert LeaseLosses.',
          unit: 'ops',
          queries: one(rate('millrace_lease_losses_total', 'side'), '{{side}}'),
        },
        {
          title: 'Oldest lease',
          about: 'The longest that a worker has been at one execution.',
          unit: 's',
          queries: one(max('millrace_lease_oldest_age_seconds', 'instance'), '{{instance}}'),
        },
      ],
    },
    {
      title: 'Ends',
      panels: [
        {
          title: 'By outcome',
          about: 'Of the chosen workflows.',
          unit: 'ops',
          queries: one(rate('millrace_executions_total', 'outcome', OWN), '{{outcome}}'),
        },
        {
          title: 'Duration',
          about: 'From start to end, waiting included.',
          unit: 's',
          queries: quantiles('millrace_execution_duration_seconds', OWN),
        },
        {
          title: 'By the platform’s fault',
          about: 'Alert PlatformFailureBudgetBurn.',
          unit: 'ops',
          queries: one(rate('millrace_platform_failures_total', 'code'), '{{code}}'),
        },
      ],
    },
    {
      title: 'Steps',
      panels: [
        {
          title: 'Attempts',
          about: 'By kind and outcome.',
          unit: 'ops',
          queries: one(
            rate('millrace_step_duration_seconds_count', 'kind, outcome', OWN),
            '{{kind}} {{outcome}}',
          ),
        },
        {
          title: 'Time of an attempt, p99',
          about: 'By kind.',
          unit: 's',
          queries: one(
            `histogram_quantile(0.99, ${rate('millrace_step_duration_seconds_bucket', 'le, kind', OWN)})`,
            '{{kind}}',
          ),
        },
        {
          title: 'Journal writes in a commit',
          about: 'Grows with load.',
          unit: 'short',
          queries: one(
            `${rate('millrace_journal_batch_size_sum')} / ${rate('millrace_journal_batch_size_count')}`,
            'mean',
          ),
        },
      ],
    },
  ],
};

const SANDBOXES: Dashboard = {
  name: 'sandboxes',
  title: 'Millrace: sandboxes',
  description: 'Where code runs, and what it tried.',
  rows: [
    {
      title: 'Pool',
      panels: [
        {
          title: 'Sandboxes',
          about:
            'None that is spare, idle or busy: alert SandboxPoolEmpty. No spare for long: SandboxSparesMissing.',
          unit: 'short',
          width: 12,
          queries: [
            ...one(sum('millrace_sandbox_pool_size', 'state', `${NS},state!="spare"`), '{{state}}'),
            ...one(sum('millrace:sandboxes:spare'), 'spare'),
          ],
        },
        {
          title: 'Isolation',
          about: 'Workers by driver. `none` fails every code step, `process` is for development.',
          unit: 'short',
          width: 12,
          queries: one(sum('millrace_sandbox_driver', 'driver'), '{{driver}}'),
        },
        {
          title: 'Claims',
          about: 'A miss waits for a sandbox to start.',
          unit: 'ops',
          queries: one(rate('millrace_sandbox_claim_seconds_count', 'result'), '{{result}}'),
        },
        {
          title: 'Time to a place, p99',
          about: 'A miss takes up to 0.6 s; more means that budget or machine are too small.',
          unit: 's',
          queries: one(
            `histogram_quantile(0.99, ${rate('millrace_sandbox_claim_seconds_bucket', 'le, result')})`,
            '{{result}}',
          ),
          bounds: [0.6, 5],
        },
        {
          title: 'Code steps',
          about: 'Attempts by outcome.',
          unit: 'ops',
          queries: one(
            rate('millrace_step_duration_seconds_count', 'outcome', `${NS},kind=~"code|notebook|container"`),
            '{{outcome}}',
          ),
        },
      ],
    },
    {
      title: 'Ends and refusals',
      panels: [
        {
          title: 'Lost',
          about: 'Ended without being asked to.',
          unit: 'ops',
          queries: one(rate('millrace_sandbox_losses_total', 'reason'), '{{reason}}'),
        },
        {
          title: 'Recycled',
          about: 'Ended on purpose.',
          unit: 'ops',
          queries: one(rate('millrace_sandbox_recycled_total', 'reason'), '{{reason}}'),
        },
        {
          title: 'Refused by the broker',
          about: 'What code tried to call and may not.',
          unit: 'ops',
          queries: one(rate('millrace_broker_refusals_total', 'reason'), '{{reason}}'),
        },
      ],
    },
  ],
};

const DATABASE: Dashboard = {
  name: 'database',
  title: 'Millrace: database',
  description: 'PostgreSQL as Millrace sees it. Its own exporter tells of locks, vacuum and replication.',
  rows: [
    {
      title: 'Size',
      panels: [
        {
          title: 'Database',
          about: 'Alert DatabaseGrowth.',
          unit: 'bytes',
          queries: one(max('millrace_database_bytes'), 'size'),
        },
        {
          title: 'Tables',
          about: 'All partitions, with indexes. Alert PartitionGrowth.',
          unit: 'bytes',
          queries: one(max('millrace_table_partition_bytes', 'table'), '{{table}}'),
        },
        {
          title: 'Partitions',
          about: 'About nine of each table.',
          unit: 'short',
          queries: one(max('millrace_table_partitions', 'table'), '{{table}}'),
        },
        {
          title: 'Dropped in a day',
          about: 'Four at a time, every few days.',
          unit: 'short',
          queries: one(`sum(increase(millrace_partitions_dropped_total{${NS}}[1d]))`, 'dropped'),
        },
        {
          title: 'Overdue',
          about: 'Kept because something in them has not ended. Alert PartitionsOverdue.',
          unit: 'short',
          queries: one(max('millrace_partitions_overdue'), 'overdue'),
          bounds: [1, 4],
        },
        {
          title: 'Rows outside of dated partitions',
          about: 'Has to be 0. Alert DefaultPartitionRows.',
          unit: 'short',
          queries: one(max('millrace_default_partition_rows'), 'rows'),
          bounds: [1, 1],
        },
      ],
    },
    {
      title: 'Connections and commits',
      panels: [
        {
          title: 'Connections',
          about: 'Of all processes; has to stay below max_connections.',
          unit: 'short',
          queries: one(
            sum('millrace_database_pool_connections', 'state', `${NS},state!="waiting"`),
            '{{state}}',
          ),
        },
        {
          title: 'Waiting for a connection',
          about: 'Alert DatabasePoolExhausted.',
          unit: 'short',
          queries: one(
            sum('millrace_database_pool_connections', 'pool', `${NS},state="waiting"`),
            '{{pool}}',
          ),
          bounds: [1, 10],
        },
        {
          title: 'Commits',
          about: 'Of ingest and of the journal.',
          unit: 'ops',
          queries: [
            ...one(rate('millrace_ingest_batch_size_count'), 'ingest'),
            ...one(rate('millrace_journal_batch_size_count'), 'journal'),
          ],
        },
        {
          title: 'Certificates end in',
          about: 'Alert CertificateExpiry.',
          unit: 's',
          queries: one(`min by (name) (millrace:certificates:end{${NS}}) - time()`, '{{name}}'),
        },
      ],
    },
  ],
};

const TENANTS: Dashboard = {
  name: 'tenants',
  title: 'Millrace: tenants',
  description:
    'Who uses the platform, and whose workflows fail. The most active have names, the rest is `other`.',
  byWorkflow: true,
  rows: [
    {
      title: 'Tenants',
      panels: [
        {
          title: 'Executions',
          about: 'The ten most active tenants.',
          unit: 'ops',
          width: 12,
          queries: one(`topk(10, ${rate('millrace_executions_total', 'tenant')})`, '{{tenant}}'),
        },
        {
          title: 'Failed',
          about: 'Share by tenant.',
          unit: 'percentunit',
          width: 12,
          queries: one(
            `topk(10, ${rate('millrace_executions_total', 'tenant', `${NS},outcome="failed"`)} / ${rate('millrace_executions_total', 'tenant')})`,
            '{{tenant}}',
          ),
        },
        {
          title: 'Time in steps',
          about: 'Seconds of steps a second: who keeps workers busy.',
          unit: 'short',
          width: 12,
          queries: one(`topk(10, ${rate('millrace_step_duration_seconds_sum', 'tenant')})`, '{{tenant}}'),
        },
        {
          title: 'Code steps',
          about: 'Who uses sandboxes.',
          unit: 'ops',
          width: 12,
          queries: one(
            `topk(10, ${rate('millrace_step_duration_seconds_count', 'tenant', `${NS},kind=~"code|notebook|container"`)})`,
            '{{tenant}}',
          ),
        },
      ],
    },
    {
      title: 'Workflows of the chosen tenants',
      panels: [
        {
          title: 'Executions',
          about: 'The ten most active workflows.',
          unit: 'ops',
          queries: one(
            `topk(10, ${rate('millrace_executions_total', 'tenant, workflow', OWN)})`,
            '{{tenant}}/{{workflow}}',
          ),
        },
        {
          title: 'Failed within an hour',
          about: 'Share by workflow. Alert WorkflowFailing goes to their owners.',
          unit: 'percentunit',
          queries: one(
            `topk(10, sum by (tenant, workflow) (increase(millrace_executions_total{${OWN},outcome="failed"}[1h])) / sum by (tenant, workflow) (increase(millrace_executions_total{${OWN}}[1h])))`,
            '{{tenant}}/{{workflow}}',
          ),
        },
        {
          title: 'Duration, p95',
          about: 'By workflow.',
          unit: 's',
          queries: one(
            `topk(10, histogram_quantile(0.95, ${rate('millrace_execution_duration_seconds_bucket', 'le, tenant, workflow', OWN)}))`,
            '{{tenant}}/{{workflow}}',
          ),
        },
      ],
    },
  ],
};

export const DASHBOARDS: readonly Dashboard[] = [OVERVIEW, INGEST, EXECUTIONS, SANDBOXES, DATABASE, TENANTS];
