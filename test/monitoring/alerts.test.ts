import { describe, expect, it, vi } from 'vitest';
import { stringify } from 'yaml';
import { ALERTS, type Alert } from '../../scripts/monitoring/alerts.ts';
import { ruleGroups, RUNBOOKS, sloGroup } from '../../scripts/monitoring/rules.ts';
import { ruleFile } from '../../scripts/write-monitoring.ts';
import { promtool } from '../support/promtool.ts';
import { CASES, type AlertKey, type Case, type FiringCase } from './cases.ts';
import { healthy, inNamespace, NAMESPACE } from './series.ts';

// Days of samples take promtool a while on a busy machine; two at a time, this is not the file that all others wait for.
vi.setConfig({ testTimeout: 120_000, maxConcurrency: 2 });

const GROUPS = ruleGroups();
/** With the promise that a case is about, or all of them. */
const groupsOf = ({ slo }: Case) =>
  GROUPS.filter(
    ({ name }) => slo === undefined || !name.startsWith('millrace-slo-') || name === sloGroup(slo),
  );
const keyOf = ({ name, severity }: Alert): AlertKey => `${name} ${severity}`;

/** What fires at the end of a case, and nothing else does. */
type Expected = { readonly alert: Alert } & FiringCase;

async function check(one: Case, expected: Expected | undefined): Promise<void> {
  const { samples, minutes } = one;
  const series = inNamespace(
    Object.fromEntries(
      Object.entries({ ...healthy(samples, minutes), ...one.series }).flatMap(([name, values]) =>
        values === undefined ? [] : [[name, values]],
      ),
    ),
  );
  const eval_time = `${(samples - 1) * minutes}m`;
  const firing = expected && [keyOf(expected.alert), expected.besides].flatMap(sampleOf);
  const { ok, output } = await promtool(['test', 'rules', 'test.yaml'], {
    'rules.yaml': ruleFile(groupsOf(one)),
    'test.yaml': stringify({
      rule_files: ['rules.yaml'],
      evaluation_interval: `${minutes}m`,
      group_eval_order: groupsOf(one).map(({ name }) => name),
      tests: [
        {
          interval: `${minutes}m`,
          input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
          promql_expr_test: [
            {
              expr: 'count by (alertname, severity) (ALERTS{alertstate="firing"})',
              eval_time,
              exp_samples: firing ?? [],
            },
          ],
          alert_rule_test: expected && [
            { eval_time, alertname: expected.alert.name, exp_alerts: [alertOf(expected)] },
          ],
        },
      ],
    }),
  });
  expect(ok, output).toBe(true);
}

/** What `count by (alertname, severity)` has of it. */
function sampleOf(key: AlertKey | undefined) {
  const [name, severity] = key?.split(' ') ?? [];
  return name === undefined ? [] : [{ labels: `{alertname="${name}", severity="${severity}"}`, value: 1 }];
}

const alertOf = ({ alert, summary, labels = {}, annotations, isAnywhere }: Expected) => ({
  exp_labels: {
    ...(alert.severity === 'owner' || !alert.expr(String).includes('slo=') ? {} : { slo: sloOf(alert) }),
    ...(!isAnywhere && { namespace: NAMESPACE }),
    severity: alert.severity,
    service: 'millrace',
    ...labels,
  },
  exp_annotations: {
    summary,
    description: described(alert, labels),
    runbook_url: `${RUNBOOKS}/${alert.name}.md`,
    ...annotations,
  },
});

const sloOf = (alert: Alert): string => /slo="(\w+)"/.exec(alert.expr(String))![1]!;
const described = ({ description }: Alert, labels: Readonly<Record<string, string>>): string =>
  description.replaceAll(/\{\{ \$labels\.(\w+) \}\}/g, (_, label: string) => labels[label] ?? '');

describe('the cases', () => {
  it('make each alert fire, and keep each silent', () => {
    expect(Object.keys(CASES).toSorted()).toEqual(ALERTS.map(keyOf).toSorted());
    for (const { silent } of Object.values(CASES)) expect(silent.length).toBeGreaterThan(0);
  });
});

describe('while all is well', () => {
  it('nothing fires', async () => {
    await check({ name: 'a day', samples: 96, minutes: 15, series: {} }, undefined);
  });
});

describe.concurrent.each(ALERTS.map((alert) => ({ key: keyOf(alert), alert })))('$key', ({ key, alert }) => {
  const { fires, silent } = CASES[key] ?? { fires: [], silent: [] };
  it.each(fires)('fires, and nothing else does: $name', async (one) => {
    await check(one, { alert, ...one });
  });
  it.each(silent)('is silent: $name', async (one) => {
    await check(one, undefined);
  });
});

it.each([
  ['gvisor', 6, 'each worker has its own'],
  ['kubernetes', 3, 'every worker shows those that wait for all'],
])('spares with the driver %s are %i: %s', async (driver, spares) => {
  const series = ['a', 'b'].flatMap((instance) => [
    { series: `millrace_sandbox_driver{driver="${driver}",instance="${instance}"}`, values: '1' },
    { series: `millrace_sandbox_pool_size{state="spare",instance="${instance}"}`, values: '3' },
    { series: `millrace_sandbox_pool_size{state="idle",instance="${instance}"}`, values: '1' },
    { series: `millrace_sandbox_pool_size{state="busy",instance="${instance}"}`, values: '2' },
  ]);
  const sampleOf = (record: string, value: number) => ({
    expr: record,
    eval_time: '0m',
    exp_samples: [{ labels: `{__name__="${record}"}`, value }],
  });
  const { ok, output } = await promtool(['test', 'rules', 'test.yaml'], {
    'rules.yaml': ruleFile(GROUPS),
    'test.yaml': stringify({
      rule_files: ['rules.yaml'],
      evaluation_interval: '1m',
      tests: [
        {
          interval: '1m',
          input_series: series,
          promql_expr_test: [
            sampleOf('millrace:sandboxes:spare', spares),
            sampleOf('millrace:sandboxes:usable', spares + 6),
          ],
        },
      ],
    }),
  });
  expect(ok, output).toBe(true);
});
