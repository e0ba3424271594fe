import { describe, expect, it, vi } from 'vitest';
import { stringify } from 'yaml';
import { ALERTS, type Alert } from '../../scripts/monitoring/alerts.ts';
import { ruleGroups, RUNBOOKS, type Rule, type RuleGroup } from '../../scripts/monitoring/rules.ts';
import { ruleFile } from '../../scripts/write-monitoring.ts';
import { promtool } from '../support/promtool.ts';
import { CASES, type AlertKey, type Case, type FiringCase } from './cases.ts';
import { metricsOf } from './expressions.ts';
import { healthy, inNamespace, NAMESPACE, type Series } from './series.ts';

// Days of samples take promtool a while on a busy machine; two at a time, this is not the file that all others wait for.
vi.setConfig({ testTimeout: 120_000, maxConcurrency: 2 });

const GROUPS = ruleGroups();
const RULES = GROUPS.flatMap(({ rules }) => rules);

/** Whether a rule reads what another records; of a promise's records only those of the promise that it asks for. */
function reads({ expr }: Rule, other: Rule): boolean {
  if (!('record' in other) || !metricsOf(expr).has(other.record)) return false;
  const slo = other.labels?.slo;
  return slo === undefined || !expr.includes('slo="') || expr.includes(`slo="${slo}"`);
}

/** A rule, and those whose records it reads. */
const withInputs = (rule: Rule): readonly Rule[] => [
  rule,
  ...RULES.filter((other) => reads(rule, other)).flatMap(withInputs),
];
const CHAINS = RULES.map(withInputs);

/** The rules that read a series of the case; to all others it is what it is while all is well. */
function groupsOf({ series }: Case): readonly RuleGroup[] {
  const changed = new Set(Object.keys(series).map((name) => name.replace(/\{.*/, '')));
  const chains = CHAINS.filter((chain) =>
    chain.some(({ expr }) => [...metricsOf(expr)].some((metric) => changed.has(metric))),
  );
  const needed = new Set(chains.flat());
  return GROUPS.map((group) => ({ ...group, rules: group.rules.filter((rule) => needed.has(rule)) })).filter(
    ({ rules }) => rules.length > 0,
  );
}

const keyOf = ({ name, severity }: Alert): AlertKey => `${name} ${severity}`;

/** What fires at the end of a case, and nothing else does. */
type Expected = { readonly alert: Alert } & FiringCase;

const FIRING = 'ALERTS{alertstate="firing"}';

/** What is to be asked at the end of a case, and of whom. */
interface Question {
  readonly groups: readonly RuleGroup[];
  /** PromQL of the alerts that are counted. */
  readonly counted?: string;
  /** Without: no alert is counted. */
  readonly expected?: Expected;
}

async function check(one: Case, { groups, counted = FIRING, expected }: Question): Promise<void> {
  const { minutes } = one;
  const eval_time = endOf(one);
  const firing = expected && [keyOf(expected.alert), expected.besides].flatMap(sampleOf);
  const { ok, output } = await promtool(['test', 'rules', 'test.yaml'], {
    'rules.yaml': ruleFile(groups),
    'test.yaml': stringify({
      rule_files: ['rules.yaml'],
      evaluation_interval: `${minutes}m`,
      group_eval_order: groups.map(({ name }) => name),
      tests: [
        {
          interval: `${minutes}m`,
          input_series: Object.entries(seriesOf(one)).map(([series, values]) => ({ series, values })),
          promql_expr_test: [
            {
              expr: `count by (alertname, severity) (${counted})`,
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

const endOf = ({ samples, minutes }: Case): string => `${(samples - 1) * minutes}m`;

/** All series of a case: its own, and of the others what is healthy. */
const seriesOf = ({ samples, minutes, series }: Case): Series =>
  inNamespace(
    Object.fromEntries(
      Object.entries({ ...healthy(samples, minutes), ...series }).flatMap(([name, values]) =>
        values === undefined ? [] : [[name, values]],
      ),
    ),
  );

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

/** As long as the longest case, for each sees of all other series only what is healthy. */
describe.concurrent('while all is well', () => {
  it.each([1, 15] as const)('nothing ever fires, with samples every %i min', async (minutes) => {
    const lengths = Object.values(CASES)
      .flatMap(({ fires, silent }): readonly Case[] => [...fires, ...silent])
      .flatMap((one) => (one.minutes === minutes ? [one.samples] : []));
    const one: Case = { name: 'all is well', samples: Math.max(...lengths), minutes, series: {} };
    await check(one, { groups: GROUPS, counted: `last_over_time(${FIRING}[${endOf(one)}])` });
  });
});

describe.concurrent.each(ALERTS.map((alert) => ({ key: keyOf(alert), alert })))('$key', ({ key, alert }) => {
  const { fires, silent } = CASES[key] ?? { fires: [], silent: [] };
  it.each(fires)('fires, and nothing else does: $name', async (one) => {
    await check(one, { groups: groupsOf(one), expected: { alert, ...one } });
  });
  it.each(silent)('is silent: $name', async (one) => {
    const groups = groupsOf(one);
    expect(groups.flatMap(({ rules }) => rules.map((rule) => 'alert' in rule && rule.alert))).toContain(
      alert.name,
    );
    await check(one, { groups });
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
