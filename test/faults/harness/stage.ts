import { chmod, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { migrate } from '../../../src/core/db/migrate.ts';
import { freePort } from '../../support/free-port.ts';
import { createApiClient, type ApiClient } from '../../support/platform.ts';
import { processEnvironment } from '../../support/process-environment.ts';
import {
  createProcesses,
  platformCommand,
  type TestProcess,
  type TestProcesses,
} from '../../support/processes.ts';
import { startRedisServer, type RedisServer } from '../../support/redis-server.ts';
import { removeDirectory } from '../../support/remove-directory.ts';
import { SECRET } from '../../support/signatures.ts';
import { untilReady } from '../../support/until-ready.ts';
import { startEmbeddedServer, wireUp, type StagePostgres, type StartDatabase } from './database-server.ts';
import { startLedger, type Ledger } from './ledger.ts';
import { startToxiproxy, type Link, type Toxiproxy } from './toxiproxy.ts';

/** A process of the platform, with a wire of its own to each server. */
export interface Actor {
  readonly name: string;
  readonly process: TestProcess;
  /** Of its API, or of its health and metrics. */
  readonly port: number;
  readonly database: Link;
  readonly redis: Link;
}

/** Everything a row of the matrix acts on: real processes, real servers, and the wires between them. */
export interface Stage {
  readonly processes: TestProcesses;
  readonly toxiproxy: Toxiproxy;
  readonly directory: string;
  readonly postgres: StagePostgres;
  /** The database's administrator. */
  readonly sql: pg.Pool;
  readonly redis: RedisServer;
  /** In place of the one that was killed or stopped, at its address. */
  replaceRedis(options?: Parameters<typeof startRedisServer>[0]): Promise<void>;
  readonly ledger: Ledger;
  /** The API that the load goes to. */
  readonly api: Actor;
  readonly client: ApiClient;
  /** Workers that are meant to run. */
  readonly workers: readonly Actor[];
  /**
   * Starts an API: at the address of the one before, which has ended, unless `beside` it (at `port`, if that matters).
   * Resolves when it is ready, unless it is not to be.
   */
  startApi(options?: {
    readonly env?: Readonly<Record<string, string>>;
    readonly beside?: boolean;
    readonly port?: number;
    readonly isReady?: boolean;
  }): Promise<Actor>;
  startWorker(options?: {
    readonly env?: Readonly<Record<string, string>>;
    readonly isReady?: boolean;
  }): Promise<Actor>;
  /** Ends a process and forgets it. */
  end(actor: Actor, signal: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  /** A workflow of three calls to the ledger, behind a signed webhook; of the default tenant unless `client` is another's. */
  deploy(name: string, client?: ApiClient): Promise<Target>;
  /** Done when the stage is closed, before the servers stop. */
  atClose(work: () => Promise<unknown>): void;
  close(): Promise<void>;
}

export interface Target {
  readonly name: string;
  readonly endpointId: string;
  readonly hook: string;
  readonly stepsEach: number;
  /** Below which its steps call the ledger, each at its own name. */
  readonly path: string;
}

export interface StageOptions {
  readonly workers?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** The database server; PostgreSQL from npm unless said. */
  readonly database?: StartDatabase;
  /** Where the built platform is; dist/ unless said. */
  readonly builtFolder?: string;
}

/** What every process has; short leases, as the short run of the matrix wants. */
const ENVIRONMENT = {
  LOG_LEVEL: 'info',
  LEASE_MS: '6000',
  HEARTBEAT_MS: '1000',
  SANDBOX_DRIVER: 'none',
} as const;

const DATABASE = 'millrace';

export async function startStage(options: StageOptions = {}): Promise<Stage> {
  const processes = createProcesses();
  const directory = await mkdtemp(join(tmpdir(), 'millrace-faults-'));
  await chmod(directory, 0o711); // the database's user has to get through
  const toClose: (() => Promise<unknown>)[] = [() => removeDirectory(directory), () => processes.killAll()];
  const close = async (): Promise<void> => {
    for (const one of toClose.splice(0).toReversed()) await one();
  };
  try {
    return await compose(options, processes, directory, toClose, close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function compose(
  options: StageOptions,
  processes: TestProcesses,
  directory: string,
  toClose: (() => Promise<unknown>)[],
  close: () => Promise<void>,
): Promise<Stage> {
  const toxiproxy = await startToxiproxy(processes);
  const databaseLinks: Link[] = [];
  const server = await (options.database ?? startEmbeddedServer)(directory);
  const postgres = wireUp(server, databaseLinks);
  toClose.push(() => postgres.stop());
  await server.ensureDatabase(DATABASE);
  await migrate(server.url(DATABASE));
  const urlBy = (link: Link): string => {
    const url = new URL(server.url(DATABASE));
    url.port = String(link.port);
    return url.href;
  };
  let redis = await startRedisServer();
  toClose.push(() => redis.stop());
  const ledger = await startLedger();
  toClose.push(() => ledger.close());

  let links = 0;
  const newLink = async (name: string, to: 'database' | 'redis'): Promise<Link> => {
    const link = await toxiproxy.link(
      `${name}-${to}-${++links}`,
      to === 'database' ? postgres.port : redis.port,
    );
    if (to === 'database') databaseLinks.push(link);
    return link;
  };
  const adminLink = await newLink('admin', 'database');
  const sql = new pg.Pool({ connectionString: urlBy(adminLink), max: 4 });
  sql.on('error', () => undefined); // its server is killed on purpose
  toClose.push(() => sql.end());

  const environment = {
    ...processEnvironment(),
    ...ENVIRONMENT,
    EGRESS_ALLOW_PRIVATE: `127.0.0.1:${ledger.port}`,
    ...options.env,
  };
  const start = async (
    kind: 'api' | 'worker',
    port: number,
    env: Readonly<Record<string, string>>,
    isReady: boolean,
  ): Promise<Actor> => {
    const database = await newLink(kind, 'database');
    const toRedis = await newLink(kind, 'redis');
    const started = processes.start(
      platformCommand(kind, {
        built: true,
        ...(options.builtFolder === undefined ? {} : { folder: options.builtFolder }),
      }),
      {
        env: {
          ...environment,
          DATABASE_URL: urlBy(database),
          REDIS_URL: `redis://127.0.0.1:${toRedis.port}`,
          [kind === 'api' ? 'API_PORT' : 'WORKER_PORT']: String(port),
          ...env,
        },
      },
    );
    if (isReady) await untilReady(started, port);
    return { name: `${kind}-${started.pid}`, process: started, port, database, redis: toRedis };
  };

  const workers: Actor[] = [];
  const startWorker: Stage['startWorker'] = async ({ env = {}, isReady = true } = {}) => {
    const started = await start('worker', await freePort(), env, isReady);
    workers.push(started);
    return started;
  };
  let [api] = await Promise.all([
    start('api', await freePort(), {}, true),
    ...Array.from({ length: options.workers ?? 2 }, () => startWorker()),
  ]);
  const client = createApiClient(`http://127.0.0.1:${api.port}`);
  await putHookCredential(client);
  return {
    processes,
    toxiproxy,
    directory,
    postgres,
    sql,
    get redis() {
      return redis;
    },
    async replaceRedis(redisOptions) {
      redis = await startRedisServer({ port: redis.port, ...redisOptions });
    },
    ledger,
    get api() {
      return api;
    },
    client,
    workers,
    async startApi({ env = {}, beside = false, port, isReady = true } = {}) {
      const started = await start('api', beside ? (port ?? (await freePort())) : api.port, env, isReady);
      if (!beside) api = started;
      return started;
    },
    startWorker,
    async end(actor, signal) {
      actor.process.signalGroup(signal);
      await actor.process.exited;
      const index = workers.indexOf(actor);
      if (index >= 0) workers.splice(index, 1);
    },
    deploy: (name, owner = client) => deployLedgerWorkflow(owner, ledger, name),
    atClose: (work) => void toClose.push(work),
    close,
  };
}

/** The secret that `createSender` signs with. */
export async function putHookCredential(client: ApiClient): Promise<void> {
  const reply = await client.call('PUT', '/api/v1/credentials/hook', {
    type: 'secret',
    data: { value: SECRET },
  });
  if (reply.status >= 300) throw new Error(`the credential was refused: ${reply.status} ${reply.text}`);
}

const STEPS = ['one', 'two', 'three'];

/** A workflow of three calls to the ledger, behind a webhook that `createSender` signs for. */
export async function deployLedgerWorkflow(client: ApiClient, ledger: Ledger, name: string): Promise<Target> {
  const steps = STEPS.map((id, n) => {
    const needs = n === 0 ? '' : `needs: [${STEPS[n - 1]}], `;
    return `  - { id: ${id}, ${needs}http: { method: POST, url: "${ledger.url}/${name}/${id}", body: { n: "\${{ trigger.body.id }}" } } }`;
  });
  const { hook } = await client.deploy(`name: ${name}
triggers: { push: { webhook: { verify: { scheme: github, credential: hook } } } }
steps:
${steps.join('\n')}
`);
  const endpointId = hook.slice('/hooks/'.length);
  return { name, hook, endpointId, stepsEach: STEPS.length, path: `/${name}/` };
}
