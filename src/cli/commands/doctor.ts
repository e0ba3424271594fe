import { worstOf, type Finding, type Verdict } from '../../core/health/finding.ts';
import type { ExitCode } from '../cli-error.ts';
import { EXIT } from '../cli-error.ts';
import { askWithKubectl, currentNamespace } from '../doctor/cluster.ts';
import { examineInstallation, type Plan } from '../doctor/installation.ts';
import { examineCluster } from '../doctor/kubernetes.ts';
import { printable } from '../printable.ts';
import { makeShow, type GlobalOptions, type Io } from '../session.ts';

export interface DoctorOptions extends Plan {
  /** Looks into a cluster instead of at this environment. */
  readonly kubernetes?: true;
  readonly context?: string;
  readonly namespace?: string;
}

/** `millrace doctor`: says what is wrong and how to mend it; the exit code says the worst of it. */
export async function doctor(io: Io, globals: GlobalOptions, options: DoctorOptions): Promise<ExitCode> {
  const findings = options.kubernetes
    ? await examineCluster(
        askWithKubectl(options.context),
        options.namespace ?? (await namespaceOf(options.context)),
      )
    : await examineInstallation(io, options);
  const worst = worstOf(findings);
  makeShow(io, globals.output, 2)({ worst, findings }, () => formatFindings(findings));
  return EXIT_OF[worst];
}

const EXIT_OF: Readonly<Record<Verdict, ExitCode>> = {
  ok: EXIT.ok,
  skipped: EXIT.ok,
  warning: EXIT.warning,
  error: EXIT.failure,
};

/** Without kubectl the examination says so itself. */
const namespaceOf = (context: string | undefined): Promise<string> =>
  currentNamespace(context).catch(() => 'default');

const MARKS: Readonly<Record<Verdict, string>> = {
  ok: 'ok',
  skipped: '-',
  warning: 'WARNING',
  error: 'ERROR',
};

/** One line each, its remedy below, and how many there are of which. */
export function formatFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.flatMap(({ check, verdict, message, remedy }) => [
    printable(`${MARKS[verdict].padEnd(7)}  ${check.padEnd(width)}  ${message}`).replaceAll(/\s*\n\s*/g, ' '),
    ...(remedy === undefined ? [] : [`${' '.repeat(9)}${' '.repeat(width)}  → ${printable(remedy)}`]),
  ]);
  const count = (verdict: Verdict): number => findings.filter((found) => found.verdict === verdict).length;
  return [
    ...lines,
    '',
    `${count('error')} error(s), ${count('warning')} warning(s), ${count('ok')} ok, ${count('skipped')} left out`,
  ].join('\n');
}
