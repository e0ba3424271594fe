import { DEPTH_FIGURES } from './depth-targets.ts';
import { FAIRNESS_FIGURES } from './fairness-targets.ts';
import type { Figure } from './figure.ts';
import { SANDBOX_FIGURES } from './sandbox-targets.ts';
import { TELEMETRY_FIGURES } from './telemetry-targets.ts';
import { WORKERS_FIGURES } from './workers-targets.ts';

/** Every figure, and what it is held against (the release gates of the project). */
export const FIGURES = {
  acceptsPerSecond: {
    title: 'accepts/s, API alone, 50 connections, HMAC verified',
    unit: '/s',
    target: { atLeast: 2500, stretch: 4000 },
    n8n: { from: 113, to: 168, note: 'worker stopped' },
  },
  acceptP50Ms: { title: 'accepts, API alone, 50 connections: latency p50', unit: 'ms' },
  acceptP99Ms: { title: 'accepts, API alone, 50 connections: latency p99', unit: 'ms' },
  acceptCpuApiMs: { title: 'accepts, API alone: CPU of the API for each', unit: 'ms' },
  acceptCpuPostgresMs: { title: 'accepts, API alone: CPU of PostgreSQL for each', unit: 'ms' },
  acceptCpuRedisMs: { title: 'accepts, API alone: CPU of Redis for each', unit: 'ms' },
  acceptCpuClientMs: { title: 'accepts, API alone: CPU of the load generator for each', unit: 'ms' },
  mixedAcceptsPerSecond: {
    title: 'accepts/s while a worker executes',
    unit: '/s',
    target: { atLeast: 900, stretch: 1100 },
    n8n: { from: 56, to: 69, note: 'with a worker running' },
  },
  mixedAcceptP50Ms: {
    title: 'accepts while a worker executes: latency p50',
    unit: 'ms',
    n8n: { from: 739, to: 739, note: '50 connections' },
  },
  mixedAcceptP99Ms: {
    title: 'accepts while a worker executes: latency p99',
    unit: 'ms',
    n8n: { from: 960, to: 960, note: '50 connections' },
  },
  mixedExecutionsPerSecond: {
    title: 'executions/s meanwhile',
    unit: '/s',
    target: { atLeast: 300 },
  },
  openRate: { title: 'accept latency, open loop: its rate, 70 % of the measured maximum', unit: '/s' },
  openP50Ms: {
    title: 'accept latency, API alone, open loop, p50',
    unit: 'ms',
    target: { atMost: 10 },
  },
  openP99Ms: {
    title: 'accept latency, API alone, open loop, p99',
    unit: 'ms',
    target: { atMost: 60, stretch: 30 },
  },
  openBareP99Ms: {
    title: 'accept latency, open loop: the same load against a bare node:http server, p99',
    unit: 'ms',
  },
  transformPerSecond: {
    title: 'executions/s of 3 `transform` steps, one worker',
    unit: '/s',
    target: { atLeast: 700, stretch: 1200 },
    n8n: { from: 96, to: 96, note: 'webhook → set, per worker' },
  },
  transformCpuWorkerMs: { title: '3 `transform` steps: CPU of the worker for each execution', unit: 'ms' },
  transformCpuPostgresMs: { title: '3 `transform` steps: CPU of PostgreSQL for each execution', unit: 'ms' },
  transformCpuRedisMs: { title: '3 `transform` steps: CPU of Redis for each execution', unit: 'ms' },
  httpPerSecond: {
    title: 'executions/s of 3 `http` steps to a local sink, one worker',
    unit: '/s',
    target: { atLeast: 250, stretch: 400 },
  },
  httpCpuWorkerMs: { title: '3 `http` steps: CPU of the worker for each execution', unit: 'ms' },
  httpCpuPostgresMs: { title: '3 `http` steps: CPU of PostgreSQL for each execution', unit: 'ms' },
  stepMs: { title: 'durable overhead: an `http` step in a chain of 100, nothing else running', unit: 'ms' },
  bareCallMs: { title: 'durable overhead: the same call made by a bare HTTP client', unit: 'ms' },
  overheadPerStepMs: {
    title: 'durable overhead per effectful step',
    unit: 'ms',
    target: { atMost: 1.5, stretch: 0.8 },
  },
  lightP50Ms: {
    title: 'light load (10/s), webhook → finished, p50',
    unit: 'ms',
    target: { atMost: 12, stretch: 6 },
    n8n: { from: 25, to: 25 },
  },
  lightP99Ms: {
    title: 'light load (10/s), webhook → finished, p99',
    unit: 'ms',
    target: { atMost: 25, stretch: 15 },
    n8n: { from: 39, to: 39 },
  },
  lightClaimP50Ms: { title: 'light load, webhook → claimed by the worker, p50', unit: 'ms' },
  resultP50Ms: { title: 'light load, as a client of `respond: result` sees it, p50', unit: 'ms' },
  resultP99Ms: { title: 'light load, as a client of `respond: result` sees it, p99', unit: 'ms' },
  resumeFreshMs: {
    title: 'resume of a 1,000-step execution by a new worker after kill -9',
    unit: 'ms',
    target: { atMost: 100, stretch: 40 },
  },
  resumeSameMs: { title: 'resume of a 1,000-step execution by a worker that knows the workflow', unit: 'ms' },
  apiMemoryMb: {
    title: 'memory of the API under load (highest RSS of a round)',
    unit: 'MB',
    isHighestOfRound: true,
    target: { atMost: 150 },
    n8n: { from: 500, to: 500, note: 'main' },
  },
  workerMemoryMb: {
    title: 'memory of the worker under load (highest RSS of a round)',
    unit: 'MB',
    isHighestOfRound: true,
    target: { atMost: 200 },
    n8n: { from: 230, to: 860, note: 'worker' },
  },
  apiReadyMemoryMb: { title: 'memory of the API when ready', unit: 'MB' },
  workerReadyMemoryMb: { title: 'memory of the worker when ready', unit: 'MB' },
  apiStartMs: {
    title: 'cold start of the API until ready',
    unit: 'ms',
    target: { atMost: 1000, stretch: 500 },
    n8n: { from: 5000, to: 9000 },
  },
  workerStartMs: {
    title: 'cold start of the worker until ready',
    unit: 'ms',
    target: { atMost: 1000, stretch: 500 },
    n8n: { from: 5000, to: 9000 },
  },
  firstStartMs: { title: '`npm start` in a new folder until ready (makes the database)', unit: 'ms' },
  secondStartMs: { title: '`npm start` in the same folder again', unit: 'ms' },
  ...SANDBOX_FIGURES,
  ...FAIRNESS_FIGURES,
  ...DEPTH_FIGURES,
  ...TELEMETRY_FIGURES,
  ...WORKERS_FIGURES,
  othersPercent: { title: 'this machine: what others used of it before each round', unit: '%' },
  clientLimitPerSecond: {
    title: 'this machine: the load generator against a bare node:http server, which is its own limit',
    unit: '/s',
  },
  commitsOneClient: { title: 'this machine: single-row commits/s in PostgreSQL, 1 client', unit: '/s' },
  commitsManyClients: { title: 'this machine: single-row commits/s in PostgreSQL, 32 clients', unit: '/s' },
} as const satisfies Readonly<Record<string, Figure>>;

export type FigureName = keyof typeof FIGURES;
