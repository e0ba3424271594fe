import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { migrate } from '../../src/core/db/migrate.ts';
import { createEmptyDatabase, type TestDatabase } from '../support/database.ts';
import { freePort } from '../support/free-port.ts';
import { createProcesses, platformCommand, type TestProcess } from '../support/processes.ts';
import { waitFor } from '../support/wait-for.ts';

let database: TestDatabase;
const processes = createProcesses();

beforeEach(async () => {
  database = await createEmptyDatabase();
});

afterEach(async () => {
  await processes.killAll();
  await database.drop();
});

interface Started {
  readonly process: TestProcess;
  readonly port: number;
}

async function start(name: 'api' | 'worker', env: Readonly<Record<string, string>> = {}): Promise<Started> {
  const port = await freePort();
  const process = processes.start(platformCommand(name, { built: true }), {
    env: {
      DATABASE_URL: database.url,
      ENCRYPTION_KEY: 'ab'.repeat(32),
      JWT_SECRET: 'cd'.repeat(32),
      LISTEN_HOST: '127.0.0.1',
      SANDBOX_DRIVER: 'none',
      [name === 'api' ? 'API_PORT' : 'WORKER_PORT']: String(port),
      ...env,
    },
  });
  return { process, port };
}

const statusOf = async (port: number, path: string): Promise<number> =>
  (await fetch(`http://127.0.0.1:${port}${path}`)).status;

/** How often the log says that the database is waited for, with this reason. */
const linesOf = ({ process }: Started, reason: string): number =>
  process
    .output()
    .split('\n')
    .filter((line) => line.includes('waiting for the database') && line.includes(reason)).length;

describe.each(['api', 'worker'] as const)('the %s on a database that is not migrated', (name) => {
  it('is alive and not ready, says so once, and goes on when it is migrated', async () => {
    const started = await start(name);
    await started.process.waitForOutput(/waiting for the database/);
    expect(await statusOf(started.port, '/health/live')).toBe(200);
    const ready = await fetch(`http://127.0.0.1:${started.port}/health/ready`);
    expect([ready.status, await ready.text()]).toEqual([503, expect.stringContaining('millrace migrate')]);
    expect(await statusOf(started.port, '/metrics')).toBe(200);
    // The probes of a kubelet add no lines.
    for (let probe = 0; probe < 5; probe++) await statusOf(started.port, '/health/ready');

    await migrate(database.url);
    await started.process.waitForOutput(/the database is fit/);
    await waitFor(async () => (await statusOf(started.port, '/health/ready')) === 200);
    expect(linesOf(started, 'lacks')).toBeLessThanOrEqual(1);
    expect(started.process.output()).not.toContain('readiness check failed');
  });

  it('ends on a signal while it waits', async () => {
    const started = await start(name);
    await started.process.waitForOutput(/waiting for the database/);
    started.process.signal('SIGTERM');
    expect(await started.process.exited).toBe(0);
  });

  it('waits for a server that is not there, and names it without its password', async () => {
    const started = await start(name, { DATABASE_URL: 'postgres://somebody:canary@127.0.0.1:1/nowhere' });
    await started.process.waitForOutput(/DATABASE_URL cannot be used.*127\.0\.0\.1:1/);
    const ready = await fetch(`http://127.0.0.1:${started.port}/health/ready`);
    expect(ready.status).toBe(503);
    // Where the server is, is nobody's business who asks for health.
    expect(await ready.text()).not.toContain('127.0.0.1:1');
    expect(started.process.output()).not.toContain('canary');
    expect(started.process.hasExited()).toBe(false);
  });

  it('ends with 78 on a schema that is too new for it', async () => {
    await migrate(database.url);
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await client.query(`insert into schema_migration values (999999, 'tomorrow', true)`);
    await client.end();
    const started = await start(name);
    expect(await started.process.exited).toBe(78);
    expect(started.process.stderr()).toContain('tomorrow');
  });
});

describe('the API with API_ADMIN_PORT', () => {
  it('has health and metrics there, and 404 for them on its own port', async () => {
    await migrate(database.url);
    const adminPort = await freePort();
    const { port } = await start('api', { API_ADMIN_PORT: String(adminPort) });
    await waitFor(async () => (await statusOf(adminPort, '/health/ready')) === 200);
    for (const path of ['/health/live', '/health/ready', '/metrics']) {
      expect(await statusOf(adminPort, path), path).toBe(200);
      expect(await statusOf(port, path), path).toBe(404);
    }
    expect(await statusOf(port, '/api/v1/me')).toBe(401);
    for (const path of ['/api/v1/me', '/hooks/x', '/']) {
      expect(await statusOf(adminPort, path), path).toBe(404);
    }
  });

  it('answers nothing else but 503 before the database is there', async () => {
    const adminPort = await freePort();
    const started = await start('api', { API_ADMIN_PORT: String(adminPort) });
    await started.process.waitForOutput(/waiting for the database/);
    expect(await statusOf(adminPort, '/health/live')).toBe(200);
    const refused = await fetch(`http://127.0.0.1:${started.port}/hooks/x`, { method: 'POST' });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '2']);
  });

  it('may be the port of the API', async () => {
    await migrate(database.url);
    const port = await freePort();
    await start('api', { API_PORT: String(port), API_ADMIN_PORT: String(port) });
    await waitFor(async () => (await statusOf(port, '/health/ready')) === 200);
    expect(await statusOf(port, '/api/v1/me')).toBe(401);
  });
});
