/** Series by their name with labels, and their samples in the notation of `promtool test rules`. */
export type Series = Readonly<Record<string, string>>;

/** So many samples: each the same, or each so much more than the one before. */
export type Phase = readonly [samples: number, value: number];

export const gauge = (...phases: readonly Phase[]): string =>
  phases.map(([samples, value]) => `${value}+0x${samples - 1}`).join(' ');

/** A counter that grows by each phase's value with each sample. */
export function counter(...phases: readonly Phase[]): string {
  let last = 0;
  return phases
    .map(([samples, growth]) => {
      const first = last + growth;
      last += growth * samples;
      return `${first}+${growth}x${samples - 1}`;
    })
    .join(' ');
}

const GIB = 1024 ** 3;
const DAY = 86_400;

/** Everything as it should be, for so many samples of so many minutes, in a namespace. */
export function healthy(samples: number, minutes: number): Series {
  const flat = (value: number): string => gauge([samples, value]);
  const growing = (perMinute: number): string => counter([samples, perMinute * minutes]);
  const all: Record<string, string> = {
    'up{job="prod-millrace-api"}': flat(1),
    'up{job="prod-millrace-worker"}': flat(1),
    'millrace_deliveries_total{outcome="accepted"}': growing(5000),
    'millrace_deliveries_total{outcome="rejected"}': growing(10),
    'millrace_deliveries_total{outcome="shed"}': flat(0),
    'millrace_deliveries_total{outcome="failed"}': flat(0),
    millrace_accept_duration_seconds_count: growing(5000),
    'millrace_accept_duration_seconds_bucket{le="0.25"}': growing(5000),
    millrace_execution_start_delay_seconds_count: growing(5000),
    'millrace_execution_start_delay_seconds_bucket{le="5"}': growing(5000),
    'millrace_executions_total{tenant="default",workflow="orders",outcome="succeeded"}': growing(5000),
    'millrace_executions_total{tenant="default",workflow="orders",outcome="failed"}': flat(0),
    'millrace_platform_failures_total{code="worker_lost"}': flat(0),
    'millrace_platform_failures_total{code="no_sandbox"}': flat(0),
    millrace_workers: flat(3),
    millrace_queue_oldest_age_seconds: flat(0.2),
    millrace_outbox_oldest_age_seconds: flat(0.1),
    millrace_active_executions: flat(5),
    millrace_worker_slots: flat(30),
    'millrace_sandbox_driver{driver="gvisor"}': flat(1),
    'millrace_sandbox_pool_size{state="spare"}': flat(3),
    'millrace_sandbox_pool_size{state="starting"}': flat(0),
    'millrace_sandbox_pool_size{state="idle"}': flat(4),
    'millrace_sandbox_pool_size{state="busy"}': flat(2),
    'millrace_lease_losses_total{side="taken_over"}': flat(0),
    'millrace_redis_up{job="prod-millrace-api"}': flat(1),
    'millrace_redis_up{job="prod-millrace-worker"}': flat(1),
    'millrace_database_pool_connections{pool="ingest",state="waiting"}': flat(0),
    millrace_clock_skew_seconds: flat(0.02),
    'millrace_certificate_expiry_timestamp_seconds{name="gateway"}': flat(60 * DAY),
    millrace_database_bytes: flat(20 * GIB),
    'millrace_table_partition_bytes{table="execution"}': flat(8 * GIB),
    millrace_default_partition_rows: flat(0),
    millrace_partitions_overdue: flat(0),
    'kubelet_volume_stats_available_bytes{persistentvolumeclaim="data-prod-millrace-postgres-0"}': flat(
      8 * GIB,
    ),
    'kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="data-prod-millrace-postgres-0"}': flat(
      10 * GIB,
    ),
  };
  return all;
}

export const NAMESPACE = 'millrace-prod';

/** The same series, of one namespace where they name none. */
export const inNamespace = (series: Series): Series =>
  Object.fromEntries(
    Object.entries(series).map(([name, values]) => {
      const label = `namespace="${NAMESPACE}"`;
      if (/[{,]namespace=/.test(name)) return [name, values];
      return [name.includes('{') ? name.replace('{', `{${label},`) : `${name}{${label}}`, values];
    }),
  );
