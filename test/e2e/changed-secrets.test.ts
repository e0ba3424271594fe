import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { EXIT_AGAIN } from '../../src/core/lifecycle.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { freePort } from '../support/free-port.ts';
import { API_KEY, createApiClient } from '../support/platform.ts';
import { createProcesses, platformCommand, type TestProcess } from '../support/processes.ts';
import { processEnvironment } from '../support/process-environment.ts';
import { makeTempDirectory } from '../support/temp-directory.ts';
import { untilReady } from '../support/until-ready.ts';
import { waitFor } from '../support/wait-for.ts';

const CHECK_MS = 500;

const WORKFLOW = `
name: echo
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [{ id: say, transform: { value: trigger.body } }]
`;

let database: TestDatabase;
let role: string;
let environment: Readonly<Record<string, string>>;
const processes = createProcesses();

beforeEach(async () => {
  database = await createTestDatabase();
  role = `test_${randomBytes(6).toString('hex')}`;
  await asAdmin(`create role ${role} superuser login password 'first'`);
});

afterEach(async () => {
  await processes.killAll();
  await database.drop();
  await asAdmin(`drop role ${role}`, new URL('/postgres', database.url).href);
});

async function asAdmin(sql: string, url = database.url): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

function urlWith(password: string): string {
  const url = new URL(database.url);
  url.username = role;
  url.password = password;
  return url.href;
}

/** A process, and who starts it again when it asks for that. */
interface Supervised {
  readonly port: number;
  readonly starts: TestProcess[];
}

function supervise(name: 'api' | 'worker', port: number): Supervised {
  const supervised: Supervised = { port, starts: [] };
  const start = (): void => {
    const started = processes.start(platformCommand(name, { built: true }), {
      env: { ...environment, [name === 'api' ? 'API_PORT' : 'WORKER_PORT']: String(port) },
    });
    supervised.starts.push(started);
    void started.exited.then((code) => {
      if (code === EXIT_AGAIN) start();
    });
  };
  start();
  return supervised;
}

const isReady = async (port: number): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}/health/ready`).then(
    ({ status }) => status === 200,
    () => false,
  );

it(
  'has every process started anew with changed secrets, one API after the other',
  { timeout: 300_000 },
  async () => {
    const folder = await makeTempDirectory();
    const file = join(folder, 'database-url');
    await writeFile(file, `${urlWith('first')}\n`);
    environment = {
      ...processEnvironment(),
      DATABASE_URL_FILE: file,
      SECRETS_CHECK_MS: String(CHECK_MS),
      SANDBOX_DRIVER: 'none',
    };
    const apis = [supervise('api', await freePort()), supervise('api', await freePort())];
    const worker = supervise('worker', await freePort());
    for (const { starts, port } of [...apis, worker]) await untilReady(starts[0]!, port, 90_000);
    const { hook } = await createApiClient(`http://127.0.0.1:${apis[0]!.port}`, API_KEY).deploy(WORKFLOW);

    // What is no URL changes nothing.
    await writeFile(file, 'canary\n');
    for (const { starts } of [...apis, worker]) {
      await starts[0]!.waitForOutput(/a secret was changed to what cannot be used/);
      expect(starts[0]!.output()).not.toContain('canary');
    }

    await asAdmin(`alter role ${role} password 'second'`);
    await writeFile(file, `${urlWith('second')}\n`);
    const statuses = new Map<number | string, number>();
    const isOver = async (): Promise<boolean> => {
      const isAnew = [...apis, worker].every(({ starts }) => starts.length === 2);
      return isAnew && (await Promise.all([...apis, worker].map(({ port }) => isReady(port)))).every(Boolean);
    };
    const over = waitFor(isOver, { timeoutMs: 150_000, what: 'all to be started anew' });
    const ended = new AbortController();
    void over.finally(() => ended.abort()).catch(() => undefined);
    while (!ended.signal.aborted) {
      // As a Service does: to one that is ready.
      const ready = await Promise.all(apis.map(({ port }) => isReady(port)));
      const { port } = apis[ready.indexOf(true)] ?? { port: undefined };
      const status =
        port === undefined
          ? 'nobody is ready'
          : (await fetch(`http://127.0.0.1:${port}${hook}`, { method: 'POST', body: '{}' })).status;
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      await delay(100);
    }
    await over;

    expect([...statuses.keys()]).toEqual([202]);
    expect(statuses.get(202)).toBeGreaterThan(20);
    for (const { starts } of [...apis, worker]) {
      expect(starts).toHaveLength(2);
      expect(await starts[0]!.exited).toBe(EXIT_AGAIN);
      expect(starts[0]!.output()).toMatch(/"changed":\["DATABASE_URL"\]/);
    }
  },
);
