import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { waitFor } from '../../support/wait-for.ts';
import { answersOf, assertAnswers, assertRefused, duringOutage, recovered } from '../harness/outage.ts';
import type { FaultGroup } from '../harness/row.ts';

/** PostgreSQL is the only truth: while it is away nothing is accepted, and what was accepted comes back with it. */
export const postgresGroup: FaultGroup = {
  name: 'PostgreSQL',
  stage: { workers: 2 },
  rows: [
    {
      id: 'R18',
      fault: 'sessions ended by `pg_terminate_backend` mid-request',
      during: '503 for those whose commit is unknown',
      after: 'every 202 is in the database',
      closedBy: 'only a known commit is answered 202; an ended connection is replaced by a new one',
      async run({ stage, load }) {
        let sessions = 0;
        let inTheMiddle = 0;
        const span = await load.during(async () => {
          for (let n = 0; n < 20; n++) {
            const { rows } = await stage.sql.query<{ state: string }>(
              `select state, pg_terminate_backend(pid) from pg_stat_activity
               where application_name like 'millrace %' and pid <> pg_backend_pid()`,
            );
            sessions += rows.length;
            inTheMiddle += rows.filter(({ state }) => state === 'active').length;
            await delay(100);
          }
        });
        assertAnswers(span, ['202', '503']);
        assertRefused(span);
        assert.ok(inTheMiddle > 0, 'no session was at work when it was ended');
        await recovered(load);
        return [`${sessions} sessions ended, ${inTheMiddle} of them at work`, answersOf(span)];
      },
    },
    {
      id: 'R19',
      fault: 'PostgreSQL SIGKILL and restart',
      during: '503 while it is gone and recovers',
      after: 'pools reconnect by themselves; leases expire, and the work goes on',
      closedBy: 'the write-ahead log; leases in PostgreSQL; connections that failed are never used again',
      claimsMayVanish: true,
      async run({ stage, load, target }) {
        const { pid } = stage.postgres;
        const two = new RegExp(`${target.name}/two$`);
        stage.ledger.delay(two, 2000);
        await waitFor(() => stage.ledger.pending(two) >= 5, { what: 'steps to be under way' });
        const span = await duringOutage(load, async () => {
          await stage.postgres.kill();
          stage.ledger.delay(undefined, 0);
          await delay(7000); // longer than a lease
          await stage.postgres.start();
        });
        assertAnswers(span, ['202', '503']);
        assertRefused(span);
        assert.notEqual(stage.postgres.pid, pid);
        await recovered(load);
        const expired = await waitFor(() => countLostLeases(stage.sql, target.endpointId), {
          timeoutMs: 30_000,
          what: 'a lease to expire',
        });
        return [`postmaster ${pid} killed, gone for 7 s`, answersOf(span), `${expired} leases expired`];
      },
    },
  ],
};

async function countLostLeases(sql: pg.Pool, endpointId: string): Promise<number | undefined> {
  const { rows } = await sql.query<{ count: number }>(
    `select coalesce(sum(e.lost_leases), 0)::int as count from execution e join delivery d on d.id = e.delivery_id
     where d.endpoint_id = $1`,
    [endpointId],
  );
  const count = rows[0]?.count ?? 0;
  return count > 0 ? count : undefined;
}
