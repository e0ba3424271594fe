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
        {
          record: 'millrace:sandboxes:usable',
          expr: 'sum by (namespace) (millrace_sandbox_pool_size{state=~"spare|idle|busy"})',
        },
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
