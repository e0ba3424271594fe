import { randomBytes } from 'node:crypto';
import { apiKeys } from '../../src/core/config/api-keys.ts';
import { loadConfig } from '../../src/core/config/load.ts';
import { workerKeys } from '../../src/core/config/worker-keys.ts';
import { createInProcessHints } from '../../src/core/hints/in-process.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { createLogger, type Logger } from '../../src/core/logger.ts';
import { createMetrics, type Metrics } from '../../src/core/telemetry/metrics.ts';
import type { Tracing } from '../../src/core/telemetry/tracing.ts';
import { startApi, type ApiRuntime } from '../../src/api/runtime.ts';
import { startWorker, type WorkerRuntime } from '../../src/worker/runtime.ts';
import { sumOf } from './metrics-page.ts';
import { waitFor } from './wait-for.ts';

export const API_KEY = 'mr_test_0123456789abcdef0123456789abcdef0123456789abcdef';

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // Whatever the API answered; tests look into it freely.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly data: any;
}

export interface ApiClient {
  readonly base: string;
  call(method: string, path: string, body?: JsonValue, headers?: Record<string, string>): Promise<Reply>;
  /** Deploys, and gives the path of the first webhook. */
  deploy(
    definition: string,
    files?: JsonObject,
  ): Promise<{ readonly name: string; readonly version: number; readonly hook: string }>;
  post(hook: string, body: JsonValue | Buffer, headers?: Record<string, string>): Promise<Reply>;
  /** Waits for an execution to end. */
  finished(
    id: string,
    timeoutMs?: number,
  ): Promise<JsonObject & { readonly state: string; readonly output: JsonValue }>;
}

/** A client of the API, as an outsider would write one. */
export function createApiClient(base: string, key = API_KEY): ApiClient {
  const send = async (method: string, path: string, init: RequestInit): Promise<Reply> => {
    const response = await fetch(base + path, { method, redirect: 'manual', ...init });
    const text = await response.text();
    let data: unknown = text;
    try {
      data = JSON.parse(text);
    } catch {
      // not JSON
    }
    return { status: response.status, headers: response.headers, text, data };
  };
  const call: ApiClient['call'] = (method, path, body, headers = {}) =>
    send(method, path, {
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
    });
  return {
    base,
    call,
    async deploy(definition, files = {}) {
      const name = /^name: *(\S+)/m.exec(definition)?.[1] ?? '';
      const reply = await call('PUT', `/api/v1/workflows/${name}`, { definition, files });
      if (reply.status !== 200 && reply.status !== 201)
        throw new Error(`deploy: ${reply.status} ${reply.text}`);
      const trigger = (reply.data.triggers as { type: string; endpointId: string }[]).find(
        ({ type }) => type === 'webhook',
      );
      return { name, version: reply.data.version as number, hook: `/hooks/${trigger?.endpointId}` };
    },
    post: (hook, body, headers = {}) =>
      send('POST', hook, {
        body: Buffer.isBuffer(body) ? new Uint8Array(body) : JSON.stringify(body),
        headers: { 'content-type': 'application/json', ...headers },
      }),
    async finished(id, timeoutMs = 15_000) {
      let last: Reply | undefined;
      await waitFor(
        async () => {
          last = await call('GET', `/api/v1/executions/${id}`);
          return ['succeeded', 'failed', 'cancelled'].includes(last.data.state as string);
        },
        { timeoutMs, what: `execution ${id} to end` },
      );
      return last!.data;
    },
  };
}

export interface TestPlatform extends ApiClient {
  readonly api: ApiRuntime;
  readonly workers: WorkerRuntime[];
  startWorker(): Promise<WorkerRuntime>;
  /** The pages of metrics of API and workers, one after the other. */
  metrics(): Promise<string>;
  /** The sum of a metric's samples with these labels, over API and workers. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  stop(): Promise<void>;
}

/** API and worker in this process, on a given database, with hints through the process; environment as in production. */
export async function startPlatform(
  databaseUrl: string,
  env: Record<string, string> = {},
  options: {
    readonly workers?: number;
    readonly hints?: boolean;
    readonly logger?: Logger;
    readonly tracing?: Tracing;
  } = {},
): Promise<TestPlatform> {
  const environment = {
    DATABASE_URL: databaseUrl,
    DB_MAX_OPEN_CONNS: '10',
    ENCRYPTION_KEY: randomBytes(32).toString('hex'),
    JWT_SECRET: randomBytes(32).toString('hex'),
    MILLRACE_BOOTSTRAP_API_KEY: API_KEY,
    API_PORT: '0',
    WORKER_PORT: '0',
    LISTEN_HOST: '127.0.0.1',
    LOG_LEVEL: 'fatal',
    SHUTDOWN_GRACE_MS: '2000',
    // Tests of code steps ask for one.
    SANDBOX_DRIVER: 'none',
    ...env,
  };
  const apiConfig = loadConfig(apiKeys, environment);
  const workerConfig = loadConfig(workerKeys, environment);
  const logger = options.logger ?? createLogger({ level: apiConfig.LOG_LEVEL, name: 'test' });
  const { tracing } = options;
  const hints =
    options.hints === false
      ? undefined
      : createInProcessHints(createMetrics(), {
          capacity: 10_000,
          concurrency: workerConfig.WORKER_CONCURRENCY,
        });
  const all: Metrics[] = [];
  const makeMetrics = (): Metrics => {
    const made = createMetrics();
    all.push(made);
    return made;
  };
  const api = await startApi({ config: apiConfig, logger, metrics: makeMetrics(), hints, tracing });
  const workers: WorkerRuntime[] = [];
  const start = async (): Promise<WorkerRuntime> => {
    const worker = await startWorker({
      config: workerConfig,
      logger,
      metrics: makeMetrics(),
      hints,
      tracing,
    });
    workers.push(worker);
    return worker;
  };
  for (let i = 0; i < (options.workers ?? 1); i++) await start();
  const metrics = async (): Promise<string> =>
    (await Promise.all(all.map(({ registry }) => registry.page(undefined))))
      .map(({ body }) => body)
      .join('\n');
  return {
    ...createApiClient(`http://127.0.0.1:${api.port}`),
    api,
    workers,
    startWorker: start,
    metrics,
    metric: async (name, labels) => sumOf(await metrics(), name, labels),
    async stop() {
      await Promise.all(workers.map((worker) => worker.stop()));
      await api.stop();
    },
  };
}
