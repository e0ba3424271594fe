import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { waitFor } from '../../support/wait-for.ts';
import type { DatabaseServer } from '../harness/database-server.ts';
import {
  ask,
  createDebianPostgres,
  makeDatabaseDirectory,
  startRestored,
  startStandby,
  takeBaseBackup,
} from '../harness/debian-postgres.ts';
import { countDeliveries, executionsOf } from '../harness/deliveries.ts';
import { createSender, type Load, type Sent } from '../harness/load.ts';
import { answersOf, assertAnswers, assertRefused, duringOutage, recovered } from '../harness/outage.ts';
import type { FaultGroup } from '../harness/row.ts';
import type { Stage, Target } from '../harness/stage.ts';

/** So that the rows need not wait ten seconds for each answer that a missing standby holds up. */
const QUERY_TIMEOUT_MS = 2000;
/** Less than the API waits for a connection to write deliveries with. */
const STALLED_MS = 1000;
const NO_ARCHIVE = '/bin/true';
/** Of every server of the group, since each may become the primary. */
const SETTINGS = { archive_mode: 'on' };

/** Standbys and backups, with the oldest PostgreSQL that is supported. */
export const replicationGroup: FaultGroup = {
  name: 'PostgreSQL 15 with standbys and backups',
  stage: {
    workers: 2,
    env: { DB_QUERY_TIMEOUT_MS: String(QUERY_TIMEOUT_MS) },
    async database(directory) {
      const server = await createDebianPostgres({
        directory,
        name: 'primary',
        settings: SETTINGS,
      });
      await archiveWith(server, NO_ARCHIVE);
      return server;
    },
  },
  rows: [
    {
      id: 'R20',
      fault: 'primary killed, synchronous standby promoted',
      during: '503 until the standby has taken over',
      after: 'nothing that was answered 202 is lost',
      closedBy: 'a commit waits for the standby; leases that it does not know are fenced',
      claimsMayVanish: true,
      async run({ stage, load }) {
        const standby = await addSynchronousStandby(stage);
        const { pid } = stage.postgres;
        const before = await timelineOf(standby);
        const stalled = await stallReplication(stage, standby, load);
        const acceptedBefore = load.sent.filter(({ outcome }) => outcome === 'ok').length;
        const span = await duringOutage(load, async () => {
          await stage.postgres.kill();
          await delay(1000); // as long as somebody needs to notice
          await ask(standby, 'select pg_promote()');
          await stage.postgres.follow(standby);
        });
        assertAnswers(span, ['202', '503']);
        assertRefused(span);
        const after = await timelineOf(standby);
        assert.ok(after > before, `the timeline is still ${after}`);
        assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
        await recovered(load);
        return [
          `replication stalled for ${STALLED_MS} ms: ${stalled.waiting} sessions waited for the standby, none of ${stalled.sent} requests was answered 202`,
          `primary ${pid} killed after ${acceptedBefore} × 202, standby promoted (timeline ${before} → ${after})`,
          answersOf(span),
        ];
      },
    },
    {
      id: 'R22',
      fault: 'synchronous standby down',
      during:
        '503 after the client’s time-out, also where the wait is cancelled and COMMIT ends with a WARNING',
      after: 'never a 202 that is not replicated',
      closedBy:
        'a commit is waited for or given up, never cancelled; one that came with a WARNING counts as unknown',
      async run({ stage, load, target, extra }) {
        const standby = await addSynchronousStandby(stage);
        load.pace(0);
        await load.answered();
        await standby.kill();
        let givenUp = 0;
        let waiting = 0;
        let cancelled = 0;
        let doubted = 0;
        const span = await duringOutage(load, async () => {
          const givenUpBefore = countLogged(stage, 'Query read timeout');
          await delay(2 * QUERY_TIMEOUT_MS);
          givenUp = countLogged(stage, 'Query read timeout') - givenUpBefore;
          waiting = await countWaiting(stage);
          const doubtedBefore = countLogged(stage, IN_DOUBT);
          await waitFor(
            async () => {
              cancelled += await cancelWaitingCommits(stage);
              doubted = countLogged(stage, IN_DOUBT) - doubtedBefore;
              return doubted >= 3;
            },
            { timeoutMs: 10_000, intervalMs: 250, what: 'commits that end with a WARNING' },
          );
        });
        const unreplicated = await countDeliveries(
          stage.sql,
          span.sent.map(({ id }) => id),
        );
        assertAnswers(span, ['503']);
        assertRefused(span);
        assert.ok(givenUp > 0, 'no delivery was given up after the time-out');
        const warned = count(
          await stage.postgres.log(),
          /WARNING: {2}canceling wait for synchronous replication/g,
        );
        assert.ok(warned > 0, 'PostgreSQL logged no cancelled wait');
        assert.ok(unreplicated > 0, 'nothing was committed on the primary alone, so nothing was at stake');
        await standby.start();
        await untilSynchronous(stage);
        await recovered(load);
        const retried = await resend(stage, target, span.sent);
        extra.push(...retried.sent);
        await stage.sql.query('alter system reset synchronous_standby_names');
        await stage.sql.query('select pg_reload_conf()');
        await standby.stop();
        return [
          `standby ${standby.pid} down`,
          `${givenUp} deliveries given up after the time-out, ${waiting} sessions left waiting in PostgreSQL`,
          `${cancelled} waits cancelled, ${warned} WARNINGs logged, ${doubted} deliveries in doubt because of one`,
          `${unreplicated} deliveries were on the primary alone, none answered 202`,
          `all sent again: ${retried.known} duplicates of those that were there, ${retried.sent.length - retried.known} accepted anew`,
          answersOf(span),
        ];
      },
    },
    {
      id: 'R40',
      fault: 'restore from a backup to a point in time',
      during: '–',
      after: 'all that was accepted before it is there; running work resumes',
      closedBy: 'everything is in PostgreSQL, leases and the journal too; no other store has to match it',
      async run(scene) {
        const { stage, load, target } = scene;
        const name = `restored_${randomUUID().slice(0, 8)}`;
        const archive = join(stage.directory, `archive_${name}`);
        await makeDatabaseDirectory(archive);
        await archiveWith(stage.postgres, `cp %p ${archive}/%f`);
        const backup = await takeBaseBackup(
          { directory: stage.directory, name, settings: SETTINGS },
          stage.postgres.port,
        );
        const inBackup = load.sent.length;
        await delay(1000); // what is accepted now is only in the archived log

        const two = new RegExp(`${target.name}/two$`);
        stage.ledger.delay(two, 3000);
        await waitFor(() => stage.ledger.pending(two) >= 5, { what: 'steps to be under way' });
        load.pace(0);
        await load.answered();
        await Promise.all(stage.workers.map((worker) => stage.end(worker, 'SIGKILL')));
        stage.ledger.delay(undefined, 0);

        const { time, running } = await standing(stage);
        assert.ok(running > 0, 'nothing was running at that time');
        const undone = await sendSome(stage, target.hook);
        await archiveEverything(stage);
        await stage.postgres.kill();
        const segments = (await readdir(archive)).length;

        const restored = await startRestored(backup, { archive, time });
        stage.atClose(() => restored.stop());
        await waitFor(
          async () => (await ask<{ is: boolean }>(restored, 'select not pg_is_in_recovery() as is')).is,
          {
            timeoutMs: 60_000,
            what: 'recovery to end',
          },
        );
        await stage.postgres.follow(restored);
        await archiveWith(restored, NO_ARCHIVE);
        assert.equal(await countDeliveries(stage.sql, undone), 0, 'it went beyond the point in time');
        for (let n = 0; n < 2; n++) await stage.startWorker();
        await recovered(load);
        return [
          `base backup, then ${load.sent.length - inBackup} requests and ${segments} archived segments`,
          `${running} executions were running at that time and resumed, ${undone.length} deliveries of afterwards are gone`,
        ];
      },
    },
  ],
};

/** Log that nobody asked for is not kept; what is on the command line could not be changed later. */
async function archiveWith(server: Pick<DatabaseServer, 'url'>, command: string): Promise<void> {
  await ask(server, `alter system set archive_command = '${command}'`);
  await ask(server, 'select pg_reload_conf()');
}

/** What commits from now on is on a second server before it is answered. */
async function addSynchronousStandby(stage: Stage): Promise<DatabaseServer> {
  const name = `standby_${randomUUID().slice(0, 8)}`;
  const standby = await startStandby(
    { directory: stage.directory, name, settings: SETTINGS },
    stage.postgres.port,
  );
  stage.atClose(() => standby.stop());
  await stage.sql.query(`alter system set synchronous_standby_names = '${name}'`);
  await stage.sql.query('select pg_reload_conf()');
  await untilSynchronous(stage);
  return standby;
}

async function untilSynchronous(stage: Stage): Promise<void> {
  await waitFor(
    async () => {
      const { rows } = await stage.sql.query(`select from pg_stat_replication where sync_state = 'sync'`);
      return rows.length === 1;
    },
    { timeoutMs: 30_000, what: 'the standby to be synchronous' },
  );
}

/**
 * Stops what receives the log on the standby: no commit of meanwhile is there, so no request of meanwhile may be answered
 * 202 before it goes on.
 */
async function stallReplication(
  stage: Stage,
  standby: DatabaseServer,
  load: Load,
): Promise<{ readonly sent: number; readonly waiting: number }> {
  const { pid } = await ask<{ pid: number }>(standby, 'select pid from pg_stat_wal_receiver');
  let waiting = 0;
  let stoppedAtMs = 0;
  let goesOnAtMs = 0;
  const span = await load.during(async () => {
    process.kill(pid, 'SIGSTOP');
    try {
      await waitFor(async () => /\) T /.test(await readFile(`/proc/${pid}/stat`, 'utf8')), {
        what: 'the receiver of the log to be stopped',
      });
      stoppedAtMs = Date.now();
      await delay(STALLED_MS);
      waiting = await countWaiting(stage);
    } finally {
      goesOnAtMs = Date.now();
      process.kill(pid, 'SIGCONT');
    }
  });
  const sent = span.sent.filter(({ sentAtMs }) => sentAtMs > stoppedAtMs && sentAtMs < goesOnAtMs);
  assert.ok(sent.length > 0 && waiting > 0, `${waiting} sessions waited, for ${sent.length} requests`);
  const early = sent.filter(
    ({ outcome, sentAtMs, tookMs }) => outcome === 'ok' && sentAtMs + tookMs < goesOnAtMs,
  );
  assert.equal(early.length, 0, 'requests were answered 202 though no standby had their deliveries');
  return { sent: sent.length, waiting };
}

/**
 * The senders try again what was not accepted: what is there is found by its id, the rest is accepted as the first.
 *
 * @returns the retries, and how many were of deliveries that were there
 */
async function resend(
  stage: Stage,
  target: Target,
  sent: readonly Sent[],
): Promise<{ readonly sent: readonly Sent[]; readonly known: number }> {
  const unknown = sent.filter(({ outcome }) => outcome === 'info');
  await waitFor(async () => (await countLongWaiting(stage)) === 0, {
    timeoutMs: 30_000,
    what: 'sessions to end that waited for the standby',
  });
  const there = await executionsOf(stage.sql, target.endpointId, unknown);
  const sender = createSender({ origin: `http://127.0.0.1:${stage.api.port}`, hook: target.hook });
  const retries = await Promise.all(unknown.map(({ id }) => sender.send(id)));
  await sender.close();
  for (const { id, answer, duplicate, executionId } of retries) {
    assert.equal(answer, 202);
    const known = there.get(id);
    assert.equal(
      duplicate,
      known !== undefined,
      'a retry is a duplicate if, and only if, the first is there',
    );
    if (known !== undefined) assert.equal(executionId, known, 'the retry became another execution');
  }
  assert.ok(there.size > 0, 'nothing that was sent again was there');
  return { sent: retries, known: there.size };
}

/** The first 8 digits of a segment's name are its timeline. */
async function timelineOf(server: DatabaseServer): Promise<number> {
  const { timeline } = await ask<{ timeline: number }>(
    server,
    `select case when pg_is_in_recovery() then (select received_tli from pg_stat_wal_receiver)
       else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int end as timeline`,
  );
  return timeline;
}

/** Sessions that wait for the standby: PostgreSQL keeps them though nobody listens to them any more. */
async function countWaiting(stage: Stage): Promise<number> {
  const { rows } = await stage.sql.query(`select from pg_stat_activity where wait_event = 'SyncRep'`);
  return rows.length;
}

/** Those that have waited for longer than a commit takes. */
async function countLongWaiting(stage: Stage): Promise<number> {
  const { rows } = await stage.sql.query(
    `select from pg_stat_activity where wait_event = 'SyncRep' and query_start < clock_timestamp() - interval '1 s'`,
  );
  return rows.length;
}

/** Cancels the wait of every commit of a delivery for the standby. @returns how many */
async function cancelWaitingCommits(stage: Stage): Promise<number> {
  const { rows } = await stage.sql.query(
    `select pg_cancel_backend(pid) from pg_stat_activity
     where wait_event = 'SyncRep' and application_name = 'millrace api ingest'`,
  );
  return rows.length;
}

const count = (text: string, pattern: RegExp): number => text.match(pattern)?.length ?? 0;

/** What the API says of a delivery whose COMMIT came with a WARNING. */
const IN_DOUBT = 'the commit is in doubt, PostgreSQL warned: canceling wait for synchronous replication';

/** Lines of the API's log, one for each delivery. */
const countLogged = (stage: Stage, words: string): number =>
  stage.api.process
    .output()
    .split('\n')
    .filter((line) => line.includes(words)).length;

/** What time it is, and how many executions run. */
async function standing(stage: Stage): Promise<{ readonly time: string; readonly running: number }> {
  const { rows } = await stage.sql.query<{ time: string; running: number }>(
    `select clock_timestamp()::text as time, count(*)::int as running from execution where state = 'running'`,
  );
  return rows[0]!; // an aggregate is one row
}

/** Deliveries that are accepted and, by the restore, undone: the checker is not to miss them. @returns their ids */
async function sendSome(stage: Stage, hook: string): Promise<readonly string[]> {
  const sender = createSender({ origin: `http://127.0.0.1:${stage.api.port}`, hook });
  const ids = Array.from({ length: 20 }, () => randomUUID());
  for (const id of ids) assert.equal((await sender.send(id)).answer, 202);
  await sender.close();
  return ids;
}

/** Ends the segment that is written, and waits until it is in the archive. */
async function archiveEverything(stage: Stage): Promise<void> {
  const { rows } = await stage.sql.query<{ segment: string }>(
    'select pg_walfile_name(pg_switch_wal()) as segment',
  );
  const segment = rows[0]!.segment; // a select without from is one row
  await waitFor(
    async () => {
      const { rows: archived } = await stage.sql.query(
        // The label of a backup is archived too, under the name of a segment and more.
        `select from pg_stat_archiver where last_archived_wal ~ '^[0-9A-F]{24}$' and last_archived_wal >= $1`,
        [segment],
      );
      return archived.length === 1;
    },
    { timeoutMs: 30_000, what: `segment ${segment} to be archived` },
  );
}
