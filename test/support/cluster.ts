import { randomBytes } from 'node:crypto';
import { API_KEY, createApiClient, type ApiClient } from './platform.ts';
import { freePort } from './free-port.ts';
import { createProcesses, platformCommand, type TestProcess } from './processes.ts';
import { waitFor } from './wait-for.ts';

export interface Cluster extends ApiClient {
  readonly api: TestProcess;
  startWorker(): Promise<TestProcess>;
  /** Starts another process with the same configuration; for replicas of the API. */
  startApi(): Promise<{ readonly process: TestProcess; readonly client: ApiClient }>;
  stop(): Promise<void>;
}

export interface ClusterOptions {
  readonly databaseUrl: string;
  readonly redisUrl?: string;
  /** Runs `dist/` instead of the sources. */
  readonly built: boolean;
  readonly env?: Record<string, string>;
}

/** The platform as separate processes: one API to begin with, and workers as the test starts and kills them. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const processes = createProcesses();
  const environment = {
    DATABASE_URL: options.databaseUrl,
    ...(options.redisUrl === undefined ? {} : { REDIS_URL: options.redisUrl }),
    HINT_PREFIX: `test-${randomBytes(6).toString('hex')}`,
    ENCRYPTION_KEY: randomBytes(32).toString('hex'),
    JWT_SECRET: randomBytes(32).toString('hex'),
    MILLRACE_BOOTSTRAP_API_KEY: API_KEY,
    LISTEN_HOST: '127.0.0.1',
    DB_MAX_OPEN_CONNS: '10',
    LOG_LEVEL: 'info',
    // Tests of code steps ask for one.
    SANDBOX_DRIVER: 'none',
    ...options.env,
  };
  const ready = async (started: TestProcess, port: number): Promise<void> => {
    await waitFor(
      async () => {
        if (started.hasExited()) throw new Error(`the process ended:\n${started.output().slice(-3000)}`);
        return (await fetch(`http://127.0.0.1:${port}/health/ready`)).status === 200;
      },
      { timeoutMs: 30_000, what: 'a process to be ready' },
    );
  };
  const startApi = async () => {
    const port = await freePort();
    const started = processes.start(platformCommand('api', options), {
      env: { ...environment, API_PORT: String(port) },
    });
    await ready(started, port);
    return { process: started, client: createApiClient(`http://127.0.0.1:${port}`) };
  };
  try {
    const { process: api, client } = await startApi();
    return {
      ...client,
      api,
      startApi,
      async startWorker() {
        const port = await freePort();
        const worker = processes.start(platformCommand('worker', options), {
          env: { ...environment, WORKER_PORT: String(port) },
        });
        await ready(worker, port);
        return worker;
      },
      stop: () => processes.killAll(),
    };
  } catch (error) {
    await processes.killAll();
    throw error;
  }
}
