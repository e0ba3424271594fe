// Writes the rules and dashboards of deployments/kubernetes/components/monitoring: `node scripts/write-monitoring.ts
// [URL of docs/runbooks]`. test/monitoring fails while they are not current.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { DASHBOARDS } from './monitoring/dashboards.ts';
import { grafanaModel } from './monitoring/grafana.ts';
import { ruleGroups, type RuleGroup } from './monitoring/rules.ts';

export const MONITORING_FOLDER = fileURLToPath(
  new URL('../deployments/kubernetes/components/monitoring/', import.meta.url),
);

const yaml = (value: unknown): string => stringify(value, { lineWidth: 0, blockQuote: 'literal' });
const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

/** A rule file as Prometheus itself reads it. */
export const ruleFile = (groups: readonly RuleGroup[]): string => yaml({ groups });

const prometheusRule = (groups: readonly RuleGroup[]): string =>
  `# Written by scripts/write-monitoring.ts.\n${yaml({
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PrometheusRule',
    metadata: {
      name: 'millrace',
      labels: {
        'app.kubernetes.io/name': 'millrace',
        'app.kubernetes.io/component': 'monitoring',
        'app.kubernetes.io/part-of': 'millrace',
        'millrace.dev/part': 'monitoring',
      },
    },
    spec: { groups },
  })}`;

/** Each file in the folder, and what is to be in it. */
export const monitoringFiles = (runbooks?: string): Readonly<Record<string, string>> => ({
  'prometheusrule.yaml': prometheusRule(ruleGroups(runbooks === undefined ? {} : { runbooks })),
  ...Object.fromEntries(
    DASHBOARDS.map((dashboard) => [
      `dashboards/millrace-${dashboard.name}.json`,
      json(grafanaModel(dashboard)),
    ]),
  ),
});

/**
 * Reads where runbooks are published, as `runbook_url` begins.
 *
 * @throws Error that says what is allowed
 */
export function parseRunbooks(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const isUrl = URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
  if (isUrl && !/[?#\s]/.test(text)) return text.replace(/\/+$/, '');
  throw new Error(
    `The URL of docs/runbooks must be an http or https URL without query and fragment, got ${JSON.stringify(text)}`,
  );
}

if (import.meta.main) {
  for (const [name, text] of Object.entries(monitoringFiles(parseRunbooks(process.argv[2])))) {
    const file = `${MONITORING_FOLDER}${name}`;
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
}
