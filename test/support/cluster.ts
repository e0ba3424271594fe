import { createApiClient, type ApiClient } from './platform.ts';
import { freePort } from './free-port.ts';
import { createProcesses, platformCommand, type TestProcess } from './processes.ts';
import { processEnvironment } from './process-environment.ts';
import { untilReady } from './until-ready.ts';

export interface Cluster extends ApiClient {
  readonly api: TestProcess;
  /** @param under the start of a command that is given the worker's */
  startWorker(under?: readonly string[]): Promise<TestProcess>;
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
    ...processEnvironment(),
    DATABASE_URL: options.databaseUrl,
    ...(options.redisUrl === undefined ? {} : { REDIS_URL: options.redisUrl }),
    LOG_LEVEL: 'info',
    // Tests of code steps ask for one.
    SANDBOX_DRIVER: 'none',
    ...options.env,
  };
  const startApi = async () => {
    const port = await freePort();
    const started = processes.start(platformCommand('api', options), {
      env: { ...environment, API_PORT: String(port) },
    });
    await untilReady(started, port);
    return { process: started, client: createApiClient(`http://127.0.0.1:${port}`) };
  };
  try {
    const { process: api, client } = await startApi();
    return {
      ...client,
      api,
      startApi,
      async startWorker(under = []) {
        const port = await freePort();
        const [program, ...args] = [...under, ...platformCommand('worker', options)];
        const worker = processes.start([program!, ...args], {
          env: { ...environment, WORKER_PORT: String(port) },
        });
        await untilReady(worker, port);
        return worker;
      },
      stop: () => processes.killAll(),
    };
  } catch (error) {
    await processes.killAll();
    throw error;
  }
}
