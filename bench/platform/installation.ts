import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { JsonObject } from '../../src/core/json.ts';
import { freePort } from '../../test/support/free-port.ts';
import { createApiClient, type ApiClient } from '../../test/support/platform.ts';
import { platformCommand, type TestProcess } from '../../test/support/processes.ts';
import { writeStatements } from '../profile.ts';
import { residentBytes } from './proc.ts';
import { startSampler, type Sampler } from './sampler.ts';
import type { Services } from './services.ts';

/** One that runs beside an installation's own, on the same database. */
export interface FurtherApi {
  readonly pid: number;
  readonly origin: string;
  stop(): Promise<void>;
}

/** A platform on an empty database of its own: the API, and a worker when it is wanted. */
export interface Installation {
  readonly client: ApiClient;
  readonly secret: string;
  /** The administrator's session, past row-level security. */
  readonly db: pg.Client;
  readonly sampler: Sampler;
  readonly apiStart: Start;
  /** Of the processes that run now. @throws when there is no worker, or there are several */
  pids(): { readonly api: number; readonly worker: number };
  /** Starts a worker and resolves when it is ready. */
  startWorker(): Promise<Start>;
  /** Starts several at once and resolves when all are ready. @param envOf what one of them has beside the others */
  startWorkers(count: number, envOf?: (index: number) => Env): Promise<readonly RunningWorker[]>;
  /** Starts one more API, and resolves when it is ready. @param env what it has beside the first */
  startApi(env: Env): Promise<FurtherApi>;
  /** Stops all that run. */
  stopWorkers(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  stopApi(): Promise<void>;
  /** Deploys a workflow and gives the full URL of its webhook. */
  deploy(definition: string, files?: JsonObject): Promise<string>;
  /** The sum of the samples of the only worker's metrics that have these labels. @throws when there is none or several */
  workerMetric(name: string, labels?: Labels): Promise<number>;
}

export interface RunningWorker {
  /** What the sampler knows it by. */
  readonly name: string;
  readonly pid: number;
  readonly start: Start;
  /** The sum of the samples of its metrics that have these labels. */
  readonly metric: (name: string, labels?: Labels) => Promise<number>;
}

type Labels = Readonly<Record<string, string>>;
type Env = Readonly<Record<string, string>>;

/** What it took a process to be ready. */
export interface Start {
  readonly ms: number;
  /** Its resident memory then. */
  readonly mb: number;
}

export interface InstallationOptions {
  /** Beside what every installation has. */
  readonly env: Env;
  /** Where the processes leave their CPU profiles when they end. */
  readonly profileDirectory: string | undefined;
}

/** The credential that the webhooks of the benchmark are signed with. */
export const CREDENTIAL = 'bench-secret';
const TOP_STATEMENTS = 12;
const READY_WITHIN_MS = 30_000;
const STOP_WITHIN_MS = 60_000;

/** Runs `work` on a new installation, and takes everything away again. */
export async function withInstallation<T>(
  services: Services,
  options: InstallationOptions,
  work: (installation: Installation) => Promise<T>,
): Promise<T> {
  const database = await services.createDatabase();
  await services.emptyRedis();
  const db = new pg.Client({ connectionString: database.url, application_name: 'millrace bench' });
  db.on('error', () => undefined); // whoever uses it hears of it
  const sampler = startSampler();
  const started: TestProcess[] = [];
  const takeAway = async (): Promise<void> => {
    await Promise.all(started.map((one) => end(one, 'SIGTERM')));
    await sampler.stop();
    if (options.profileDirectory !== undefined)
      await writeStatements(db, options.profileDirectory, TOP_STATEMENTS);
    await db.end();
    await services.dropDatabase(database.name);
  };
  let result: T;
  try {
    await db.connect();
    await requireDurable(db);
    sampler.watch('postgres', services.postgresPid);
    sampler.watch('redis', services.redisPid);
    result = await work(await start(services, options, database.url, db, sampler, started));
  } catch (error) {
    await takeAway().catch(() => undefined); // why it failed says more
    throw error;
  }
  await takeAway();
  return result;
}

async function start(
  services: Services,
  options: InstallationOptions,
  databaseUrl: string,
  db: pg.Client,
  sampler: Sampler,
  started: TestProcess[],
): Promise<Installation> {
  const apiKey = `mr_bench_${randomBytes(24).toString('hex')}`;
  const secret = randomBytes(24).toString('hex');
  const environment = {
    DATABASE_URL: databaseUrl,
    REDIS_URL: services.redisUrl,
    ENCRYPTION_KEY: randomBytes(32).toString('hex'),
    JWT_SECRET: randomBytes(32).toString('hex'),
    MILLRACE_BOOTSTRAP_API_KEY: apiKey,
    LISTEN_HOST: '127.0.0.1',
    LOG_LEVEL: 'warn',
    // An image comes without compiled modules.
    NODE_COMPILE_CACHE: '',
    ...options.env,
  };
  /** @param label what the sampler is to know it by */
  const startOne = async (name: 'api' | 'worker', label: string, env: Env = {}) => {
    const port = await freePort();
    const startedAt = performance.now();
    const [node, ...rest] = platformCommand(name, { built: true });
    const child = services.processes.start([node, ...profileFlags(options, name), ...rest], {
      env: { ...environment, ...env, [name === 'api' ? 'API_PORT' : 'WORKER_PORT']: String(port) },
    });
    started.push(child);
    sampler.watch(label, child.pid);
    await untilReady(child, port, name);
    const ms = performance.now() - startedAt;
    return { child, port, start: { ms, mb: ((await residentBytes(child.pid)) ?? 0) / 1e6 } };
  };

  const api = await startOne('api', 'api');
  const client = createApiClient(`http://127.0.0.1:${api.port}`, apiKey);
  await putSecret(client, secret);
  let workers: readonly (RunningWorker & { readonly child: TestProcess })[] = [];
  const startWorkers = async (count: number, envOf?: (index: number) => Env): Promise<typeof workers> => {
    const labels = Array.from({ length: count }, (_, index) =>
      index === 0 ? 'worker' : `worker ${index + 1}`,
    );
    workers = await Promise.all(
      labels.map(async (name, index) => {
        const { child, port, start } = await startOne('worker', name, envOf?.(index));
        return { name, pid: child.pid, start, child, metric: metricsAt(port) };
      }),
    );
    return workers;
  };
  const onlyWorker = () => {
    const [worker] = workers;
    if (worker === undefined || workers.length > 1) throw new Error(`${workers.length} workers run, not one`);
    return worker;
  };
  return {
    client,
    secret,
    db,
    sampler,
    apiStart: api.start,
    pids: () => ({ api: api.child.pid, worker: onlyWorker().pid }),
    async startWorker() {
      await startWorkers(1);
      return onlyWorker().start;
    },
    startWorkers,
    async startApi(env) {
      const { child, port } = await startOne('api', 'another api', env);
      return { pid: child.pid, origin: `http://127.0.0.1:${port}`, stop: () => end(child, 'SIGTERM') };
    },
    async stopWorkers(signal = 'SIGTERM') {
      await Promise.all(workers.map(({ child }) => end(child, signal)));
      workers = [];
    },
    stopApi: () => end(api.child, 'SIGTERM'),
    async deploy(definition, files) {
      const { hook } = await client.deploy(definition, files);
      return `http://127.0.0.1:${api.port}${hook}`;
    },
    workerMetric: async (name, labels) => onlyWorker().metric(name, labels),
  };
}

/** Gives a tenant the credential that its webhooks are signed with. */
export async function putSecret(client: ApiClient, secret: string): Promise<void> {
  const reply = await client.call('PUT', `/api/v1/credentials/${CREDENTIAL}`, {
    type: 'secret',
    data: { value: secret },
  });
  if (reply.status >= 300) throw new Error(`the credential was refused: ${reply.status} ${reply.text}`);
}

const metricsAt =
  (port: number): RunningWorker['metric'] =>
  async (name, labels = {}) => {
    const response = await fetch(`http://127.0.0.1:${port}/metrics`);
    return sampleOf(await response.text(), name, labels);
  };

/** The sum of all samples with these labels, in the text format of Prometheus. */
function sampleOf(text: string, name: string, labels: Labels): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return text
    .split('\n')
    .filter(
      (one) =>
        (one.startsWith(`${name}{`) || one.startsWith(`${name} `)) &&
        wanted.every((label) => one.includes(label)),
    )
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

let profiles = 0;
const profileFlags = ({ profileDirectory }: InstallationOptions, name: string): readonly string[] =>
  profileDirectory === undefined
    ? []
    : [
        '--cpu-prof',
        `--cpu-prof-dir=${profileDirectory}`,
        `--cpu-prof-name=${name}-${++profiles}.cpuprofile`,
      ];

async function untilReady(child: TestProcess, port: number, name: string): Promise<void> {
  const deadline = performance.now() + READY_WITHIN_MS;
  for (;;) {
    const status = await fetch(`http://127.0.0.1:${port}/health/ready`).then(
      (response) => response.status,
      () => undefined,
    );
    if (status === 200) return;
    if (child.hasExited()) throw new Error(`the ${name} ended at its start:\n${child.output()}`);
    if (performance.now() > deadline)
      throw new Error(`the ${name} was not ready in time:\n${child.output()}`);
    await delay(5);
  }
}

async function end(child: TestProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  if (child.hasExited()) return;
  child.signal(signal);
  const timer = setTimeout(() => child.signalGroup('SIGKILL'), STOP_WITHIN_MS);
  await child.exited;
  clearTimeout(timer);
}

/** Figures of a database that may lose commits are not worth printing. */
async function requireDurable(db: pg.Client): Promise<void> {
  const { rows } = await db.query<{ name: string; setting: string }>(
    `select name, reset_val as setting from pg_settings where name in ('fsync', 'synchronous_commit', 'full_page_writes')
     union all
     select 'a setting of role or database', unnest(setconfig) from pg_db_role_setting`,
  );
  const wrong = rows.filter(({ setting }) => setting !== 'on');
  if (rows.length !== 3 || wrong.length > 0) {
    throw new Error(
      `PostgreSQL does not make commits durable: ${rows.map((row) => `${row.name} = ${row.setting}`).join(', ')}`,
    );
  }
}
