// `npm run test:cluster [-- --report] [-- a filter, as vitest takes it]`
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { PROJECT_ROOT } from '../support/processes.ts';

const [...args] = process.argv.slice(2);
const report = args.includes('--report');
const child = spawn(
  process.execPath,
  [
    join(PROJECT_ROOT, 'node_modules/vitest/vitest.mjs'),
    'run',
    '--project',
    'cluster',
    ...args.filter((arg) => arg !== '--report'),
  ],
  {
    cwd: PROJECT_ROOT,
    stdio: 'inherit',
    env: { ...process.env, ...(report && { MILLRACE_CLUSTER_REPORT: '1' }) },
  },
);
child.once('exit', (code) => process.exit(code ?? 1));
