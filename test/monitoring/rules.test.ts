import { access, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { ALERT_NAMES, ALERTS, FOREIGN_METRICS } from '../../scripts/monitoring/alerts.ts';
import { DASHBOARDS } from '../../scripts/monitoring/dashboards.ts';
import { durations } from '../../scripts/monitoring/durations.ts';
import { ruleGroups, RUNBOOKS } from '../../scripts/monitoring/rules.ts';
import {
  MONITORING_FOLDER,
  monitoringFiles,
  parseRunbooks,
  ruleFile,
} from '../../scripts/write-monitoring.ts';
import { PROJECT_ROOT } from '../support/processes.ts';
import { promtool } from '../support/promtool.ts';
import { createMetrics } from '../../src/core/telemetry/metrics.ts';
import { documentedMetrics, namesBesideOthers } from './documented.ts';
import { metricsOf, selectionsOf } from './expressions.ts';

const RULES = ruleGroups().flatMap(({ rules }) => rules);
const RECORDS = new Set(RULES.flatMap((rule) => ('record' in rule ? [rule.record] : [])));
/** What Prometheus, its operator and recording rules add. */
const ADDED_LABELS = new Set(['namespace', 'job', 'instance', 'pod', 'slo']);

/** Every expression, with where it is. */
const EXPRESSIONS: readonly (readonly [where: string, expression: string])[] = [
  ...RULES.map((rule) => ['alert' in rule ? rule.alert : rule.record, rule.expr] as const),
  ...DASHBOARDS.flatMap(({ name, rows }) =>
    rows.flatMap(({ panels }) =>
      panels.flatMap(({ title, queries }) => queries.map(({ expr }) => [`${name}: ${title}`, expr] as const)),
    ),
  ),
];

function processMetrics(): ReadonlySet<string> {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  return new Set(registry.getMetricsAsArray().map(({ name }) => name));
}

it.each(Object.entries(monitoringFiles()))(
  '%s is current; `node scripts/write-monitoring.ts` writes it',
  async (file, text) => {
    expect(await readFile(join(MONITORING_FOLDER, file), 'utf8')).toBe(text);
  },
);

it('docs/metrics.md names metrics that there are beside those of other systems', async () => {
  const known = new Set([
    ...createMetrics().catalog.map(({ name }) => name),
    ...(await documentedMetrics()).keys(),
    ...processMetrics(),
  ]);
  const rows = await namesBesideOthers();
  expect(rows.length).toBeGreaterThan(20);
  for (const [theirs, ours] of rows) {
    const names = ours.match(/\b(?:millrace|process|nodejs)_\w+/g) ?? [];
    if (names.length === 0) expect.soft(ours, theirs).toMatch(/^none: /);
    for (const name of names) expect.soft(known, theirs).toContain(name);
  }
});

it('every dashboard in the folder is one that is written', async () => {
  const files = await readdir(join(MONITORING_FOLDER, 'dashboards'));
  expect(files.toSorted()).toEqual(DASHBOARDS.map(({ name }) => `millrace-${name}.json`).toSorted());
  const kustomization = await readFile(join(MONITORING_FOLDER, 'kustomization.yaml'), 'utf8');
  for (const file of files) expect(kustomization).toContain(`[dashboards/${file}]`);
});

describe('promtool', () => {
  it('takes the rules, and those with shorter windows', async () => {
    for (const shortenedBy of [1, 60]) {
      const { ok, output } = await promtool(['check', 'rules', 'rules.yaml'], {
        'rules.yaml': ruleFile(ruleGroups({ shortenedBy })),
      });
      expect(ok, output).toBe(true);
      expect(output).toContain(`SUCCESS: ${RULES.length} rules found`);
    }
  });

  it('parses the query of every panel', async () => {
    const queries = EXPRESSIONS.filter(([where]) => where.includes(': ')).map(([, expr]) => expr);
    const rules = queries.map((expr, index) => ({
      record: `panel:${index}`,
      // As Grafana puts them in.
      expr: expr.replaceAll('$__rate_interval', '5m').replaceAll(/\$(namespace|tenant|workflow)\b/g, '.*'),
    }));
    for (const { expr } of rules) expect(expr).not.toContain('$');
    const { ok, output } = await promtool(['check', 'rules', 'rules.yaml'], {
      'rules.yaml': ruleFile([{ name: 'panels', rules }]),
    });
    expect(ok, output).toBe(true);
  });

  it('refuses what is no PromQL', async () => {
    const { ok } = await promtool(['check', 'rules', 'rules.yaml'], {
      'rules.yaml': ruleFile([{ name: 'wrong', rules: [{ record: 'a:b', expr: 'sum by (x' }] }]),
    });
    expect(ok).toBe(false);
  });
});

describe('every expression', () => {
  it('names metrics that there are', async () => {
    const known = new Set([
      ...(await documentedMetrics()).keys(),
      ...RECORDS,
      ...FOREIGN_METRICS,
      ...processMetrics(),
    ]);
    for (const [where, expression] of EXPRESSIONS) {
      const metrics = metricsOf(expression);
      expect(metrics.size, where).toBeGreaterThan(0);
      for (const metric of metrics) expect.soft(known, where).toContain(metric);
    }
  });

  it('asks metrics for labels that they have', async () => {
    const documented = await documentedMetrics();
    for (const [where, expression] of EXPRESSIONS) {
      for (const [metric, label] of selectionsOf(expression)) {
        const own = documented.get(metric);
        if (own === undefined || ADDED_LABELS.has(label)) continue;
        expect.soft([...own], `${where}: ${metric}`).toContain(label);
      }
    }
  });

  it.each([
    ['a misspelt metric', 'sum(rate(millrace_delivery_total[5m])) > 0', ['millrace_delivery_total']],
    [
      'words, labels and numbers',
      'sum by (a) (x{b="c"}) unless on (d) y offset 5m > 1e5 and z',
      ['x', 'y', 'z'],
    ],
    ['functions', 'histogram_quantile(0.9, sum by (le) (rate(h_bucket[5m])))', ['h_bucket']],
  ])('is taken apart: %s', (_, expression, metrics) => {
    expect([...metricsOf(expression)]).toEqual(metrics);
  });

  it('has a bucket for each bound that it asks for', async () => {
    const text = await readFile(join(PROJECT_ROOT, 'docs/metrics.md'), 'utf8');
    const bounds = new Map(
      [...text.matchAll(/^\| `(millrace_\w+)` +\| ([\d., ]+?)(?: [a-z]+)? +\|$/gm)].map(([, name, list]) => [
        `${name}_bucket`,
        new Set(list!.split(',').map((bound) => bound.trim())),
      ]),
    );
    let asked = 0;
    for (const [where, expression] of EXPRESSIONS) {
      for (const [, metric, bound] of expression.matchAll(/(\w+)\{[^}]*le=~?"([\d.]+)(?:\(\[\.\]0\)\?)?"/g)) {
        expect.soft(bounds.get(metric!), where).toContain(bound);
        asked++;
      }
    }
    expect(asked).toBeGreaterThan(0);
  });
});

describe('every alert', () => {
  it('says what is the matter, how much it matters, and where to read on', () => {
    for (const rule of RULES) {
      if (!('alert' in rule)) continue;
      const { summary, description, runbook_url: runbook } = rule.annotations;
      expect(summary!.length, rule.alert).toBeGreaterThan(20);
      expect(description, rule.alert).toMatch(/\.$/);
      expect(runbook).toBe(`${RUNBOOKS}/${rule.alert}.md`);
      expect(rule.labels).toMatchObject({ service: 'millrace' });
    }
  });

  it('links its page by a path in the repository, or where a platform says that the pages are', async () => {
    const linksOf = (runbooks?: string): ReadonlySet<string> => {
      const { 'prometheusrule.yaml': text = '' } = monitoringFiles(runbooks);
      return new Set([...text.matchAll(/^ *runbook_url: (.+)$/gm)].map(([, link]) => link!));
    };
    const links = linksOf();
    expect(links.size).toBe(ALERT_NAMES.length);
    for (const link of links) await expect(access(join(PROJECT_ROOT, link)), link).resolves.toBeUndefined();

    const published = linksOf(parseRunbooks('https://git.example.com/millrace/docs/runbooks/'));
    expect(published).toEqual(
      new Set(ALERT_NAMES.map((name) => `https://git.example.com/millrace/docs/runbooks/${name}.md`)),
    );
  });

  it.each(['docs/runbooks', 'ftp://example.com/', 'https://example.com/?page=', ''])(
    'links no page at %j',
    (text) => {
      expect(() => parseRunbooks(text)).toThrow(/must be an http or https URL/);
    },
  );

  it('has a page in docs/runbooks with all its parts, and there is no other', async () => {
    const folder = join(PROJECT_ROOT, 'docs/runbooks');
    const pages = (await readdir(folder)).filter((file) => file !== 'README.md');
    expect(pages.toSorted()).toEqual(ALERT_NAMES.map((name) => `${name}.md`).toSorted());
    for (const page of pages) {
      const text = await readFile(join(folder, page), 'utf8');
      expect.soft(text.split('\n')[0], page).toBe(`# ${page.slice(0, -3)}`);
      const parts = [...text.matchAll(/^## (.+)$/gm)].map(([, part]) => part);
      expect.soft(parts, page).toEqual(['What users feel', 'How to check', 'How to mend']);
      // A literal command with the output that it shows.
      expect.soft(text, page).toMatch(/```sh\n.+?```\n\n```text\n.+?```/s);
    }
  });

  it('never wakes an SRE for the workflow of somebody else', () => {
    for (const { name, severity } of ALERTS) {
      expect(severity === 'owner', name).toBe(name === 'WorkflowFailing');
    }
  });
});

it.each([
  [300, 1, '5m'],
  [86_400, 1, '1d'],
  [90, 1, '90s'],
  [300, 60, '5s'],
  [120, 60, '2s'],
  [10, 60, '167ms'],
])('writes %s s, shortened by %s, as %s', (seconds, by, text) => {
  expect(durations(by)(seconds)).toBe(text);
});
