import { chmod, chown, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { ensureDatabaseUser } from '../../src/cli/embedded/database-user.ts';
import { issueCertificate } from '../../src/worker/sandbox/kubernetes/x509.ts';
import type { DatabaseServer } from '../faults/harness/database-server.ts';
import { createDebianPostgres } from '../faults/harness/debian-postgres.ts';
import { runToEnd } from '../support/dev-platform.ts';
import { freePort } from '../support/free-port.ts';
import { cliCommand, createProcesses, platformCommand } from '../support/processes.ts';
import { createApiClient } from '../support/platform.ts';
import { processEnvironment } from '../support/process-environment.ts';
import { startRedisServer, type RedisServer } from '../support/redis-server.ts';
import { removeDirectory } from '../support/remove-directory.ts';
import { untilReady } from '../support/until-ready.ts';

const DAY_MS = 86_400_000;
/** In which Redis is tried a few times. */
const RETRIES_MS = 2000;
const WORKFLOW = `
name: echo
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [{ id: say, transform: trigger.body }]
output: steps.say.output
`;

const startedAtMs = Date.now();
const VALID_MS = { postgres: 30 * DAY_MS, redis: 60 * DAY_MS } as const;
const certificates = {
  postgres: issueCertificate('localhost', startedAtMs, VALID_MS.postgres),
  redis: issueCertificate('localhost', startedAtMs, VALID_MS.redis),
};
let directory: string;
let trust: string;
let database: DatabaseServer;
let redis: RedisServer;
let databaseUrl: string;
const processes = createProcesses();

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-tls-'));
  await chmod(directory, 0o711);
  trust = join(directory, 'authorities.pem');
  await writeFile(trust, certificates.postgres.authority + certificates.redis.authority);
  const files = { certificate: join(directory, 'postgres.pem'), key: join(directory, 'postgres-key.pem') };
  await writeFile(files.certificate, certificates.postgres.certificate);
  await writeFile(files.key, certificates.postgres.key, { mode: 0o600 });
  const user = await ensureDatabaseUser();
  if (user !== undefined) await chown(files.key, user.uid, user.gid);
  database = await createDebianPostgres({
    directory,
    name: 'postgres',
    settings: { ssl: 'on', ssl_cert_file: files.certificate, ssl_key_file: files.key },
  });
  await database.ensureDatabase('millrace');
  const url = new URL(database.url('millrace'));
  url.hostname = 'localhost';
  url.searchParams.set('sslmode', 'verify-full');
  databaseUrl = url.href;
  redis = await startRedisServer({ tls: certificates.redis });
}, 120_000);

afterEach(() => processes.killAll());

afterAll(async () => {
  await database?.stop();
  await redis?.stop();
  await removeDirectory(directory);
});

const environment = (): Readonly<Record<string, string>> => ({
  DATABASE_URL: databaseUrl,
  REDIS_URL: redis.url,
  NODE_EXTRA_CA_CERTS: trust,
});

async function start(name: 'api' | 'worker', env: Readonly<Record<string, string>>) {
  const port = await freePort();
  const process = processes.start(platformCommand(name, { built: true }), {
    env: { ...env, SANDBOX_DRIVER: 'none', [name === 'api' ? 'API_PORT' : 'WORKER_PORT']: String(port) },
  });
  return { process, port, base: `http://127.0.0.1:${port}` };
}

/** When the certificate of a server ends, as a process shows it. */
async function expiryOf(base: string, server: string): Promise<number> {
  const page = await (await fetch(`${base}/metrics`)).text();
  const sample = new RegExp(
    `^millrace_certificate_expiry_timestamp_seconds\\{name="${server}"\\} (\\S+)$`,
    'm',
  );
  return Number(sample.exec(page)?.[1]) * 1000;
}

/** How the platform's connections to PostgreSQL are secured, as that sees them. */
async function protocols(): Promise<readonly string[]> {
  const client = new pg.Client({ connectionString: database.url('millrace') });
  await client.connect();
  try {
    const { rows } = await client.query<{ version: string | null }>(
      `select distinct version from pg_stat_ssl join pg_stat_activity using (pid) where application_name like 'millrace%'`,
    );
    return rows.map(({ version }) => version ?? 'none');
  } finally {
    await client.end();
  }
}

it(
  'speaks TLS to PostgreSQL and Redis, and tells when their certificates end',
  { timeout: 120_000 },
  async () => {
    const url = new URL(databaseUrl);
    url.searchParams.set('sslrootcert', trust);
    const migrated = await runToEnd(processes, cliCommand('migrate'), { DATABASE_URL: url.href });
    expect(migrated.code, migrated.stderr).toBe(0);
    const shared = { ...processEnvironment(), ...environment() };
    const [api, worker] = [await start('api', shared), await start('worker', shared)];
    await untilReady(api.process, api.port);
    await untilReady(worker.process, worker.port);
    const client = createApiClient(api.base);
    const { hook } = await client.deploy(WORKFLOW);
    const { data } = await client.post(hook, { n: 1 });
    expect(await client.finished(data.executionId as string)).toMatchObject({
      state: 'succeeded',
      output: { n: 1 },
    });

    expect(await protocols()).toEqual(['TLSv1.3']);
    for (const { base } of [api, worker]) {
      for (const [server, validMs] of Object.entries(VALID_MS)) {
        const endMs = await expiryOf(base, server);
        expect(Math.abs(endMs - startedAtMs - validMs), `${server} at ${base}`).toBeLessThan(10_000);
      }
    }
  },
);

it('trusts no server that nobody vouches for, and says once what to do', { timeout: 120_000 }, async () => {
  const untrusting = { ...processEnvironment(), ...environment(), NODE_EXTRA_CA_CERTS: '' };
  const { process: api, port, base } = await start('api', untrusting);
  await api.waitForOutput(/waiting for the database; not ready until then/);
  await delay(RETRIES_MS);
  expect(api.output().match(/Redis failed/g)).toHaveLength(1);
  expect((await fetch(`${base}/health/ready`)).status).toBe(503);

  const doctor = await runToEnd(processes, cliCommand('doctor'), { ...untrusting, API_PORT: String(port) });
  const remedy = 'let NODE_EXTRA_CA_CERTS name a file with the certificate of the authority that vouches for';
  expect(doctor.stdout).toContain(`${remedy} the server of DATABASE_URL`);
  expect(doctor.stdout).toContain(`${remedy} the server of REDIS_URL`);
});
