import type { Severity } from '../../scripts/monitoring/alerts.ts';
import { SLOS } from '../../scripts/monitoring/slos.ts';
import { counter, gauge, healthy, type Phase } from './series.ts';

/** What Prometheus sees instead of what is healthy, until the last sample; undefined: the series is not there. */
export interface Case {
  readonly name: string;
  readonly samples: number;
  /** Minutes between samples, and between evaluations. */
  readonly minutes: 1 | 15;
  readonly series: Readonly<Record<string, string | undefined>>;
}
export interface FiringCase extends Case {
  /** As people read it. */
  readonly summary: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Those of this case alone, for programs. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** The alert names no namespace. */
  readonly isAnywhere?: boolean;
  /** What fires for the same reason. */
  readonly besides?: AlertKey;
}
export interface AlertCases {
  readonly fires: readonly [FiringCase, ...FiringCase[]];
  readonly silent: readonly [Case, ...Case[]];
}
/** An alert and its severity. */
export type AlertKey = `${string} ${Severity}`;

const GIB = 1024 ** 3;
const HOUR = 60;
const DAY = 24 * HOUR;

/** The last `minutes` differ from the ten before them. */
const lately = (
  name: string,
  minutes: number,
  series: Readonly<Record<string, ((phases: Phases) => string) | undefined>>,
) => {
  const before = 10;
  const phases: Phases = (was, is) => [
    [before, was],
    [minutes, is],
  ];
  return {
    name,
    samples: before + minutes,
    minutes: 1,
    series: Object.fromEntries(Object.entries(series).map(([key, make]) => [key, make?.(phases)])),
  } as const;
};
type Phases = (was: number, is: number) => readonly [Phase, Phase];
const from =
  (was: number, is: number) =>
  (phases: Phases): string =>
    gauge(...phases(was, is));

interface Volume {
  /** Samples with bad events, after those without. */
  readonly bad: number;
  readonly good: number;
  /** Samples without bad events at the end. */
  readonly after?: number;
  readonly minutes: 1 | 15;
  /** Events a minute. */
  readonly rate?: number;
  /** The same before there were bad events. */
  readonly rateBefore?: number;
}
interface Sloes extends Volume {
  readonly badShare: number;
}
/** Good events, and all of them with the bad ones, sample by sample. */
function events({ badShare, bad, good, after = 0, minutes, rate = 5000, rateBefore = rate }: Sloes) {
  const ofSample = rate * minutes;
  const badOnes = Math.round(ofSample * badShare);
  const grown = (whileGood: number, whileBad: number, afterwards: number): string =>
    counter([good, whileGood], [bad, whileBad], ...(after === 0 ? [] : [[after, afterwards] as const]));
  return {
    total: grown(rateBefore * minutes, ofSample, ofSample),
    good: grown(rateBefore * minutes, ofSample - badOnes, ofSample),
    bad: grown(0, badOnes, 0),
  };
}

type SeriesOf = (made: ReturnType<typeof events>) => Case['series'];

const sloCase = (name: string, of: SeriesOf, slo: Sloes): Case => ({
  name,
  samples: slo.good + slo.bad + (slo.after ?? 0),
  minutes: slo.minutes,
  series: of(events(slo)),
});

const QUARTERS_OF_AN_HOUR = { good: 250, minutes: 15 } as const;
const QUIET_DAY = { good: 3 * 96, minutes: 15, rate: 600, rateBefore: 6000 } as const;
/** How many times the budget is spent: what one pair of windows alone finds too much, what none does, and what is over. */
const PAIRS = {
  page: {
    fires: [
      { name: '40 minutes at 25 times the budget', times: 25, of: 16.67, bad: 40, good: 400, minutes: 1 },
      { name: 'five hours at ten times', times: 10, of: 8.333, bad: 20, ...QUARTERS_OF_AN_HOUR },
    ],
    silent: { name: '40 minutes at 20 times, 13 in an hour', times: 20, bad: 40, good: 400, minutes: 1 },
    ended: [
      { name: 'an hour at 25 times, ten minutes ago', times: 25, bad: 50, after: 10, good: 400, minutes: 1 },
      { name: 'five hours at ten times, an hour ago', times: 10, bad: 20, after: 4, ...QUARTERS_OF_AN_HOUR },
    ],
  },
  ticket: {
    fires: [
      { name: 'a quiet day at five times, after busy ones', times: 5, of: 5, bad: 104, ...QUIET_DAY },
      { name: '40 hours at twice the budget', times: 2, of: 1.111, bad: 160, ...QUARTERS_OF_AN_HOUR },
    ],
    silent: { name: '12 hours at 3.5 times', times: 3.5, bad: 48, ...QUARTERS_OF_AN_HOUR },
    ended: [
      { name: 'a quiet day at five times, three hours ago', times: 5, bad: 92, after: 12, ...QUIET_DAY },
      { name: '40 hours at twice, seven hours ago', times: 2, bad: 160, after: 28, ...QUARTERS_OF_AN_HOUR },
    ],
  },
} as const;

/** A share of events as summaries say it: with four digits. */
const percent = (share: number): string => `${Number((100 * share).toPrecision(4))}%`;

/** @param budget the share of bad events that is allowed */
function sloCases(id: string, of: SeriesOf, budget: number, summary: (share: string) => string) {
  const { alert } = SLOS.find((slo) => slo.id === id)!; // a test compares all names
  const cases = (severity: 'page' | 'ticket') => {
    const { fires, silent, ended } = PAIRS[severity];
    const make = ({ name, times, ...slo }: { readonly name: string; readonly times: number } & Volume) =>
      sloCase(name, of, { ...slo, badShare: times * budget });
    const [first, second] = fires.map((one) => ({
      ...make(one),
      summary: summary(percent(one.of * budget)),
    }));
    return {
      fires: [first!, second!], // as many as there are pairs
      // What is over is the same arithmetic for every promise, and takes promtool a while.
      silent: [make(silent), ...(id === SLOS[0]!.id ? ended.map(make) : [])],
    } as const;
  };
  const night = { good: 400, bad: 9, minutes: 1, rate: 1, badShare: 1 } as const;
  const page = cases('page');
  return {
    [`${alert} page`]: {
      ...page,
      silent: [...page.silent, sloCase('nine bad events at night', of, night)],
    },
    [`${alert} ticket`]: cases('ticket'),
  } as const;
}

const IN = 'in millrace-prod';

const SLO_CASES = {
  ...sloCases(
    'accepted',
    ({ good, bad }) => ({
      'millrace_deliveries_total{outcome="accepted"}': good,
      'millrace_deliveries_total{outcome="rejected"}': undefined,
      'millrace_deliveries_total{outcome="failed"}': bad,
    }),
    0.001,
    (share) => `${share} of webhooks were refused with 503 or 500 ${IN}; 0.1 % may be`,
  ),
  ...sloCases(
    'accept_latency',
    ({ total, good }) => ({
      millrace_accept_duration_seconds_count: total,
      'millrace_accept_duration_seconds_bucket{le="0.25"}': good,
    }),
    0.01,
    (share) => `${share} of webhooks were accepted after more than 250 ms ${IN}; 1 % may be`,
  ),
  ...sloCases(
    'start',
    ({ total, good }) => ({
      millrace_execution_start_delay_seconds_count: total,
      'millrace_execution_start_delay_seconds_bucket{le="5"}': good,
    }),
    0.01,
    (share) => `${share} of executions started after more than 5 s ${IN}; 1 % may be`,
  ),
  ...sloCases(
    'platform_failures',
    ({ total, bad }) => ({
      'millrace_executions_total{tenant="default",workflow="orders",outcome="succeeded"}': total,
      'millrace_platform_failures_total{code="worker_lost"}': bad,
    }),
    0.001,
    (share) => `${share} of executions failed through the platform’s fault ${IN}; 0.1 % may be`,
  ),
};

const GONE = '1+0x9';
/** Half an hour of two environments in one Prometheus, in which something happens to one of them. */
const beside = (name: string, series: Case['series']): Case => ({
  name,
  samples: 30,
  minutes: 1,
  series: {
    ...series,
    'up{job="stage-millrace-api",namespace="millrace-stage"}': gauge([30, 1]),
    'up{job="stage-millrace-worker",namespace="millrace-stage"}': gauge([30, 1]),
    'millrace_workers{namespace="millrace-stage"}': gauge([30, 1]),
  },
});

const SPARE = 'millrace_sandbox_pool_size{state="spare"}';
const IDLE = 'millrace_sandbox_pool_size{state="idle"}';
const BUSY = 'millrace_sandbox_pool_size{state="busy"}';
/** As Prometheus has it of cert-manager, which is in a namespace of its own. */
const certificateOf = (name: string): string =>
  `certmanager_certificate_expiration_timestamp_seconds{name="${name}",namespace="cert-manager",exported_namespace="millrace-prod"}`;
/** Two workers with runner pods: each shows those that wait for both. Before, and lately. */
const runnerPods = (
  spare: readonly [number, number],
  idle: readonly [number, number],
  busy: readonly [number, number],
): Readonly<Record<string, ((phases: Phases) => string) | undefined>> => ({
  'millrace_sandbox_driver{driver="gvisor"}': undefined,
  [SPARE]: undefined,
  [IDLE]: undefined,
  [BUSY]: undefined,
  ...Object.fromEntries(
    ['a', 'b'].flatMap((instance) => [
      [`millrace_sandbox_driver{driver="kubernetes",instance="${instance}"}`, from(1, 1)],
      ...Object.entries({ spare, idle, busy }).map(([state, sizes]) => [
        `millrace_sandbox_pool_size{instance="${instance}",state="${state}"}`,
        from(...sizes),
      ]),
    ]),
  ),
});
const volume = (claim: string) => ({
  available: `kubelet_volume_stats_available_bytes{persistentvolumeclaim="${claim}"}`,
  capacity: `kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="${claim}"}`,
});
const { available: AVAILABLE } = volume('data-prod-millrace-postgres-0');
const BACKUPS = volume('prod-millrace-postgres-backups');
/** A claim of somebody else, nearly full. */
const OTHERS = (claim: string): Readonly<Record<string, (phases: Phases) => string>> => ({
  [volume(claim).available]: from(0.1 * GIB, 0.1 * GIB),
  [volume(claim).capacity]: from(10 * GIB, 10 * GIB),
});
const FAILED = 'millrace_executions_total{tenant="default",workflow="orders",outcome="failed"}';
const SUCCEEDED = 'millrace_executions_total{tenant="default",workflow="orders",outcome="succeeded"}';

export const CASES: Readonly<Record<AlertKey, AlertCases>> = {
  ...SLO_CASES,
  'NoApi page': {
    fires: [
      {
        ...lately('the API is down', 3, { 'up{job="prod-millrace-api"}': from(1, 0) }),
        summary: `No API answers Prometheus ${IN}`,
      },
      {
        ...beside('its targets are gone, and there is another environment', {
          'up{job="prod-millrace-api"}': GONE,
        }),
        summary: `No API answers Prometheus ${IN}`,
      },
      {
        ...beside('everything of this environment is gone', {
          ...Object.fromEntries(Object.keys(healthy(1, 1)).map((name) => [name, undefined])),
          'up{job="prod-millrace-api"}': GONE,
          'up{job="prod-millrace-worker"}': GONE,
        }),
        summary: `No API answers Prometheus ${IN}`,
        besides: 'NoWorker page',
      },
      {
        ...lately('there has never been any', 5, {}),
        series: { 'up{job="prod-millrace-api"}': undefined },
        summary: 'No API answers Prometheus',
        isAnywhere: true,
      },
    ],
    silent: [
      lately('the API was away for a minute', 1, { 'up{job="prod-millrace-api"}': from(1, 0) }),
      beside('its targets were gone for a minute', { 'up{job="prod-millrace-api"}': '1+0x9 _x10 1+0x9' }),
      {
        name: 'an environment was taken away more than a day ago',
        samples: (2 * DAY) / 15,
        minutes: 15,
        series: { 'up{job="stage-millrace-api",namespace="millrace-stage"}': '1+0x9' },
      },
    ],
  },
  'NoWorker page': {
    fires: [
      {
        ...lately('nobody reports to the database; the queue grows old', 10, {
          millrace_workers: from(3, 0),
          millrace_queue_oldest_age_seconds: from(0, 500),
          millrace_outbox_oldest_age_seconds: from(0, 500),
          millrace_active_executions: from(5, 0),
          [SPARE]: from(3, 0),
          [IDLE]: from(4, 0),
          [BUSY]: from(2, 0),
        }),
        summary: `No worker takes executions ${IN}`,
      },
      {
        ...beside('nobody tells how many there are, and their targets are gone', {
          millrace_workers: GONE,
          'up{job="prod-millrace-worker"}': GONE,
        }),
        summary: `No worker takes executions ${IN}`,
      },
      {
        ...beside('nobody tells how many there are, and none answers', {
          millrace_workers: GONE,
          'up{job="prod-millrace-worker"}': gauge([10, 1], [20, 0]),
        }),
        summary: `No worker takes executions ${IN}`,
      },
    ],
    silent: [
      lately('one is left', 10, { millrace_workers: from(3, 1) }),
      beside('nobody tells how many there are while the database is away, and they answer', {
        millrace_workers: GONE,
      }),
      beside('Prometheus does not see them, but the API does', { 'up{job="prod-millrace-worker"}': GONE }),
    ],
  },
  'QueueAging page': {
    fires: [
      {
        ...lately('something has waited for ten minutes', 6, {
          millrace_queue_oldest_age_seconds: from(0, 600),
        }),
        summary: `An execution has waited for a worker for 10m 0s ${IN}`,
      },
    ],
    silent: [
      lately('two minutes are allowed', 20, { millrace_queue_oldest_age_seconds: from(0, 119) }),
      lately('a wave is over in four minutes', 4, { millrace_queue_oldest_age_seconds: from(0, 600) }),
    ],
  },
  'SandboxPoolEmpty page': {
    fires: [
      {
        ...lately('all sandboxes are gone', 4, {
          [SPARE]: from(3, 0),
          [IDLE]: from(4, 0),
          [BUSY]: from(2, 0),
        }),
        summary: `No sandbox can be had ${IN}`,
      },
      {
        ...lately('all runner pods are gone', 4, runnerPods([3, 0], [4, 0], [2, 0])),
        summary: `No sandbox can be had ${IN}`,
      },
    ],
    silent: [
      lately('runner pods wait, and no worker has one', 30, runnerPods([3, 3], [4, 0], [2, 0])),
      lately('one is busy', 4, { [SPARE]: from(3, 0), [IDLE]: from(4, 0), [BUSY]: from(2, 1) }),
      {
        name: 'workers that have no driver fail code steps',
        samples: 40,
        minutes: 1,
        series: {
          [SPARE]: gauge([40, 0]),
          [IDLE]: gauge([40, 0]),
          [BUSY]: gauge([40, 0]),
          'millrace_sandbox_driver{driver="gvisor"}': undefined,
          'millrace_sandbox_driver{driver="none"}': gauge([40, 1]),
          'millrace_platform_failures_total{code="no_sandbox"}': counter([30, 0], [4, 1], [6, 0]),
        },
      },
      lately('nobody ever wanted one', 30, { [SPARE]: from(0, 0), [IDLE]: from(0, 0), [BUSY]: from(0, 0) }),
    ],
  },
  'SandboxSparesMissing ticket': {
    fires: [
      {
        ...lately('spares are gone for 31 minutes', 31, { [SPARE]: from(3, 0) }),
        summary: `No spare sandbox was ready for half an hour ${IN}`,
      },
      {
        ...lately('no runner pod waits for 31 minutes', 31, runnerPods([3, 0], [4, 4], [2, 2])),
        summary: `No spare sandbox was ready for half an hour ${IN}`,
      },
    ],
    silent: [
      lately('one runner pod waits', 60, runnerPods([3, 1], [4, 4], [2, 2])),
      lately('they are used up for a while', 20, { [SPARE]: from(3, 0) }),
      lately('none is kept', 60, { [SPARE]: from(0, 0) }),
    ],
  },
  'LeaseLosses ticket': {
    fires: [
      {
        ...lately('eight executions change hands', 30, {
          'millrace_lease_losses_total{side="taken_over"}': from(0, 8),
        }),
        summary: `8 executions were taken over from a lost worker within an hour ${IN}`,
      },
    ],
    silent: [
      lately('one worker with five dies', 30, {
        'millrace_lease_losses_total{side="taken_over"}': from(0, 4),
      }),
    ],
  },
  'RedisGone ticket': {
    fires: [
      {
        ...lately('the workers have lost it', 6, {
          'millrace_redis_up{job="prod-millrace-worker"}': from(1, 0),
        }),
        summary: `Redis cannot be used by one process or more ${IN}`,
      },
    ],
    silent: [
      lately('it was restarted', 4, { 'millrace_redis_up{job="prod-millrace-worker"}': from(1, 0) }),
      {
        ...lately('there is none', 20, {}),
        series: {
          'millrace_redis_up{job="prod-millrace-worker"}': undefined,
          'millrace_redis_up{job="prod-millrace-api"}': undefined,
        },
      },
    ],
  },
  'OutboxStuck ticket': {
    fires: [
      {
        ...lately('something was never claimed though there is room', 6, {
          millrace_outbox_oldest_age_seconds: from(0, 90),
        }),
        summary: `An accepted execution has not been found by any worker for 1m 30s ${IN}`,
      },
    ],
    silent: [
      lately('the workers are busy', 20, {
        millrace_outbox_oldest_age_seconds: from(0, 90),
        millrace_active_executions: from(5, 30),
      }),
    ],
  },
  'DatabasePoolExhausted ticket': {
    fires: [
      {
        ...lately('ten callers wait', 6, {
          'millrace_database_pool_connections{pool="ingest",state="waiting"}': from(0, 10),
        }),
        summary: `10 callers wait for a connection of the pool ingest ${IN}`,
        labels: { pool: 'ingest' },
      },
    ],
    silent: [
      lately('they wait for a moment', 3, {
        'millrace_database_pool_connections{pool="ingest",state="waiting"}': from(0, 10),
      }),
    ],
  },
  'ClockSkew ticket': {
    fires: [
      {
        ...lately('a clock is behind', 6, { millrace_clock_skew_seconds: from(0, -15) }),
        summary: `A clock and PostgreSQL’s are 15s apart ${IN}`,
      },
    ],
    silent: [lately('a few seconds', 20, { millrace_clock_skew_seconds: from(0, 8) })],
  },
  'CertificateExpiry page': {
    fires: [
      {
        ...lately('it ends tomorrow', 70, {
          'millrace_certificate_expiry_timestamp_seconds{name="gateway"}': from(86_400, 86_400),
        }),
        summary: `The certificate gateway expires in 22h 41m 0s ${IN}`,
        labels: { name: 'gateway' },
      },
      {
        ...lately('cert-manager has not renewed it, and ends tomorrow', 70, {
          [certificateOf('prod-millrace-webhooks-tls')]: from(86_400, 86_400),
        }),
        summary: `The certificate prod-millrace-webhooks-tls expires in 22h 41m 0s ${IN}`,
        labels: { name: 'prod-millrace-webhooks-tls' },
      },
    ],
    silent: [
      lately(
        'cert-manager renewed it, has not issued another yet, and has one of somebody else’s that ends',
        70,
        {
          [certificateOf('millrace-webhooks-tls')]: from(86_400, 90 * 86_400),
          [certificateOf('millrace-api-tls')]: from(0, 0),
          [certificateOf('grafana-tls')]: from(86_400, 86_400),
        },
      ),
      lately('it was renewed', 70, {
        'millrace_certificate_expiry_timestamp_seconds{name="gateway"}': from(86_400, 90 * 86_400),
      }),
    ],
  },
  'CertificateExpiry ticket': {
    fires: [
      {
        ...lately('it ends in ten days', 70, {
          'millrace_certificate_expiry_timestamp_seconds{name="gateway"}': from(864_000, 864_000),
        }),
        summary: `The certificate gateway expires in 9d 22h 41m 0s ${IN}`,
        labels: { name: 'gateway' },
      },
      {
        ...lately(
          'cert-manager, whose namespace Prometheus leaves alone, has one that ends in ten days',
          70,
          {
            'certmanager_certificate_expiration_timestamp_seconds{name="millrace-api-tls"}': from(
              864_000,
              864_000,
            ),
          },
        ),
        summary: `The certificate millrace-api-tls expires in 9d 22h 41m 0s ${IN}`,
        labels: { name: 'millrace-api-tls' },
      },
    ],
    silent: [
      lately('it ends in three weeks', 70, {
        'millrace_certificate_expiry_timestamp_seconds{name="gateway"}': from(21 * 86_400, 21 * 86_400),
      }),
    ],
  },
  'DatabaseDiskFull page': {
    fires: [
      {
        ...lately('3 % are left', 6, { [AVAILABLE]: from(8 * GIB, 0.3 * GIB) }),
        summary: 'The volume data-prod-millrace-postgres-0 has 3% left in millrace-prod',
        labels: { persistentvolumeclaim: 'data-prod-millrace-postgres-0' },
      },
    ],
    silent: [
      lately('6 % are left', 6, { [AVAILABLE]: from(8 * GIB, 0.6 * GIB) }),
      lately('the volumes of another database, and of another program with a name like it', 70, {
        ...OTHERS('data-orders-postgres-0'),
        ...OTHERS('data-prod-millrace-postgres-exporter'),
      }),
    ],
  },
  'DatabaseDiskFull ticket': {
    fires: [
      {
        ...lately('15 % are left', 61, { [AVAILABLE]: from(8 * GIB, 1.5 * GIB) }),
        summary: 'The volume data-prod-millrace-postgres-0 has 15% left in millrace-prod',
        labels: { persistentvolumeclaim: 'data-prod-millrace-postgres-0' },
      },
    ],
    silent: [lately('a quarter is left', 61, { [AVAILABLE]: from(8 * GIB, 2.5 * GIB) })],
  },
  'BackupDiskFull ticket': {
    fires: [
      {
        name: '10 % were left at the end of the last backup, some hours ago',
        samples: 2 * 96,
        minutes: 15,
        series: {
          [BACKUPS.available]: `_x100 ${0.8 * GIB}+0x1 _x90`,
          [BACKUPS.capacity]: `_x100 ${8 * GIB}+0x1 _x90`,
        },
        summary: `The volume prod-millrace-postgres-backups has 10% left ${IN}`,
        labels: { persistentvolumeclaim: 'prod-millrace-postgres-backups' },
      },
    ],
    silent: [
      {
        name: 'half is left',
        samples: 2 * 96,
        minutes: 15,
        series: {
          [BACKUPS.available]: `_x100 ${4 * GIB}+0x1 _x90`,
          [BACKUPS.capacity]: `_x100 ${8 * GIB}+0x1 _x90`,
        },
      },
      lately('it is the data’s volume that is at a quarter', 70, { [AVAILABLE]: from(8 * GIB, 2.5 * GIB) }),
    ],
  },
  'DatabaseGrowth ticket': {
    fires: [
      {
        name: '5 GiB more every day',
        samples: (2 * DAY) / 15,
        minutes: 15,
        series: {
          millrace_database_bytes: `${20 * GIB}+${Math.round((5 * GIB * 15) / DAY)}x${(2 * DAY) / 15 - 1}`,
        },
        summary: `The database will have doubled within two weeks, to 99.95GiB ${IN}`,
      },
    ],
    silent: [
      {
        name: '1 GiB more every day',
        samples: (2 * DAY) / 15,
        minutes: 15,
        series: {
          millrace_database_bytes: `${20 * GIB}+${Math.round((GIB * 15) / DAY)}x${(2 * DAY) / 15 - 1}`,
        },
      },
      {
        name: 'a small one doubles',
        samples: (2 * DAY) / 15,
        minutes: 15,
        series: { millrace_database_bytes: `${GIB}+${Math.round((GIB * 15) / DAY)}x${(2 * DAY) / 15 - 1}` },
      },
    ],
  },
  'PartitionGrowth ticket': {
    fires: [
      {
        name: 'three times as much as a week ago',
        samples: (8 * DAY) / 15,
        minutes: 15,
        series: {
          'millrace_table_partition_bytes{table="execution"}': gauge(
            [(7 * DAY) / 15, 4 * GIB],
            [DAY / 15, 12 * GIB],
          ),
        },
        summary: `The table execution has 12GiB, twice as much as a week ago ${IN}`,
        labels: { table: 'execution' },
      },
    ],
    silent: [
      {
        name: 'half as much again',
        samples: (8 * DAY) / 15,
        minutes: 15,
        series: {
          'millrace_table_partition_bytes{table="execution"}': gauge(
            [(7 * DAY) / 15, 8 * GIB],
            [DAY / 15, 12 * GIB],
          ),
        },
      },
    ],
  },
  'DefaultPartitionRows ticket': {
    fires: [
      {
        ...lately('seven rows', 11, { millrace_default_partition_rows: from(0, 7) }),
        summary: `7 rows lie outside of all dated partitions ${IN}`,
      },
    ],
    silent: [lately('none', 11, { millrace_default_partition_rows: from(0, 0) })],
  },
  'PartitionsOverdue ticket': {
    fires: [
      {
        name: 'for more than two days',
        samples: (3 * DAY) / 15,
        minutes: 15,
        series: { millrace_partitions_overdue: gauge([(3 * DAY) / 15, 4]) },
        summary: `4 partitions are older than RETENTION and cannot be dropped ${IN}`,
      },
    ],
    silent: [
      {
        name: 'for a day',
        samples: (3 * DAY) / 15,
        minutes: 15,
        series: { millrace_partitions_overdue: gauge([(2 * DAY) / 15, 0], [DAY / 15, 4]) },
      },
    ],
  },
  'WorkflowFailing owner': {
    fires: [
      {
        name: 'one of four fails',
        samples: 90,
        minutes: 1,
        series: { [FAILED]: counter([20, 0], [70, 1]), [SUCCEEDED]: counter([20, 0], [70, 3]) },
        summary: '25% of the executions of orders failed within an hour',
        labels: { tenant: 'default', workflow: 'orders' },
        annotations: { ratio: '0.25' },
      },
      {
        name: 'one that runs every night fails, for the first time in its worker',
        samples: 90,
        minutes: 1,
        series: { [FAILED]: '_x60 1+0x29', [SUCCEEDED]: undefined },
        summary: '100% of the executions of orders failed within an hour',
        labels: { tenant: 'default', workflow: 'orders' },
        annotations: { ratio: '1' },
      },
      {
        name: 'and again in the next night',
        samples: 98,
        minutes: 15,
        series: { [FAILED]: gauge([96, 1], [2, 2]), [SUCCEEDED]: undefined },
        summary: '100% of the executions of orders failed within an hour',
        labels: { tenant: 'default', workflow: 'orders' },
        annotations: { ratio: '1' },
      },
    ],
    silent: [
      {
        name: 'it failed, and that was more than an hour ago',
        samples: 160,
        minutes: 1,
        series: { [FAILED]: gauge([60, 0], [100, 3]), [SUCCEEDED]: counter([160, 1]) },
      },
      {
        name: 'failures of long ago are seen again after an outage of Prometheus',
        samples: 160,
        minutes: 1,
        series: { [FAILED]: '7+0x79 _x20 7+0x59', [SUCCEEDED]: counter([160, 1]) },
      },
    ],
  },
};
