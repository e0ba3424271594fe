import type { Figure } from './figure.ts';

/**
 * Code steps in gVisor. `plain` names the figure of the same code with SANDBOX_DRIVER=process in the same run; `bare` is
 * what the runtime did in gVisor when a bare loop drove it, before there was a platform around it (DESIGN section 6).
 */
export const SANDBOX_FIGURES = {
  codeLoadResultP50Ms: {
    title: '95 JavaScript steps/s: claim → result, p50',
    unit: 'ms',
    target: { atMost: 10 },
    plain: 'plainLoadResultP50Ms',
    bare: { from: 3.4, to: 7.3 },
  },
  codeLoadResultP99Ms: {
    title: '95 JavaScript steps/s: claim → result, p99',
    unit: 'ms',
    target: { atMost: 60 },
    plain: 'plainLoadResultP99Ms',
    bare: { from: 24, to: 56 },
  },
  codeLoadFinishedP50Ms: {
    title: '95 JavaScript steps/s: created → finished, p50',
    unit: 'ms',
    target: { atMost: 25 },
    plain: 'plainLoadFinishedP50Ms',
  },
  codeLoadFinishedP99Ms: {
    title: '95 JavaScript steps/s: created → finished, p99',
    unit: 'ms',
    target: { atMost: 100 },
    plain: 'plainLoadFinishedP99Ms',
  },
  codeLoadSharePercent: {
    title: '95 JavaScript steps/s: CPU of everything but the load generator, share of the machine',
    unit: '%',
    target: { atMost: 45 },
    plain: 'plainLoadSharePercent',
    bare: { from: 21, to: 24, note: 'sandboxes alone' },
  },
  codePerSecond: {
    title: 'JavaScript steps/s, one worker, backlog',
    unit: '/s',
    target: { atLeast: 300, stretch: 450 },
    n8n: { from: 95, to: 95, note: 'code node, no isolation' },
    plain: 'plainPerSecond',
    bare: { from: 394, to: 551 },
  },
  codePythonPerSecond: {
    title: 'Python steps/s, one worker, backlog',
    unit: '/s',
    target: { atLeast: 400 },
    n8n: { from: 95, to: 95, note: 'code node, no isolation' },
    plain: 'plainPythonPerSecond',
    bare: { from: 600, to: 983 },
  },
  codeLargePerSecond: {
    title: 'steps/s of a 160 KB bundle',
    unit: '/s',
    target: { atLeast: 60 },
    plain: 'plainLargePerSecond',
  },
  codeFirstP50Ms: {
    title: 'first JavaScript step of a workflow, on a spare: claim → result, p50',
    unit: 'ms',
    target: { atMost: 30 },
    plain: 'plainFirstP50Ms',
    bare: { from: 23, to: 23 },
  },
  codeFirstP99Ms: {
    title: 'first JavaScript step of a workflow, on a spare: claim → result, p99',
    unit: 'ms',
    target: { atMost: 60 },
    plain: 'plainFirstP99Ms',
    bare: { from: 32, to: 32 },
  },
  codePythonFirstP50Ms: {
    title: 'first Python step of a workflow, on a spare: claim → result, p50',
    unit: 'ms',
    plain: 'plainPythonFirstP50Ms',
    bare: { from: 7, to: 7 },
  },
  codePythonFirstP99Ms: {
    title: 'first Python step of a workflow, on a spare: claim → result, p99',
    unit: 'ms',
    plain: 'plainPythonFirstP99Ms',
    bare: { from: 10, to: 10 },
  },
  codeLaterP50Ms: {
    title: 'later JavaScript step of it, nothing else running: claim → result, p50',
    unit: 'ms',
    plain: 'plainLaterP50Ms',
  },
  codePythonLaterP50Ms: {
    title: 'later Python step of it, nothing else running: claim → result, p50',
    unit: 'ms',
    plain: 'plainPythonLaterP50Ms',
  },
  codeMissP50Ms: {
    title: 'pool miss (no spare), JavaScript: claim → result, p50',
    unit: 'ms',
    target: { atMost: 600 },
    plain: 'plainMissP50Ms',
    bare: { from: 191, to: 236, note: 'cold container' },
  },
  codePythonMissP50Ms: {
    title: 'pool miss (no spare), Python: claim → result, p50',
    unit: 'ms',
    target: { atMost: 600 },
    plain: 'plainPythonMissP50Ms',
    bare: { from: 127, to: 228, note: 'cold container' },
  },
  codeSinglePerSecond: {
    title: 'JavaScript steps/s with `isolation: execution`, a new sandbox for each',
    unit: '/s',
    plain: 'plainSinglePerSecond',
  },
  codePythonSinglePerSecond: {
    title: 'Python steps/s with `isolation: execution`, a new sandbox for each',
    unit: '/s',
    plain: 'plainPythonSinglePerSecond',
  },
  spareMemoryMb: {
    title: 'memory of a warmed JavaScript spare (charge of its cgroup)',
    unit: 'MB',
    target: { atMost: 60 },
    bare: { from: 26, to: 26 },
  },
  sparePythonMemoryMb: {
    title: 'memory of a warmed Python spare (charge of its cgroup)',
    unit: 'MB',
    target: { atMost: 60 },
    bare: { from: 23, to: 23 },
  },
  usedMemoryMb: { title: 'memory of a JavaScript sandbox after a backlog', unit: 'MB' },
  usedPythonMemoryMb: { title: 'memory of a Python sandbox after a backlog', unit: 'MB' },
  spareCpuMs: {
    title: 'refill of one JavaScript spare: CPU with its warm-up',
    unit: 'ms',
    bare: { from: 285, to: 285 },
  },
  sparePythonCpuMs: {
    title: 'refill of one Python spare: CPU with its warm-up',
    unit: 'ms',
    bare: { from: 290, to: 290 },
  },
  codeCpuSandboxMs: {
    title: 'JavaScript backlog: CPU of the sandboxes for each step',
    unit: 'ms',
    bare: { from: 2.4, to: 3.4 },
  },
  codeCpuWorkerMs: { title: 'JavaScript backlog: CPU of the worker for each step', unit: 'ms' },
  codeCpuPostgresMs: { title: 'JavaScript backlog: CPU of PostgreSQL for each step', unit: 'ms' },
  codePythonCpuSandboxMs: {
    title: 'Python backlog: CPU of the sandboxes for each step',
    unit: 'ms',
    bare: { from: 1.7, to: 1.9 },
  },
  codePythonCpuWorkerMs: { title: 'Python backlog: CPU of the worker for each step', unit: 'ms' },
  plainLoadResultP50Ms: plain('95 JavaScript steps/s: claim → result, p50', 'ms'),
  plainLoadResultP99Ms: plain('95 JavaScript steps/s: claim → result, p99', 'ms'),
  plainLoadFinishedP50Ms: plain('95 JavaScript steps/s: created → finished, p50', 'ms'),
  plainLoadFinishedP99Ms: plain('95 JavaScript steps/s: created → finished, p99', 'ms'),
  plainLoadSharePercent: plain('95 JavaScript steps/s: share of the machine', '%'),
  plainPerSecond: plain('JavaScript steps/s', '/s'),
  plainPythonPerSecond: plain('Python steps/s', '/s'),
  plainLargePerSecond: plain('steps/s of a 160 KB bundle', '/s'),
  plainFirstP50Ms: plain('first JavaScript step, p50', 'ms'),
  plainFirstP99Ms: plain('first JavaScript step, p99', 'ms'),
  plainPythonFirstP50Ms: plain('first Python step, p50', 'ms'),
  plainPythonFirstP99Ms: plain('first Python step, p99', 'ms'),
  plainLaterP50Ms: plain('later JavaScript step, p50', 'ms'),
  plainPythonLaterP50Ms: plain('later Python step, p50', 'ms'),
  plainMissP50Ms: plain('pool miss, JavaScript, p50', 'ms'),
  plainPythonMissP50Ms: plain('pool miss, Python, p50', 'ms'),
  plainSinglePerSecond: plain('JavaScript steps/s with `isolation: execution`', '/s'),
  plainPythonSinglePerSecond: plain('Python steps/s with `isolation: execution`', '/s'),
} as const satisfies Readonly<Record<string, Figure>>;

function plain<U extends Figure['unit']>(title: string, unit: U) {
  return { title: `plain process: ${title}`, unit, isComparison: true } as const;
}
