import type { Severity } from '../../scripts/monitoring/alerts.ts';
import { SLOS } from '../../scripts/monitoring/slos.ts';
import { counter, gauge, type Phase } from './series.ts';

/** What Prometheus sees instead of what is healthy, until the last sample; undefined: the series is not there. */
export interface Case {
  readonly name: string;
  readonly samples: number;
  /** Minutes between samples, and between evaluations. */
  readonly minutes: 1 | 15;
  readonly series: Readonly<Record<string, string | undefined>>;
  /** The promise it is about: those of others are then not reckoned, which takes most of the time. */
  readonly slo?: string;
}
export interface FiringCase extends Case {
  /** As people read it. */
  readonly summary: string;
  readonly labels?: Readonly<Record<string, string>>;
}
export interface AlertCases {
  readonly fires: FiringCase;
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
  series: Readonly<Record<string, (phases: Phases) => string>>,
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
    series: Object.fromEntries(Object.entries(series).map(([key, make]) => [key, make(phases)])),
  } as const;
};
type Phases = (was: number, is: number) => readonly [Phase, Phase];
const from =
  (was: number, is: number) =>
  (phases: Phases): string =>
    gauge(...phases(was, is));

interface Sloes {
  readonly badShare: number;
  /** Samples with bad events, after those without. */
  readonly bad: number;
  readonly good: number;
  readonly minutes: 1 | 15;
  /** Events a minute. */
  readonly rate?: number;
}
/** Good events, and all of them with the bad ones, sample by sample. */
function events({ badShare, bad, good, minutes, rate = 5000 }: Sloes) {
  const ofSample = rate * minutes;
  const badOnes = Math.round(ofSample * badShare);
  return {
    total: counter([good, ofSample], [bad, ofSample]),
    good: counter([good, ofSample], [bad, ofSample - badOnes]),
    bad: counter([good, 0], [bad, badOnes]),
  };
}

type SeriesOf = (made: ReturnType<typeof events>) => Case['series'];

const sloCase = (id: string, name: string, of: SeriesOf, slo: Sloes): Case => ({
  name,
  slo: id,
  samples: slo.good + slo.bad,
  minutes: slo.minutes,
  series: of(events(slo)),
});

/**
 * @param budget the share of bad events that is allowed
 * @param shares as summaries say them, of page and ticket
 */
function sloCases(
  id: string,
  of: SeriesOf,
  budget: number,
  summary: (share: string) => string,
  shares: readonly [string, string],
) {
  const { alert } = SLOS.find((slo) => slo.id === id)!; // a test compares all names
  const page = { good: 400, bad: 40, minutes: 1 } as const;
  const ticket = { good: 3 * 96, bad: 80, minutes: 15 } as const;
  return {
    [`${alert} page`]: {
      fires: {
        ...sloCase(id, '40 minutes at 25 times the budget', of, { ...page, badShare: 25 * budget }),
        summary: summary(shares[0]),
      },
      silent: [
        sloCase(id, '40 minutes at 20 times, which is 13 times in an hour', of, {
          ...page,
          badShare: 20 * budget,
        }),
        sloCase(id, 'an hour at 25 times that ended ten minutes ago', over(of, 10), {
          good: 400,
          bad: 60,
          minutes: 1,
          badShare: 25 * budget,
        }),
        sloCase(id, 'nine bad events at night', of, { good: 400, bad: 9, minutes: 1, rate: 1, badShare: 1 }),
      ],
    },
    [`${alert} ticket`]: {
      fires: {
        ...sloCase(id, '20 hours at five times the budget', of, { ...ticket, badShare: 5 * budget }),
        summary: summary(shares[1]),
      },
      silent: [
        sloCase(id, '12 hours at 3.5 times the budget', of, { ...ticket, bad: 48, badShare: 3.5 * budget }),
      ],
    },
  } as const;
}

/** The bad events are over since so many samples. */
const over =
  (of: SeriesOf, samples: number): SeriesOf =>
  (made) =>
    Object.fromEntries(
      Object.entries(of(made)).map(([name, values]) => [name, values && endBefore(values, samples)]),
    );

/** Takes so many samples from the last phase, and goes on as the first. */
function endBefore(values: string, samples: number): string {
  const phases = values.split(' ').map((text) => text.split(/[+x]/).map(Number) as [number, number, number]);
  const [, usual] = phases[0]!;
  const [first, growth, repeats] = phases.at(-1)!;
  const rest = repeats - samples;
  const last = first + growth * rest;
  return [
    ...phases.slice(0, -1).map(([start, step, times]) => `${start}+${step}x${times}`),
    `${first}+${growth}x${rest}`,
    `${last + usual}+${usual}x${samples - 1}`,
  ].join(' ');
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
    ['1.667%', '0.4167%'],
  ),
  ...sloCases(
    'accept_latency',
    ({ total, good }) => ({
      millrace_accept_duration_seconds_count: total,
      'millrace_accept_duration_seconds_bucket{le="0.25"}': good,
    }),
    0.01,
    (share) => `${share} of webhooks were accepted after more than 250 ms ${IN}; 1 % may be`,
    ['16.67%', '4.167%'],
  ),
  ...sloCases(
    'start',
    ({ total, good }) => ({
      millrace_execution_start_delay_seconds_count: total,
      'millrace_execution_start_delay_seconds_bucket{le="5"}': good,
    }),
    0.01,
    (share) => `${share} of executions started after more than 5 s ${IN}; 1 % may be`,
    ['16.67%', '4.167%'],
  ),
  ...sloCases(
    'platform_failures',
    ({ total, bad }) => ({
      'millrace_executions_total{tenant="default",workflow="orders",outcome="succeeded"}': total,
      'millrace_platform_failures_total{code="worker_lost"}': bad,
    }),
    0.001,
    (share) => `${share} of executions failed through the platform’s fault ${IN}; 0.1 % may be`,
    ['1.667%', '0.4167%'],
  ),
};

const SPARE = 'millrace_sandbox_pool_size{state="spare"}';
const IDLE = 'millrace_sandbox_pool_size{state="idle"}';
const BUSY = 'millrace_sandbox_pool_size{state="busy"}';
const AVAILABLE =
  'kubelet_volume_stats_available_bytes{persistentvolumeclaim="data-dev-millrace-postgres-0"}';
const FAILED = 'millrace_executions_total{tenant="default",workflow="orders",outcome="failed"}';
const SUCCEEDED = 'millrace_executions_total{tenant="default",workflow="orders",outcome="succeeded"}';

export const CASES: Readonly<Record<AlertKey, AlertCases>> = {
  ...SLO_CASES,
  'NoApi page': {
    fires: {
      ...lately('the API is down', 3, { 'up{job="prod-millrace-api"}': from(1, 0) }),
      summary: `No API answers Prometheus ${IN}`,
    },
    silent: [lately('the API was away for a minute', 1, { 'up{job="prod-millrace-api"}': from(1, 0) })],
  },
  'NoWorker page': {
    fires: {
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
    silent: [lately('one is left', 10, { millrace_workers: from(3, 1) })],
  },
  'QueueAging page': {
    fires: {
      ...lately('something has waited for ten minutes', 6, {
        millrace_queue_oldest_age_seconds: from(0, 600),
      }),
      summary: `An execution has waited for a worker for 10m 0s ${IN}`,
    },
    silent: [
      lately('two minutes are allowed', 20, { millrace_queue_oldest_age_seconds: from(0, 119) }),
      lately('a wave is over in four minutes', 4, { millrace_queue_oldest_age_seconds: from(0, 600) }),
    ],
  },
  'SandboxPoolEmpty page': {
    fires: {
      ...lately('all sandboxes are gone', 4, { [SPARE]: from(3, 0), [IDLE]: from(4, 0), [BUSY]: from(2, 0) }),
      summary: `No sandbox can be had ${IN}`,
    },
    silent: [
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
    fires: {
      ...lately('spares are gone for 31 minutes', 31, { [SPARE]: from(3, 0) }),
      summary: `No spare sandbox was ready for half an hour ${IN}`,
    },
    silent: [
      lately('they are used up for a while', 20, { [SPARE]: from(3, 0) }),
      lately('none is kept', 60, { [SPARE]: from(0, 0) }),
    ],
  },
  'LeaseLosses ticket': {
    fires: {
      ...lately('eight executions change hands', 30, {
        'millrace_lease_losses_total{side="taken_over"}': from(0, 8),
      }),
      summary: `8 executions were taken over from a lost worker within an hour ${IN}`,
    },
    silent: [
      lately('one worker with five dies', 30, {
        'millrace_lease_losses_total{side="taken_over"}': from(0, 4),
      }),
    ],
  },
  'RedisGone ticket': {
    fires: {
      ...lately('the workers have lost it', 6, {
        'millrace_redis_up{job="prod-millrace-worker"}': from(1, 0),
      }),
      summary: `Redis cannot be used by one process or more ${IN}`,
    },
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
    fires: {
      ...lately('something was never claimed though there is room', 6, {
        millrace_outbox_oldest_age_seconds: from(0, 90),
      }),
      summary: `An accepted execution has not been found by any worker for 1m 30s ${IN}`,
    },
    silent: [
      lately('the workers are busy', 20, {
        millrace_outbox_oldest_age_seconds: from(0, 90),
        millrace_active_executions: from(5, 30),
      }),
    ],
  },
  'DatabasePoolExhausted ticket': {
    fires: {
      ...lately('ten callers wait', 6, {
        'millrace_database_pool_connections{pool="ingest",state="waiting"}': from(0, 10),
      }),
      summary: `10 callers wait for a connection of the pool ingest ${IN}`,
      labels: { pool: 'ingest' },
    },
    silent: [
      lately('they wait for a moment', 3, {
        'millrace_database_pool_connections{pool="ingest",state="waiting"}': from(0, 10),
      }),
    ],
  },
  'ClockSkew ticket': {
    fires: {
      ...lately('a clock is behind', 6, { millrace_clock_skew_seconds: from(0, -15) }),
      summary: `A clock and PostgreSQL’s are 15s apart ${IN}`,
    },
    silent: [lately('a few seconds', 20, { millrace_clock_skew_seconds: from(0, 8) })],
  },
  'CertificateExpiry page': {
    fires: {
      ...lately('it ends tomorrow', 70, {
        'millrace_certificate_expiry_timestamp_seconds{name="gateway"}': from(86_400, 86_400),
      }),
      summary: `The certificate gateway expires in 22h 41m 0s ${IN}`,
      labels: { name: 'gateway' },
    },
    silent: [
      lately('it was renewed', 70, {
        'millrace_certificate_expiry_timestamp_seconds{name="gateway"}': from(86_400, 90 * 86_400),
      }),
    ],
  },
  'CertificateExpiry ticket': {
    fires: {
      ...lately('it ends in ten days', 70, {
        'millrace_certificate_expiry_timestamp_seconds{name="gateway"}': from(864_000, 864_000),
      }),
      summary: `The certificate gateway expires in 9d 22h 41m 0s ${IN}`,
      labels: { name: 'gateway' },
    },
    silent: [
      lately('it ends in three weeks', 70, {
        'millrace_certificate_expiry_timestamp_seconds{name="gateway"}': from(21 * 86_400, 21 * 86_400),
      }),
    ],
  },
  'DatabaseDiskFull page': {
    fires: {
      ...lately('3 % are left', 6, { [AVAILABLE]: from(8 * GIB, 0.3 * GIB) }),
      summary: 'The volume data-dev-millrace-postgres-0 has 3% left',
      labels: { persistentvolumeclaim: 'data-dev-millrace-postgres-0' },
    },
    silent: [lately('6 % are left', 6, { [AVAILABLE]: from(8 * GIB, 0.6 * GIB) })],
  },
  'DatabaseDiskFull ticket': {
    fires: {
      ...lately('15 % are left', 61, { [AVAILABLE]: from(8 * GIB, 1.5 * GIB) }),
      summary: 'The volume data-dev-millrace-postgres-0 has 15% left',
      labels: { persistentvolumeclaim: 'data-dev-millrace-postgres-0' },
    },
    silent: [lately('a quarter is left', 61, { [AVAILABLE]: from(8 * GIB, 2.5 * GIB) })],
  },
  'DatabaseGrowth ticket': {
    fires: {
      name: '5 GiB more every day',
      samples: (2 * DAY) / 15,
      minutes: 15,
      series: {
        millrace_database_bytes: `${20 * GIB}+${Math.round((5 * GIB * 15) / DAY)}x${(2 * DAY) / 15 - 1}`,
      },
      summary: `The database will have doubled within two weeks, to 99.95GiB ${IN}`,
    },
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
    fires: {
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
    fires: {
      ...lately('seven rows', 11, { millrace_default_partition_rows: from(0, 7) }),
      summary: `7 rows lie outside of all dated partitions ${IN}`,
    },
    silent: [lately('none', 11, { millrace_default_partition_rows: from(0, 0) })],
  },
  'PartitionsOverdue ticket': {
    fires: {
      name: 'for more than two days',
      samples: (3 * DAY) / 15,
      minutes: 15,
      series: { millrace_partitions_overdue: gauge([(3 * DAY) / 15, 4]) },
      summary: `4 partitions are older than RETENTION and cannot be dropped ${IN}`,
    },
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
    fires: {
      name: 'one of four fails',
      samples: 90,
      minutes: 1,
      series: { [FAILED]: counter([20, 0], [70, 1]), [SUCCEEDED]: counter([20, 0], [70, 3]) },
      summary: '25% of the executions of orders failed within an hour',
      labels: { tenant: 'default', workflow: 'orders' },
    },
    silent: [
      {
        name: 'two failures are none',
        samples: 90,
        minutes: 1,
        series: { [FAILED]: counter([60, 0], [2, 1], [28, 0]), [SUCCEEDED]: counter([90, 1]) },
      },
      {
        name: 'one of five hundred fails',
        samples: 90,
        minutes: 1,
        series: { [FAILED]: counter([90, 1]), [SUCCEEDED]: counter([90, 499]) },
      },
    ],
  },
};
