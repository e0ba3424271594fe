import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { ALERTS } from '../../scripts/monitoring/alerts.ts';
import { PROJECT_ROOT } from '../support/processes.ts';

interface Route {
  readonly receiver?: string;
  readonly matchers?: readonly string[];
  readonly group_by?: readonly string[];
  readonly continue?: boolean;
  readonly routes?: readonly Route[];
}
interface InhibitRule {
  readonly source_matchers: readonly string[];
  readonly target_matchers: readonly string[];
  readonly equal: readonly string[];
}
interface AlertmanagerConfig {
  readonly route: Route;
  readonly inhibit_rules: readonly InhibitRule[];
  readonly receivers: readonly { readonly name: string; readonly webhook_configs?: readonly unknown[] }[];
}
type Labels = Readonly<Record<string, string>>;

const config = parse(
  await readFile(join(PROJECT_ROOT, 'examples/workflow-failing/alertmanager.yaml'), 'utf8'),
) as AlertmanagerConfig;

const matches = (matchers: readonly string[] = [], labels: Labels): boolean =>
  matchers.every((matcher) => {
    const [, label, value] = /^(\w+)="([^"]*)"$/.exec(matcher)!; // the only kind in the file
    return labels[label!] === value;
  });

/** Whom Alertmanager tells: the first route that matches, and in it again. */
function routeOf(route: Route, labels: Labels): Route {
  const inner = route.routes?.find(({ matchers }) => matches(matchers, labels));
  return inner === undefined
    ? route
    : { ...route, ...routeOf({ ...inner, routes: inner.routes ?? [] }, labels) };
}

it('every receiver that a route names is there, and only once', () => {
  const named = (route: Route): readonly string[] => [
    ...(route.receiver === undefined ? [] : [route.receiver]),
    ...(route.routes ?? []).flatMap(named),
  ];
  const names = config.receivers.map(({ name }) => name);
  expect(names.toSorted()).toEqual([...new Set(named(config.route))].toSorted());
});

it.each(ALERTS.map(({ name, severity }) => [name, severity] as const))(
  '%s (%s) goes to whom it is for',
  (alertname, severity) => {
    const { receiver } = routeOf(config.route, { alertname, severity, namespace: 'millrace-prod' });
    expect(receiver).toBe({ page: 'pager', ticket: 'tickets', owner: 'workflow-owners' }[severity]);
  },
);

it('owners are told of each workflow by itself, with the URL out of a file', () => {
  const { receiver, group_by: groupBy } = routeOf(config.route, { severity: 'owner' });
  expect(groupBy).toEqual(['namespace', 'tenant', 'workflow']);
  const { webhook_configs: hooks } = config.receivers.find(({ name }) => name === receiver)!;
  expect(hooks).toEqual([{ url_file: expect.stringMatching(/^\//), send_resolved: false }]);
});

it('a page holds back the ticket of the same alert and environment, and nothing else', () => {
  const [rule, ...others] = config.inhibit_rules;
  expect(others).toEqual([]);
  expect(matches(rule!.source_matchers, { severity: 'page' })).toBe(true);
  const held = ['page', 'ticket', 'owner'].filter((severity) => matches(rule!.target_matchers, { severity }));
  expect(held).toEqual(['ticket']);
  expect(rule!.equal).toEqual(['alertname', 'namespace']);
});
