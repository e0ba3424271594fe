// `npm run test:cluster [-- --short | --all] [--report] [a filter, as vitest takes it]`
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { PROJECT_ROOT } from '../support/processes.ts';

const USAGE = `Usage: npm run test:cluster [-- --short | --all] [--report] [what vitest takes, as -t 'part of a name']
Starts the cluster of MILLRACE_CLUSTER_DIR (../shared/cluster unless set), or uses the one of KUBECONFIG.
--short leaves out what takes minutes: load during rollouts (of code steps, too), code without an end, evicted runners, samples of latencies, failing containers, private authorities, backups,
commands of documents, and staging beside production.
--all adds what has to be built for a quarter of an hour: KEDA, and the controllers of secrets.
--report writes docs/kubernetes-report.md when all tests pass.
`;
const OPTIONS: Readonly<Record<string, string>> = {
  '--short': 'MILLRACE_CLUSTER_SHORT',
  '--all': 'MILLRACE_CLUSTER_ALL',
  '--report': 'MILLRACE_CLUSTER_REPORT',
};

const args = process.argv.slice(2);
const own = args.filter((arg) => arg in OPTIONS);
if (args.includes('--help') || (own.includes('--short') && own.length > 1)) {
  process.stderr.write(USAGE);
  process.exit(args.includes('--help') ? 0 : 2);
}
const child = spawn(
  process.execPath,
  [
    join(PROJECT_ROOT, 'node_modules/vitest/vitest.mjs'),
    'run',
    '--project',
    'cluster',
    ...args.filter((arg) => !(arg in OPTIONS)),
  ],
  {
    cwd: PROJECT_ROOT,
    stdio: 'inherit',
    env: { ...process.env, ...Object.fromEntries(own.map((option) => [OPTIONS[option], '1'])) },
  },
);
child.once('exit', (code) => process.exit(code ?? 1));
