import { afterAll, afterEach, inject } from 'vitest';
import { createKubectl } from './harness/kubectl.ts';
import { createReport, table } from './harness/report.ts';
import { describeDevelopment } from './parts/development.ts';
import { describeEnvironments } from './parts/environments.ts';
import { describeImages } from './parts/images.ts';
import { describeKeda } from './parts/keda.ts';
import { describePolicies } from './parts/policies.ts';
import { describeRollouts } from './parts/rollouts.ts';
import { describeSandboxes } from './parts/sandboxes.ts';
import { describeSecrets } from './parts/secrets.ts';
import { describeWalls } from './parts/walls.ts';

const cluster = inject('cluster');
const report = createReport();
const isShort = process.env['MILLRACE_CLUSTER_SHORT'] === '1';
const isAll = cluster.isKit && process.env['MILLRACE_CLUSTER_ALL'] === '1';
const part = { cluster, report, kubectl: createKubectl(cluster.access), isShort, isAll };
if (isShort)
  process.stderr.write('test:cluster: a short run, without what takes minutes (--help says what)\n');

report.section('Images', [
  ...table(
    ['image', 'unpacked'],
    (['api', 'worker', 'runner'] as const).map((name) => [name, cluster.imageSizes[name]]),
  ),
]);

let failed = 0;
afterEach(({ task }) => {
  if (task.result?.state === 'fail') failed++;
});

// One after the other: each takes what the node has.
describeImages(part);
describeDevelopment(part);
describeWalls(part);
describePolicies(part);
describeEnvironments(part);
describeSandboxes(part);
if (!isShort) describeRollouts(part);
describeKeda(part);
describeSecrets(part);

afterAll(async () => {
  // A run of a part, or one that failed, has nothing to say for all.
  if (process.env['MILLRACE_CLUSTER_REPORT'] === '1' && failed === 0) await report.write();
});
