import { connect } from 'node:net';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';

const WORKFLOW = `
name: shed
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [{ id: echo, transform: trigger.body }]
`;

/** A webhook of which only the head is sent; gives what was answered so far. */
function sendHead({ api }: TestPlatform, hook: string): { readonly answer: () => string; close(): void } {
  const socket = connect(api.port, '127.0.0.1');
  let answer = '';
  socket.on('error', () => undefined);
  socket.on('data', (chunk) => (answer += chunk.toString()));
  socket.write(
    `POST ${hook} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n`,
  );
  return { answer: () => answer, close: () => void socket.destroy() };
}

/** Sends heads, and never a body, until one is answered: it was refused before its body was read. */
async function refusalOfHead(platform: TestPlatform, hook: string): Promise<string> {
  const sent: ReturnType<typeof sendHead>[] = [];
  try {
    return await waitFor(
      () => {
        sent.push(sendHead(platform, hook));
        return sent.map(({ answer }) => answer()).find((answer) => answer.endsWith('}'));
      },
      { timeoutMs: 30_000, intervalMs: 200, what: 'a webhook without a body to be refused' },
    );
  } finally {
    for (const one of sent) one.close();
  }
}

let database: TestDatabase;
let sql: pg.Pool;

beforeAll(async () => {
  database = await createTestDatabase();
  sql = new pg.Pool({ connectionString: database.url, max: 1 });
});

afterAll(async () => {
  await sql.end();
  await database.drop();
});

async function countRows(): Promise<{ deliveries: number; executions: number }> {
  const { rows } = await sql.query<{ deliveries: number; executions: number }>(
    `select (select count(*) from delivery)::int as deliveries, (select count(*) from execution)::int as executions`,
  );
  return rows[0]!; // a select without from is one row
}

const BACKLOG = 3;

test('a backlog sheds webhooks before their bodies are read, until it is worked off', async () => {
  const platform = await startPlatform(database.url, { MAX_BACKLOG: String(BACKLOG) }, { workers: 0 });
  try {
    const { hook } = await platform.deploy(WORKFLOW);
    const before = await countRows();
    for (let n = 0; n < BACKLOG; n++) expect((await platform.post(hook, {})).status).toBe(202);
    const full = {
      deliveries: before.deliveries + BACKLOG,
      executions: before.executions + BACKLOG,
    };

    const answer = await refusalOfHead(platform, hook);
    expect(answer).toMatch(/^HTTP\/1\.1 503 /);
    expect(answer).toMatch(/^retry-after: [1-9]\d*\r$/im);
    expect(answer).toContain('"code":"backlog_full"');
    const refused = await platform.post(hook, {});
    expect(refused.status).toBe(503);
    expect(refused.data.code).toBe('backlog_full');
    expect(refused.headers.get('retry-after')).toMatch(/^[1-9]\d*$/);
    expect(await countRows()).toEqual(full);

    await platform.startWorker();
    await waitFor(async () => (await platform.post(hook, {})).status === 202, {
      timeoutMs: 30_000,
      intervalMs: 200,
      what: 'a webhook to be accepted again',
    });
  } finally {
    await platform.stop();
  }
}, 90_000);

describe.each(['RATE_LIMIT_PER_ENDPOINT', 'RATE_LIMIT_PER_TENANT'])('what is above %s', (key) => {
  test('is refused before its body is read', async () => {
    const platform = await startPlatform(database.url, { [key]: '1' }, { workers: 0 });
    try {
      const { hook } = await platform.deploy(WORKFLOW);
      const before = await countRows();
      const answer = await refusalOfHead(platform, hook);
      expect(answer).toMatch(/^HTTP\/1\.1 429 /);
      expect(answer).toMatch(/^retry-after: [1-9]\d*\r$/im);
      expect(answer).toContain('"code":"rate_limited"');
      expect(await countRows()).toEqual(before);
    } finally {
      await platform.stop();
    }
  }, 60_000);
});
