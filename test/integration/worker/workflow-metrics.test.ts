import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import type { Owner } from '../../support/executions.ts';
import { insertBacklog } from '../../support/history.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';

const WORKFLOWS = 1000;
/** Most active workflows of a tenant that have a name in metrics, and all others. */
const NAMED = 200;

let database: TestDatabase;
let admin: pg.Client;
let platform: TestPlatform;

beforeAll(async () => {
  database = await createTestDatabase();
  admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  platform = await startPlatform(database.url, { WORKER_CONCURRENCY: '50' }, { workers: 0, hints: false });
});

afterAll(async () => {
  await platform.stop();
  await admin.end();
  await database.drop();
});

/** Copies of a workflow, each with a name of its own: what saving them one by one would leave. */
async function copies(name: string, count: number): Promise<readonly Owner[]> {
  const { rows } = await admin.query<{ tenant_id: string; workflow_id: string }>(
    `with original as (
       select v.* from workflow join workflow_version v on v.workflow_id = workflow.id where name = $1
     ), copy as (
       insert into workflow (tenant_id, name, current_version)
       select tenant_id, $1 || '-' || n, 1 from original, generate_series(1, $2::int) n
       returning id, name, tenant_id
     )
     insert into workflow_version (workflow_id, version, tenant_id, content_hash, format, source, document)
     select copy.id, 1, copy.tenant_id, content_hash, format, source,
       jsonb_set(document::jsonb, '{name}', to_jsonb(copy.name))::json
     from copy, original
     returning workflow_id, tenant_id`,
    [name, count],
  );
  return rows.map((row) => ({ tenantId: row.tenant_id, workflowId: row.workflow_id }));
}

test('a thousand workflows that run make no more series than the most active of them and one for the rest', async () => {
  await platform.deploy(`
name: small
triggers: { in: { webhook: { verify: { scheme: none } } } }
steps: [ { id: it, transform: trigger.body.n } ]
`);
  const owners = await copies('small', WORKFLOWS);
  const toMs = Date.now();
  await insertBacklog(admin, { owners, executions: WORKFLOWS, fromMs: toMs - 1000, toMs });
  const ended = () => platform.metric('millrace_executions_total', { outcome: 'succeeded' });
  await platform.startWorker();
  await waitFor(async () => (await ended()) === WORKFLOWS, { timeoutMs: 60_000, what: 'all to have run' });

  expect(await platform.metric('millrace_step_duration_seconds_count', { kind: 'transform' })).toBe(
    WORKFLOWS,
  );
  expect(await platform.metric('millrace_executions_total', { workflow: 'other' })).toBe(WORKFLOWS - NAMED);
  const page = await platform.metrics();
  for (const metric of [
    'millrace_executions_total',
    'millrace_execution_duration_seconds_count',
    'millrace_step_duration_seconds_count',
  ]) {
    const series = page.split('\n').filter((line) => line.startsWith(`${metric}{`));
    expect(series, metric).toHaveLength(NAMED + 1);
  }
}, 90_000);
