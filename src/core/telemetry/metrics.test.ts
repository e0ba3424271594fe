import { describe, expect, test } from 'vitest';
import { STEP_KINDS } from '../definition/types.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createWorkflowLabels, type WorkflowLabels } from './workflow-labels.ts';

const OPEN_METRICS = 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1';
const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736';

const textOf = async (metrics: Metrics, accept?: string): Promise<string> =>
  (await metrics.registry.page(accept)).body;

/** The series (name and labels) of a metric. */
const seriesOf = async (metrics: Metrics, name: string): Promise<readonly string[]> =>
  (await textOf(metrics))
    .split('\n')
    .filter((line) => line.startsWith(`millrace_${name}`))
    .map((line) => line.slice(0, line.lastIndexOf(' ')));

/** As the engine tells of an execution of one step. */
function runOne(metrics: Metrics, tenant: string, workflow: string): void {
  const label = metrics.workflows.note(tenant, workflow);
  const of = { tenant: label.tenant, workflow: label.workflow };
  metrics.stepDuration.observe({ ...of, kind: 'transform', outcome: 'succeeded' }, 0.001);
  metrics.executions.inc({ ...of, outcome: 'succeeded' });
  metrics.executionDuration.observe(of, 0.01);
}

/** Of one tenant with one workflow. */
const createLabels = (ended: string[], now: () => number): WorkflowLabels =>
  createWorkflowLabels({
    maxTenants: 1,
    maxWorkflowsPerTenant: 1,
    onHidden: ({ tenant, workflow }) => void ended.push(`${tenant}/${workflow}`),
    now,
  });

describe('the page of metrics', () => {
  test('is text for whoever does not ask for OpenMetrics', async () => {
    const metrics = createMetrics();
    for (const accept of [undefined, '*/*', 'text/plain', 'application/openmetrics-text;q=0, text/plain']) {
      const { contentType, body } = await metrics.registry.page(accept);
      expect(contentType).toBe('text/plain; version=0.0.4; charset=utf-8');
      expect(body).not.toContain('# EOF');
    }
  });

  test('has the same samples in both formats, one after the other', async () => {
    const metrics = createMetrics();
    metrics.deliveries.inc({ outcome: 'accepted' }, 3);
    metrics.httpRequestDuration.observe({ route: '/hooks', status: '202' }, 0.004, TRACE_ID);
    for (let n = 0; n < 2; n++) {
      const text = await textOf(metrics);
      expect(text).toContain('# TYPE millrace_deliveries_total counter\n');
      expect(text).toContain('millrace_deliveries_total{outcome="accepted"} 3\n');
      expect(text).toContain('process_cpu_seconds_total');
      expect(text).not.toContain(TRACE_ID);
      const { contentType, body } = await metrics.registry.page(OPEN_METRICS);
      expect(contentType).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8');
      expect(body).toContain('# TYPE millrace_deliveries counter\n');
      expect(body).toContain('millrace_deliveries_total{outcome="accepted"} 3\n');
      expect(body).toContain('# TYPE process_cpu_seconds counter\n');
      expect(body.endsWith('# EOF\n')).toBe(true);
    }
  });

  test('has the trace of an observation beside its bucket', async () => {
    const metrics = createMetrics();
    metrics.executionStartDelay.observe({}, 0.02, TRACE_ID);
    metrics.executionStartDelay.observe({}, 0.02);
    expect(await textOf(metrics, OPEN_METRICS)).toMatch(
      new RegExp(
        `^millrace_execution_start_delay_seconds_bucket\\{le="0.025"\\} 2 # \\{trace_id="${TRACE_ID}"\\} 0.02 \\d`,
        'm',
      ),
    );
  });

  test('has every metric from the start, and no sample of what nobody has measured', async () => {
    const metrics = createMetrics();
    const text = await textOf(metrics);
    for (const { name, type } of metrics.catalog) expect(text).toContain(`# TYPE ${name} ${type}\n`);
    expect(await seriesOf(metrics, 'queue_depth')).toEqual([]);
    expect(await seriesOf(metrics, 'redis_up')).toEqual([]);
  });

  test('has 0 for every outcome that may come, so that the first one is an increase', async () => {
    const metrics = createMetrics();
    const text = await textOf(metrics);
    expect(text).toContain('millrace_deliveries_total{outcome="failed"} 0\n');
    expect(text).toContain('millrace_platform_failures_total{code="worker_lost"} 0\n');
    expect(text).toContain('millrace_lease_losses_total{side="lost"} 0\n');
  });

  test('reads what is only known when somebody asks', async () => {
    const metrics = createMetrics();
    const stop = metrics.registry.onPage(() => metrics.leaseOldestAge.set(7));
    expect(await textOf(metrics)).toContain('millrace_lease_oldest_age_seconds 7\n');
    metrics.leaseOldestAge.set(0);
    stop();
    expect(await textOf(metrics)).toContain('millrace_lease_oldest_age_seconds 0\n');
  });
});

describe('the labels of workflows', () => {
  test('are the names of 200 workflows of a tenant, though 1,000 run', async () => {
    const metrics = createMetrics();
    for (let n = 0; n < 1000; n++) runOne(metrics, 'shop', `workflow-${n}`);
    const series = await seriesOf(metrics, 'executions_total');
    expect(series).toHaveLength(201);
    expect(series).toContain('millrace_executions_total{tenant="shop",workflow="other",outcome="succeeded"}');
    expect(series).toContain(
      'millrace_executions_total{tenant="shop",workflow="workflow-0",outcome="succeeded"}',
    );
    expect(await seriesOf(metrics, 'step_duration_seconds_count')).toHaveLength(201);
    expect(await textOf(metrics)).toContain(
      'millrace_executions_total{tenant="shop",workflow="other",outcome="succeeded"} 800\n',
    );
  });

  test('have an upper bound whatever tenants and workflows there are', async () => {
    const metrics = createMetrics();
    for (let tenant = 0; tenant < 100; tenant++) {
      for (let n = 0; n < 100; n++) runOne(metrics, `tenant-${tenant}`, `workflow-${n}`);
    }
    const series = await seriesOf(metrics, 'executions_total');
    const tenants = new Set(series.map((one) => /tenant="([^"]*)"/.exec(one)?.[1]));
    expect(tenants.size).toBe(51);
    expect(series.length).toBeLessThanOrEqual(2000 + 51);
  });

  test('end with their series when others are more active, and say `other` to whoever still runs', () => {
    let nowMs = 0;
    const ended: string[] = [];
    const labels = createLabels(ended, () => nowMs);
    const before = labels.note('shop', 'quiet');
    expect(before).toMatchObject({ tenant: 'shop', workflow: 'quiet' });
    for (let n = 0; n < 10; n++) expect(labels.note('shop', 'busy').workflow).toBe('other');
    nowMs += 60_000;
    expect(labels.note('shop', 'busy').workflow).toBe('busy');
    expect(before.workflow).toBe('other');
    expect(ended).toEqual(['shop/quiet']);
  });

  test('of a tenant end together, those that still run included', () => {
    let nowMs = 0;
    const ended: string[] = [];
    const labels = createLabels(ended, () => nowMs);
    const kept = labels.note('small', 'a');
    for (let n = 0; n < 10; n++) labels.note('large', 'b');
    nowMs += 60_000;
    labels.note('large', 'b');
    expect(ended).toEqual(['small/a', 'small/other']);
    expect(kept).toMatchObject({ tenant: 'other', workflow: 'other' });
    for (let n = 0; n < 100; n++) labels.note('small', 'c');
    nowMs += 60_000;
    labels.note('small', 'c');
    expect(kept).toMatchObject({ workflow: 'other' });
    expect(labels.note('small', 'c')).toMatchObject({ tenant: 'small', workflow: 'c' });
  });

  test('end all their series', async () => {
    const metrics = createMetrics();
    const label = { tenant: 'shop', workflow: 'old' };
    for (const kind of STEP_KINDS) metrics.stepDuration.observe({ ...label, kind, outcome: 'failed' }, 1);
    for (const outcome of ['succeeded', 'failed', 'cancelled']) metrics.executions.inc({ ...label, outcome });
    metrics.executionDuration.observe(label, 1);
    metrics.endSeries(label);
    expect(await textOf(metrics)).not.toContain('workflow="old"');
  });
});
