import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { makeId } from '../../src/core/db/ids.ts';
import { insertExecution } from '../../src/core/executions/lifecycle.ts';
import type { JsonValue } from '../../src/core/json.ts';

/** A tenant and a workflow to hang executions on. */
export interface Owner {
  readonly tenantId: string;
  readonly workflowId: string;
}

/** Makes a tenant with one workflow, as the database's owner. */
export async function createOwner(url: string, name = `t${randomUUID().slice(0, 8)}`): Promise<Owner> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const tenant = await client.query<{ id: string }>(`insert into tenant (name) values ($1) returning id`, [
      name,
    ]);
    const tenantId = tenant.rows[0]!.id;
    const workflow = await client.query<{ id: string }>(
      `insert into workflow (tenant_id, name, current_version) values ($1, 'test', 1) returning id`,
      [tenantId],
    );
    return { tenantId, workflowId: workflow.rows[0]!.id };
  } finally {
    await client.end();
  }
}

/** Queues an execution by hand; returns its id. */
export async function queueExecution(
  db: Pick<pg.ClientBase, 'query'>,
  owner: Owner,
  input: JsonValue = null,
): Promise<string> {
  const id = makeId(Date.now());
  await insertExecution(db, {
    id,
    tenantId: owner.tenantId,
    workflowId: owner.workflowId,
    version: 1,
    triggerType: 'manual',
    triggerName: 'manual',
    input,
  });
  return id;
}
