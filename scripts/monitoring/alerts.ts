import { DAY, HOUR, MINUTE, type Durations } from './durations.ts';
import { BURNS, burnExpression, SLOS, type Slo } from './slos.ts';

/** `page` wakes somebody, `ticket` is for working hours, `owner` goes to the owner of a workflow and to no SRE. */
export const SEVERITIES = ['page', 'ticket', 'owner'] as const;
export type Severity = (typeof SEVERITIES)[number];

export interface Alert {
  readonly name: string;
  readonly severity: Severity;
  readonly expr: (d: Durations) => string;
  /** How long it has to hold before it fires. */
  readonly forSeconds: number;
  /** What is the matter, in one line; both texts are templates of Prometheus. */
  readonly summary: string;
  readonly description: string;
  /** Further annotations, for programs. */
  readonly annotations?: Readonly<Record<string, string>>;
}

const IN = '{{ with $labels.namespace }} in {{ . }}{{ end }}';

const burnAlert = (slo: Slo, severity: 'page' | 'ticket'): Alert => ({
  name: slo.alert,
  severity,
  expr: (d) => burnExpression(slo, severity, d),
  forSeconds: BURNS.find((burn) => burn.severity === severity)!.forSeconds, // there are some of both
  summary: `{{ $value | humanizePercentage }} of ${slo.badEvents}${IN}; ${slo.budget * 100} % may be`,
  description:
    severity === 'page'
      ? `${slo.felt} At this rate the error budget of 30 days is gone within five days, or within two.`
      : `${slo.felt} At this rate the error budget of 30 days does not last for 30 days.`,
});

/** What holds up everything else is told once: the alerts about its consequences keep silent meanwhile. */
const NO_WORKER = 'millrace:workers:live == 0';
const UNLESS_NO_WORKER = `unless on (namespace) (${NO_WORKER})`;

const API = 'up{job=~"(.+-)?millrace-api"}';
const WORKER = 'up{job=~"(.+-)?millrace-worker"}';
/** Namespaces that had such targets within a day, and have none now. */
const vanished = (targets: string, d: Durations): string =>
  `(count by (namespace) (present_over_time(${targets}[${d(DAY)}])) unless count by (namespace) (${targets}))`;

const USABLE = 'millrace:sandboxes:usable';
const SPARES = 'millrace:sandboxes:spare';
/** Somebody wants sandboxes: one was being started lately, spares are kept as a rule, or steps fail for want of one. */
const sandboxesAreWanted = (d: Durations): string =>
  [
    `sum by (namespace) (max_over_time(millrace_sandbox_pool_size{state="starting"}[${d(5 * MINUTE)}])) > 0`,
    `sum by (namespace) (max_over_time(millrace_sandbox_pool_size{state="spare"}[${d(6 * HOUR)}])) > 0`,
    `sum by (namespace) (increase(millrace_platform_failures_total{code="no_sandbox"}[${d(15 * MINUTE)}])) > 0`,
  ].join('\n  or ');

const AVAILABILITY: readonly Alert[] = [
  {
    name: 'NoApi',
    severity: 'page',
    // Targets that are gone altogether have no series: then it counts where there were some within a day, or none at all.
    expr: (d) =>
      `sum by (namespace) (${API}) == 0\n` +
      `or ${vanished(API, d)}\n` +
      `or absent_over_time(${API}[${d(DAY)}])`,
    forSeconds: 2 * MINUTE,
    summary: `No API answers Prometheus${IN}`,
    description: 'Senders are most likely refused by the load balancer, and the REST API is gone.',
  },
  {
    name: 'NoWorker',
    severity: 'page',
    // Every process tells how many there are; where none does, the targets of workers decide.
    expr: (d) =>
      `${NO_WORKER}\n` +
      `or (\n  (sum by (namespace) (${WORKER}) == 0\n  or ${vanished(WORKER, d)})\n` +
      `  unless on (namespace) millrace:workers:live\n)`,
    forSeconds: 2 * MINUTE,
    summary: `No worker takes executions${IN}`,
    description: 'Webhooks are accepted and kept, and nothing runs. Nothing is lost; everything is late.',
  },
  {
    name: 'QueueAging',
    severity: 'page',
    expr: () => `max by (namespace) (millrace_queue_oldest_age_seconds) > 120\n${UNLESS_NO_WORKER}`,
    forSeconds: 5 * MINUTE,
    summary: `An execution has waited for a worker for {{ $value | humanizeDuration }}${IN}`,
    description: 'There is more work than the workers do, or they cannot do it. Workflows begin late.',
  },
  {
    name: 'SandboxPoolEmpty',
    severity: 'page',
    expr: (d) =>
      `${USABLE} == 0\nand on (namespace) max by (namespace) (millrace_sandbox_driver{driver!="none"}) == 1\n` +
      `and on (namespace) (\n  ${sandboxesAreWanted(d)}\n)\n${UNLESS_NO_WORKER}`,
    forSeconds: 3 * MINUTE,
    summary: `No sandbox can be had${IN}`,
    description: 'Steps of kind code, notebook and container wait, and fail as `no_sandbox` in the end.',
  },
  {
    name: 'SandboxSparesMissing',
    severity: 'ticket',
    expr: (d) =>
      `${SPARES} == 0\nand on (namespace) ${USABLE} > 0\n` +
      `and on (namespace) sum by (namespace) (max_over_time(millrace_sandbox_pool_size{state="spare"}[${d(DAY)}])) > 0`,
    forSeconds: 30 * MINUTE,
    summary: `No spare sandbox was ready for half an hour${IN}`,
    description:
      'Workflows that have not run lately wait for the start of a sandbox: some hundred milliseconds, or seconds where it is a pod.',
  },
  {
    name: 'LeaseLosses',
    severity: 'ticket',
    expr: (d) =>
      `sum by (namespace) (increase(millrace_lease_losses_total{side="taken_over"}[${d(HOUR)}])) > 5`,
    forSeconds: 0,
    summary: `{{ $value | humanize }} executions were taken over from a lost worker within an hour${IN}`,
    description:
      'Workers die or stall. Steps that were under way run again; an execution that loses five workers fails as `worker_lost`.',
  },
];

const DEPENDENCIES: readonly Alert[] = [
  {
    name: 'RedisGone',
    severity: 'ticket',
    expr: () => 'min by (namespace) (millrace_redis_up) == 0',
    forSeconds: 5 * MINUTE,
    summary: `Redis cannot be used by one process or more${IN}`,
    description:
      'Nothing is lost and nothing stands still: workers find their work by asking PostgreSQL every 250 ms, at some cost for it.',
  },
  {
    name: 'OutboxStuck',
    severity: 'ticket',
    expr: () =>
      `max by (namespace) (millrace_outbox_oldest_age_seconds) > 60\n` +
      `and on (namespace) sum by (namespace) (millrace_active_executions) < 0.5 * sum by (namespace) (millrace_worker_slots)\n` +
      UNLESS_NO_WORKER,
    forSeconds: 5 * MINUTE,
    summary: `An accepted execution has not been found by any worker for {{ $value | humanizeDuration }}${IN}`,
    description: 'Workers have places free, and neither hints nor the dispatcher find what waits.',
  },
  {
    name: 'DatabasePoolExhausted',
    severity: 'ticket',
    expr: () => 'sum by (namespace, pool) (millrace_database_pool_connections{state="waiting"}) > 0',
    forSeconds: 5 * MINUTE,
    summary: `{{ $value }} callers wait for a connection of the pool {{ $labels.pool }}${IN}`,
    description: 'Requests that wait for more than two seconds are answered with 503.',
  },
  {
    name: 'ClockSkew',
    severity: 'ticket',
    expr: () => 'max by (namespace) (abs(millrace_clock_skew_seconds)) > 10',
    forSeconds: 5 * MINUTE,
    summary: `A clock and PostgreSQL’s are {{ $value | humanizeDuration }} apart${IN}`,
    description: 'From 30 s on an API is not ready, because it would judge the time in signatures wrongly.',
  },
  certificate('page', 2 * DAY, 'two days'),
  certificate('ticket', 14 * DAY, 'two weeks'),
];

function certificate(severity: 'page' | 'ticket', leftSeconds: number, left: string): Alert {
  const remaining = 'millrace:certificates:end - time()';
  const later = severity === 'ticket' ? ` > ${2 * DAY}` : '';
  return {
    name: 'CertificateExpiry',
    severity,
    expr: () => `(${remaining})${later} < ${leftSeconds}`,
    forSeconds: HOUR,
    summary: `The certificate {{ $labels.name }} expires in {{ $value | humanizeDuration }}${IN}`,
    description: `It has less than ${left} left. Once it has expired, runners or callers refuse the connection.`,
  };
}

const GIB = 1024 ** 3;

const STORAGE: readonly Alert[] = [
  {
    name: 'DatabaseDiskFull',
    severity: 'page',
    expr: () => diskShare(DATA_VOLUME, '0.05'),
    forSeconds: 5 * MINUTE,
    summary: `The volume {{ $labels.persistentvolumeclaim }} has {{ $value | humanizePercentage }} left${IN}`,
    description: 'PostgreSQL stops when its volume is full, and webhooks are answered with 503 then.',
  },
  {
    name: 'DatabaseDiskFull',
    severity: 'ticket',
    expr: () => `${diskShare(DATA_VOLUME, '0.2')} > 0.05`,
    forSeconds: HOUR,
    summary: `The volume {{ $labels.persistentvolumeclaim }} has {{ $value | humanizePercentage }} left${IN}`,
    description: 'Make it larger, or keep less, before PostgreSQL stops.',
  },
  {
    name: 'BackupDiskFull',
    severity: 'ticket',
    // The kubelet tells of a volume while a pod has it: of this one for the minutes of each night's backup.
    expr: (d) => diskShare(BACKUP_VOLUME, '0.2', d(26 * HOUR)),
    forSeconds: HOUR,
    summary: `The volume {{ $labels.persistentvolumeclaim }} has {{ $value | humanizePercentage }} left${IN}`,
    description: 'The next backups find no room. PostgreSQL does not notice.',
  },
  {
    name: 'DatabaseGrowth',
    severity: 'ticket',
    expr: (d) => {
      const size = 'max by (namespace) (millrace_database_bytes)';
      const soon = `max by (namespace) (predict_linear(millrace_database_bytes[${d(DAY)}], ${14 * DAY}))`;
      return `${soon} > 2 * ${size}\nand ${size} > ${10 * GIB}`;
    },
    forSeconds: 6 * HOUR,
    summary: `The database will have doubled within two weeks, to {{ $value | humanize1024 }}B${IN}`,
    description: 'By what it has grown in a day. The disk has to have room for it, or less has to be kept.',
  },
  {
    name: 'PartitionGrowth',
    severity: 'ticket',
    expr: (d) => {
      const size = 'max by (namespace, table) (millrace_table_partition_bytes)';
      const before = `max by (namespace, table) (millrace_table_partition_bytes offset ${d(7 * DAY)})`;
      return `${size} > 2 * ${before}\nand ${size} > ${5 * GIB}`;
    },
    forSeconds: HOUR,
    summary: `The table {{ $labels.table }} has {{ $value | humanize1024 }}B, twice as much as a week ago${IN}`,
    description: 'Somebody sends or stores much more than before, or old partitions are not dropped.',
  },
  {
    name: 'DefaultPartitionRows',
    severity: 'ticket',
    expr: () => 'max by (namespace) (millrace_default_partition_rows) > 0',
    forSeconds: 10 * MINUTE,
    summary: `{{ $value }} rows lie outside of all dated partitions${IN}`,
    description:
      'Partitions were not made ahead, or a row has an id with a wrong time. Retention never drops these rows.',
  },
  {
    name: 'PartitionsOverdue',
    severity: 'ticket',
    expr: () => 'max by (namespace) (millrace_partitions_overdue) > 0',
    forSeconds: 2 * DAY,
    summary: `{{ $value }} partitions are older than RETENTION and cannot be dropped${IN}`,
    description: 'Something in them has not ended, and keeps all of its span on the disk.',
  },
];

/** Of the component postgres, where its data has a claim; a server elsewhere is watched by whoever runs it. */
const DATA_VOLUME = '{persistentvolumeclaim=~"data-(.+-)?millrace-postgres-[0-9]+"}';
const BACKUP_VOLUME = '{persistentvolumeclaim=~"(.+-)?millrace-postgres-backups"}';

/** @param within how old the last sample may be, where it is not from now */
const diskShare = (volume: string, limit: string, within?: string): string => {
  const [available, capacity] = ['available', 'capacity'].map((what) => {
    const stats = `kubelet_volume_stats_${what}_bytes${volume}`;
    return within === undefined ? stats : `last_over_time(${stats}[${within}])`;
  });
  return `min by (namespace, persistentvolumeclaim) (${available} / ${capacity}) < ${limit}`;
};

/** Metrics of others that the rules read: Prometheus’s own, the kubelet’s and cert-manager’s. */
export const FOREIGN_METRICS: ReadonlySet<string> = new Set([
  'up',
  'kubelet_volume_stats_available_bytes',
  'kubelet_volume_stats_capacity_bytes',
  'certmanager_certificate_expiration_timestamp_seconds',
]);

/**
 * How many executions ended within an hour. The first of a workflow makes the series of its worker, and from no sample to 1
 * there is no increase: so what a new series has counts as a whole.
 */
const endedWithin = (d: Durations, selector = ''): string => {
  const series = `millrace_executions_total{workflow!="other"${selector}}`;
  const hour = d(HOUR);
  return (
    `sum by (namespace, tenant, workflow) (\n` +
    `  ${series} unless present_over_time(${series}[${hour}] offset ${hour})\n` +
    `  or increase(${series}[${hour}])\n)`
  );
};

/** For whoever wrote the workflow; examples/workflow-failing tells them, from the threshold on that they set there. */
const WORKFLOW_FAILING: Alert = {
  name: 'WorkflowFailing',
  severity: 'owner',
  // From the first failure on: what is too much is for whoever wrote it.
  expr: (d) => `${endedWithin(d, ',outcome="failed"')}\n/ ${endedWithin(d)} > 0`,
  forSeconds: 5 * MINUTE,
  summary:
    '{{ $value | humanizePercentage }} of the executions of {{ $labels.workflow }} failed within an hour',
  description:
    'Of the tenant {{ $labels.tenant }}. `millrace executions --workflow {{ $labels.workflow }} --state failed` lists them.',
  annotations: { ratio: '{{ $value }}' },
};

export const ALERTS: readonly Alert[] = [
  ...SLOS.flatMap((slo) => [burnAlert(slo, 'page'), burnAlert(slo, 'ticket')]),
  ...AVAILABILITY,
  ...DEPENDENCIES,
  ...STORAGE,
  WORKFLOW_FAILING,
];

/** What has a page in docs/runbooks, once each. */
export const ALERT_NAMES: readonly string[] = [...new Set(ALERTS.map(({ name }) => name))];
