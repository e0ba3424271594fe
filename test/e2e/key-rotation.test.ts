import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startCluster, type Cluster } from '../support/cluster.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { createProcesses, PROJECT_ROOT } from '../support/processes.ts';
import { SECRET, SIGNERS } from '../support/signatures.ts';
import { startSink, type Sink } from '../support/sink.ts';

const [OLD, NEW] = [randomBytes(32).toString('hex'), randomBytes(32).toString('base64')];

const WORKFLOW = `name: signed
triggers: { push: { webhook: { verify: { scheme: github, credential: sender } } } }
steps:
  - { id: call, http: { url: "crm:/call", method: POST, credential: crm } }
`;

let database: TestDatabase;
let sink: Sink;
const running: Cluster[] = [];
const processes = createProcesses();

beforeAll(async () => {
  [database, sink] = await Promise.all([createTestDatabase(), startSink()]);
});
afterAll(async () => {
  await Promise.all(running.map((cluster) => cluster.stop()));
  await processes.killAll();
  await sink?.close();
  await database?.drop();
});

const environment = (keys: string): Record<string, string> => ({
  DATABASE_URL: database.url,
  ENCRYPTION_KEY: keys,
  JWT_SECRET: 'cd'.repeat(32),
  EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}`,
});

/** One more API and worker, beside those before. */
async function start(keys: string): Promise<Cluster> {
  const cluster = await startCluster({ databaseUrl: database.url, built: true, env: environment(keys) });
  running.push(cluster);
  await cluster.startWorker();
  return cluster;
}
/** Puts these in the place of all that ran before. */
async function replaceAll(keys: string): Promise<Cluster> {
  const before = running.splice(0);
  const next = await start(keys);
  await Promise.all(before.map((cluster) => cluster.stop()));
  return next;
}

const storeToken = async (cluster: Cluster, token: string): Promise<void> => {
  const { status, text } = await cluster.call('PUT', '/api/v1/credentials/crm', {
    type: 'bearer',
    data: { token, baseUrl: sink.url },
  });
  expect([200, 201], text).toContain(status);
};

/** A signed webhook is taken, and what its step sends has the token. */
async function works(cluster: Cluster, hook: string, token: string): Promise<void> {
  const body = Buffer.from('{}');
  const id = randomBytes(8).toString('hex');
  const reply = await cluster.post(hook, body, SIGNERS.github(body, id));
  expect(reply.status).toBe(202);
  expect(await cluster.finished(reply.data.executionId as string, 60_000)).toMatchObject({
    state: 'succeeded',
  });
  expect(sink.entries.at(-1)?.headers['authorization']).toBe(`Bearer ${token}`);
}

it(
  'ENCRYPTION_KEY is rotated in steps, and everything works in each of them',
  { timeout: 300_000 },
  async () => {
    const first = await start(OLD);
    await first.call('PUT', '/api/v1/credentials/sender', { type: 'secret', data: { value: SECRET } });
    await storeToken(first, 'the-first-token');
    const { hook } = await first.deploy(WORKFLOW);
    await works(first, hook, 'the-first-token');

    const both = await replaceAll(`${OLD},${NEW}`);
    await works(both, hook, 'the-first-token');

    // While the next step is rolled out, those before it read what it seals.
    const next = await start(`${NEW},${OLD}`);
    await storeToken(next, 'the-second-token');
    await expect
      .poll(() => works(both, hook, 'the-second-token').then(() => true), { timeout: 60_000 })
      .toBe(true);
    running.splice(0, 1);
    await both.stop();
    await works(next, hook, 'the-second-token');

    const reseal = processes.start([process.execPath, 'bin/millrace.js', 'reseal'], {
      cwd: PROJECT_ROOT,
      env: environment(`${NEW},${OLD}`),
    });
    expect([await reseal.exited, reseal.stdout()]).toEqual([
      0,
      '1 credential(s) were sealed anew; 2 are sealed with the first key of ENCRYPTION_KEY now, and none with another.\n',
    ]);
    await works(next, hook, 'the-second-token');

    await works(await replaceAll(NEW), hook, 'the-second-token');
    // The old key is of no use any more; and whoever sets it by mistake refuses no sender for good.
    const last = await replaceAll(OLD);
    const body = Buffer.from('{}');
    expect((await last.post(hook, body, SIGNERS.github(body, 'again'))).status).toBe(500);
  },
);
