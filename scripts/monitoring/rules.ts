import { ALERTS, type Alert } from './alerts.ts';
import { durations, type Durations } from './durations.ts';
import { ratioExpression, ratioRecord, SLOS, WINDOWS } from './slos.ts';

interface RecordingRule {
  readonly record: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
}
interface AlertingRule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}
export type Rule = RecordingRule | AlertingRule;
export interface RuleGroup {
  readonly name: string;
  readonly interval?: string;
  readonly rules: readonly Rule[];
}

export interface RuleOptions {
  /** Where docs/runbooks can be read: a URL, or its path in the repository. */
  readonly runbooks?: string;
  /** Shortens every window and every `for`, for tests against a real Prometheus. */
  readonly shortenedBy?: number;
}

/** Where nobody has said where they are published. */
export const RUNBOOKS = 'docs/runbooks';

const SPARE = 'millrace_sandbox_pool_size{state="spare"}';

/**
 * What the platform sees, and what cert-manager says of certificates for Ingresses, whose addresses pods do not reach. One
 * that was never issued has 0 there; its namespace is in another label, unless Prometheus was told to keep it.
 */
const CERTIFICATE_ENDS =
  'min by (namespace, name) (\n' +
  '  millrace_certificate_expiry_timestamp_seconds\n' +
  '  or label_replace(\n' +
  '    certmanager_certificate_expiration_timestamp_seconds{name=~"(.+-)?millrace-.+"} > 0,\n' +
  '    "namespace", "$1", "exported_namespace", "(.+)"\n' +
  '  )\n' +
  ')';

export const sloGroup = (slo: string): string => `millrace-slo-${slo.replaceAll('_', '-')}`;

/** All rules, as groups of a rule file of Prometheus and as `spec` of a PrometheusRule. */
export function ruleGroups(options: RuleOptions = {}): readonly RuleGroup[] {
  const d = durations(options.shortenedBy);
  return [
    ...SLOS.map((slo) => ({
      name: sloGroup(slo.id),
      rules: WINDOWS.map((window) => ({
        record: ratioRecord(d(window)),
        labels: { slo: slo.id },
        expr: ratioExpression(slo, d(window)),
      })),
    })),
    {
      name: 'millrace-states',
      rules: [
        { record: 'millrace:workers:live', expr: 'max by (namespace) (millrace_workers)' },
        // Runner pods wait for all workers, and each worker shows them all; elsewhere each has spares of its own.
        {
          record: 'millrace:sandboxes:spare',
          expr:
            `max by (namespace) (${SPARE}\n` +
            `  and on (namespace, instance) millrace_sandbox_driver{driver="kubernetes"} == 1)\n` +
            `or sum by (namespace) (${SPARE})`,
        },
        {
          record: 'millrace:sandboxes:usable',
          expr:
            'millrace:sandboxes:spare\n' +
            '+ sum by (namespace) (millrace_sandbox_pool_size{state=~"idle|busy"})',
        },
        { record: 'millrace:certificates:end', expr: CERTIFICATE_ENDS },
      ],
    },
    {
      name: 'millrace-alerts',
      rules: ALERTS.map((alert) => alertingRule(alert, d, options.runbooks ?? RUNBOOKS)),
    },
  ];
}

function alertingRule(alert: Alert, d: Durations, runbooks: string): AlertingRule {
  return {
    alert: alert.name,
    expr: alert.expr(d),
    ...(alert.forSeconds > 0 && { for: d(alert.forSeconds) }),
    labels: { severity: alert.severity, service: 'millrace' },
    annotations: {
      summary: alert.summary,
      description: alert.description,
      runbook_url: `${runbooks}/${alert.name}.md`,
      ...alert.annotations,
    },
  };
}
