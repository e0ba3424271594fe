import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { JsonObject } from '../../../src/core/json.ts';
import type { ApiClient } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';
import type { Stage, Target } from './stage.ts';

/** A workflow beside the load's, for what one row does to few executions. */
export interface OwnWorkflow {
  /** Matches the paths that its steps call, and nobody else's. */
  readonly path: RegExp;
  /** Starts an execution; gives its id. */
  start(): Promise<string>;
}

/**
 * Deploys a workflow of a row's own.
 *
 * @param steps the value of `steps:`, given the ledger's URL for this workflow
 */
export async function deployOwn(
  stage: Stage,
  steps: (url: string) => string,
  files: JsonObject = {},
  client: ApiClient = stage.client,
): Promise<OwnWorkflow> {
  const name = `own-${randomUUID().slice(0, 8)}`;
  const { hook } = await client.deploy(
    `name: ${name}
triggers: { push: { webhook: { verify: { scheme: none } } } }
steps:
${steps(`${stage.ledger.url}/${name}`)}
`,
    files,
  );
  return {
    path: new RegExp(`^/${name}/`),
    async start() {
      const reply = await client.post(hook, {});
      assert.equal(reply.status, 202);
      return reply.data.executionId as string;
    },
  };
}

/** A step that calls the ledger. */
export const callStep = (id: string, url: string, keys = ''): string =>
  `  - { id: ${id}, http: { method: POST, url: "${url}/${id}" }${keys === '' ? '' : `, ${keys}`} }`;

/** How often each of these steps called the ledger. */
export const callsOf = (stage: Stage, executionId: string, steps: readonly string[]): readonly number[] =>
  steps.map((step) => stage.ledger.timesOf(`${executionId}.${step}`).length);

/** How an execution stands, past the API. */
export interface Standing {
  readonly state: string;
  readonly lease_id: string | null;
  readonly lost_leases: number;
  readonly error: { readonly code: string } | null;
  /** Until the lease ends, by the database's clock. */
  readonly lease_left_ms: number | null;
}

export async function standingOf(stage: Stage, executionId: string): Promise<Standing> {
  const { rows } = await stage.sql.query<Standing>(
    `select state, lease_id, lost_leases, error,
       (extract(epoch from next_dispatch_at - clock_timestamp()) * 1000)::float8 as lease_left_ms
     from execution where id = $1`,
    [executionId],
  );
  const standing = rows[0];
  assert.ok(standing !== undefined, `there is no execution ${executionId}`);
  return standing;
}

/** Waits until everything that the endpoint accepted before a time has ended. */
export async function endedUntil(
  stage: Stage,
  target: Target,
  atMs: number,
  timeoutMs: number,
): Promise<void> {
  await waitFor(
    async () => {
      const { rows } = await stage.sql.query<{ open: number }>(
        `select count(*)::int as open from execution e join delivery d on d.id = e.delivery_id
         where d.endpoint_id = $1 and e.finished_at is null and e.created_at <= to_timestamp($2 / 1000.0)`,
        [target.endpointId, atMs],
      );
      return rows[0]?.open === 0;
    },
    { timeoutMs, intervalMs: 200, what: 'what was accepted before the fault to end' },
  );
}
