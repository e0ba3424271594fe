import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { waitFor } from '../../support/wait-for.ts';
import { createDebianPostgres } from '../harness/debian-postgres.ts';
import { countDeliveries } from '../harness/deliveries.ts';
import { answersOf, assertAnswers, assertRefused, duringOutage, recovered } from '../harness/outage.ts';
import type { FaultGroup } from '../harness/row.ts';
import { fillDisk, freeDisk, mountSmallDisk } from '../harness/small-disk.ts';

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

/** Enough for a cluster, its log and some minutes of load. */
const DISK_MB = 512;

/** A PostgreSQL whose disk can be filled up. */
export const diskGroup: FaultGroup = {
  name: 'PostgreSQL on a small disk',
  stage: {
    workers: 2,
    async database(directory) {
      const disk = await mountSmallDisk(directory, DISK_MB);
      try {
        return await createDebianPostgres({
          directory: disk.path,
          name: 'primary',
          logDirectory: directory,
          settings: { min_wal_size: '32MB', max_wal_size: '64MB' },
          afterStop: () => disk.unmount(),
        });
      } catch (error) {
        await disk.unmount();
        throw error;
      }
    },
  },
  rows: [
    {
      id: 'R23',
      fault: 'PostgreSQL’s disk full',
      during: '503',
      after: 'recovers after space is freed',
      closedBy: 'only a known commit is answered 202; workers repeat journal writes until the lease is gone',
      claimsMayVanish: true,
      async run({ stage, load }) {
        const disk = join(stage.directory, 'disk');
        let bytes = 0;
        const filling = await load.during(async () => {
          bytes = await fillDisk(disk);
          await waitFor(() => load.sent.at(-1)?.answer === 503, {
            timeoutMs: 60_000,
            what: 'a request to be refused',
          });
        });
        const span = await duringOutage(load, () => delay(4000));
        assertAnswers(span, ['202', '503']);
        assertRefused(span);
        await freeDisk(disk);
        // It may have had to end: a write-ahead log that cannot be written is a reason to. Whoever watches over it starts it.
        const hadEnded = !isRunning(stage.postgres.pid);
        if (hadEnded) await stage.postgres.start();
        await recovered(load);
        assertAnswers(filling, [
          '202',
          ...Object.keys(filling.answers).filter((answer) => answer.startsWith('5')),
        ]);
        const accepted = filling.sent.filter(({ outcome }) => outcome === 'ok').map(({ id }) => id);
        assert.equal(await countDeliveries(stage.sql, accepted), accepted.length, 'a 202 without a row');
        const log = await stage.postgres.log();
        const full = log.match(/No space left on device/g)?.length ?? 0;
        const panics = log.match(/PANIC:/g)?.length ?? 0;
        assert.ok(full > 0, 'PostgreSQL never said that its disk was full');
        return [
          `${Math.round(bytes / 1024 ** 2)} MiB filled, "No space left on device" ${full} times, ${panics} panics` +
            (hadEnded ? ', PostgreSQL ended and was started again' : ''),
          `until the first refusal ${answersOf(filling)}, each 202 with its row`,
          answersOf(span),
        ];
      },
    },
  ],
};

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function countLostLeases(sql: pg.Pool, endpointId: string): Promise<number | undefined> {
  const { rows } = await sql.query<{ count: number }>(
    `select coalesce(sum(e.lost_leases), 0)::int as count from execution e join delivery d on d.id = e.delivery_id
     where d.endpoint_id = $1`,
    [endpointId],
  );
  const count = rows[0]?.count ?? 0;
  return count > 0 ? count : undefined;
}
