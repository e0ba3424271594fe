import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.ts';
import { createProcesses } from './processes.ts';
import { waitFor } from './wait-for.ts';

export interface PrometheusOptions {
  /** What it scrapes: `host:port` by the name of the job. */
  readonly targets: Readonly<Record<string, readonly string[]>>;
  /** The contents of rule files. */
  readonly rules?: readonly string[];
  readonly scrapeEveryMs?: number;
}

/** A sample of an instant query: its labels, and its value. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface PrometheusServer {
  readonly url: string;
  /** Asks its HTTP API; gives `data`. */
  get(path: string, parameters?: Readonly<Record<string, string>>): Promise<unknown>;
  /** What an expression gives now. */
  query(expression: string): Promise<readonly Sample[]>;
  stop(): Promise<void>;
}

/**
 * Starts Debian's Prometheus on 127.0.0.1, which `scripts/setup-test-machine` installs; its data goes with it.
 *
 * @see https://prometheus.io/docs/prometheus/latest/querying/api/
 */
export async function startPrometheus(options: PrometheusOptions): Promise<PrometheusServer> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-prometheus-'));
  const port = await freePort();
  const rules = await Promise.all(
    (options.rules ?? []).map(async (text, index) => {
      const file = join(directory, `rules-${index}.yaml`);
      await writeFile(file, text);
      return file;
    }),
  );
  const everyMs = options.scrapeEveryMs ?? 1000;
  // JSON is YAML.
  const config = JSON.stringify({
    global: {
      scrape_interval: `${everyMs}ms`,
      scrape_timeout: `${everyMs}ms`,
      evaluation_interval: `${everyMs}ms`,
    },
    rule_files: rules,
    scrape_configs: Object.entries(options.targets).map(([job, targets]) => ({
      job_name: job,
      static_configs: [{ targets }],
    })),
  });
  await writeFile(join(directory, 'prometheus.yaml'), config);
  const processes = createProcesses();
  const started = processes.start([
    'prometheus',
    `--config.file=${join(directory, 'prometheus.yaml')}`,
    `--storage.tsdb.path=${join(directory, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--enable-feature=exemplar-storage',
  ]);
  const stop = async (): Promise<void> => {
    await processes.killAll();
    await rm(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  };
  const url = `http://127.0.0.1:${port}`;
  const get: PrometheusServer['get'] = async (path, parameters = {}) => {
    const response = await fetch(`${url}${path}?${new URLSearchParams(parameters).toString()}`);
    const answer = (await response.json()) as {
      readonly status: string;
      readonly data?: unknown;
      readonly error?: string;
    };
    if (answer.status !== 'success')
      throw new Error(`Prometheus: ${path}: ${answer.error ?? response.status}`);
    return answer.data;
  };
  try {
    await waitFor(
      async () => {
        if (started.hasExited()) throw new Error(started.output());
        return (await fetch(`${url}/-/ready`)).ok;
      },
      { timeoutMs: 30_000, what: 'Prometheus, which `scripts/setup-test-machine` installs' },
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url,
    get,
    async query(expression) {
      const { result } = (await get('/api/v1/query', { query: expression })) as {
        readonly result: readonly {
          readonly metric: Readonly<Record<string, string>>;
          readonly value: readonly [number, string];
        }[];
      };
      return result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }));
    },
    stop,
  };
}
