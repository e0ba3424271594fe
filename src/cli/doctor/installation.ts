import { existsSync } from 'node:fs';
import { apiKeys } from '../../core/config/api-keys.ts';
import { loadConfig } from '../../core/config/load.ts';
import { checkProduction } from '../../core/config/production.ts';
import { workerKeys } from '../../core/config/worker-keys.ts';
import { examineConfiguration, misspeltFindings } from '../../core/health/configuration.ts';
import { examine, ok, skipped, type Finding } from '../../core/health/finding.ts';
import { nameFinding } from '../../core/health/network.ts';
import { clientKeys, dataDirectoryKeys } from '../config-keys.ts';
import type { Io } from '../session.ts';
import { findEmbedded } from './embedded.ts';
import { examineProcess, examinePublicUrl, examineSandbox } from './processes.ts';
import { examineDatabase, examineRedis } from './storage.ts';

export interface Plan {
  /** How many processes share the database's connections. */
  readonly apis: number;
  readonly workers: number;
}

/** Everything that can be found out from here about the installation that this environment configures. */
export async function examineInstallation(io: Io, plan: Plan): Promise<readonly Finding[]> {
  const { MILLRACE_DATA_DIR } = loadConfig(dataDirectoryKeys, io.env);
  const hasDatabase = Boolean(io.env['DATABASE_URL'] || io.env['DATABASE_URL_FILE']);
  const embedded = hasDatabase ? undefined : await findEmbedded(MILLRACE_DATA_DIR, io.cwd, io.env);
  const env = embedded?.env ?? io.env;
  const isAsleep = embedded !== undefined && embedded.env['DATABASE_URL'] === undefined;

  // Its own database has an address only while it runs.
  const complete = isAsleep ? { ...env, DATABASE_URL: 'postgres://127.0.0.1/' } : env;
  const api = examineConfiguration('api', apiKeys, complete, checkProduction);
  const worker = examineConfiguration('worker', workerKeys, complete, checkProduction);
  const known = Object.keys({ ...apiKeys, ...workerKeys, ...clientKeys });
  const findings = [
    ...(hasProgram('api') ? api.findings : []),
    ...(hasProgram('worker') ? worker.findings : []),
  ];
  const configuration = [...new Map(findings.map((found) => [found.message, found])).values()];

  // A worker's environment lacks what an API alone needs.
  const config = api.config ?? worker.config;
  const apiPort = api.config?.API_ADMIN_PORT ?? api.config?.API_PORT ?? 8080;
  const workerPort = worker.config?.WORKER_PORT ?? 8081;
  const environment = config?.ENVIRONMENT ?? 'development';
  const databaseUrl = isAsleep
    ? undefined
    : env['DATABASE_URL_FILE']
      ? config?.DATABASE_URL
      : env['DATABASE_URL'];
  const redisUrl = config?.REDIS_URL;
  const pools = {
    ...plan,
    each: config?.DB_MAX_OPEN_CONNS ?? 25,
    isProduction: environment === 'production',
  };

  const runningWorker = await examineProcess('worker', workerPort);
  return examine([
    ['configuration', () => [...configuration, ...misspeltFindings(known, io.env)]],
    [
      'dns',
      () =>
        namesOf({
          DATABASE_URL: databaseUrl,
          REDIS_URL: redisUrl,
          PUBLIC_URL: api.config?.PUBLIC_URL,
          PUBLIC_HOOKS_URL: api.config?.PUBLIC_HOOKS_URL,
        }),
    ],
    [
      'database',
      () =>
        databaseUrl !== undefined && URL.canParse(databaseUrl)
          ? examineDatabase(databaseUrl, pools, config?.ENCRYPTION_KEY)
          : [
              isAsleep
                ? skipped(
                    'database',
                    `the platform on ${embedded.directory} does not run, nor does its database; \`npm start\` starts both`,
                  )
                : skipped('database', 'there is no DATABASE_URL to ask'),
            ],
    ],
    ['redis', () => examineRedis(redisUrl)],
    ['api', async () => (await examineProcess('api', apiPort)).findings],
    ['worker', () => runningWorker.findings],
    [
      'sandbox',
      () =>
        examineSandbox(runningWorker.readiness, io.env, {
          driver: worker.config?.SANDBOX_DRIVER ?? 'auto',
          environment,
        }),
    ],
    [
      'reachable',
      async () => [
        ...(await examinePublicUrl('PUBLIC_URL', api.config?.PUBLIC_URL)),
        ...(await examinePublicUrl('PUBLIC_HOOKS_URL', api.config?.PUBLIC_HOOKS_URL)),
      ],
    ],
  ]);
}

/** An image has the program of one process; a clone or a package those of all. */
const hasProgram = (process: 'api' | 'worker'): boolean =>
  ['.ts', '.js'].some((ending) => existsSync(new URL(`../../${process}/main${ending}`, import.meta.url)));

/** The hosts of these keys, each once. */
async function namesOf(urls: Readonly<Record<string, string | undefined>>): Promise<readonly Finding[]> {
  const hosts = new Map<string, string>();
  for (const [key, url] of Object.entries(urls)) {
    const host = url !== undefined && URL.canParse(url) ? new URL(url).hostname : '';
    if (host !== '' && ![...hosts.values()].includes(host)) hosts.set(key, host);
  }
  if (hosts.size === 0) return [ok('dns', 'there is no name to look up')];
  return Promise.all([...hosts].map(([key, host]) => nameFinding(key, host)));
}
