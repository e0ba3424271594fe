import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { FailpointName } from '../../../src/core/failpoints.ts';
import { waitFor } from '../../support/wait-for.ts';
import { executionsOf } from '../harness/deliveries.ts';
import { createSender, startLoad, type Sent } from '../harness/load.ts';
import type { FaultRow, Scene } from '../harness/row.ts';

/** A second replica dies under a load of its own; both loads together are what the matrix asks for. */
const PER_SECOND = 100;
const PASSAGE = 60;
/** Dispatchers look this often while hints are carried, and claims take a moment. */
const START_BOUND_S = 16;

export const crashRows: readonly FaultRow[] = [
  {
    id: 'R14',
    fault: 'API SIGKILL between COMMIT and the hint',
    during: 'reset',
    after: 'runs within 16 s; the sender’s retry gets `duplicate: true` and the same execution',
    closedBy: 'the dispatcher finds queued rows; the key of a delivery is unique in PostgreSQL',
    perSecond: PER_SECOND,
    run: (scene) => crashAfterCommit(scene, 'hooks.before-hint'),
  },
  {
    id: 'R15',
    fault: 'API SIGKILL before COMMIT',
    during: 'reset',
    after: 'no row; the retry is a fresh 202 at once',
    closedBy: 'one statement writes key, delivery and execution, or nothing',
    perSecond: PER_SECOND,
    async run(scene) {
      const crash = await crashAt(scene, 'ingest.before-commit');
      const fresh = crash.retries.filter(({ sent }) => !crash.committed.has(sent.id));
      assert.ok(fresh.length > 0, 'nothing was under way when the API died');
      for (const { retry } of fresh) {
        assert.equal(retry.answer, 202);
        assert.equal(retry.duplicate, false, 'a retry of what was never committed is the first one');
        assert.ok(retry.tookMs < 2000, `the retry took ${retry.tookMs} ms`);
      }
      return [...crash.evidence, `${fresh.length} without a row, each retry a fresh 202`];
    },
  },
  {
    id: 'R16',
    fault: 'API SIGKILL after COMMIT, before the answer',
    during: 'reset',
    after: 'as R14',
    closedBy: 'as R14',
    perSecond: PER_SECOND,
    run: (scene) => crashAfterCommit(scene, 'hooks.before-answer'),
  },
  {
    id: 'R17',
    fault: 'COMMIT fails',
    during: '503 + Retry-After',
    after: 'no row; the retry is a fresh 202',
    closedBy: '503 on anything but a known commit',
    run: failCommits,
  },
];

async function crashAfterCommit(scene: Scene, failpoint: FailpointName): Promise<readonly string[]> {
  const { evidence, committed, retries } = await crashAt(scene, failpoint);
  const known = retries.filter(({ sent }) => committed.has(sent.id));
  assert.ok(known.length > 0, 'nothing was committed that the sender did not hear of');
  for (const { sent, retry } of known) {
    assert.equal(retry.answer, 202);
    assert.equal(retry.duplicate, true, 'the retry of what was committed is a duplicate');
    assert.equal(retry.executionId, committed.get(sent.id));
  }
  const startS = await secondsToStart(scene.stage.sql, [...committed.values()]);
  assert.ok(startS <= START_BOUND_S, `an execution without a hint started after ${startS} s`);
  return [
    ...evidence,
    `${known.length} committed without an answer, each retry a duplicate`,
    `started after ${startS.toFixed(1)} s at most`,
  ];
}

interface Crash {
  readonly evidence: readonly string[];
  /** Of those that the sender got no answer for: the execution of each that is there. */
  readonly committed: ReadonlyMap<string, string>;
  /** Each of them, and what became of its repetition at the same address. */
  readonly retries: readonly { readonly sent: Sent; readonly retry: Sent }[];
}

/** Has a second API kill itself under load, starts it again at its address, and repeats what had no answer. */
async function crashAt({ stage, target, extra }: Scene, failpoint: FailpointName): Promise<Crash> {
  const doomed = await stage.startApi({
    beside: true,
    env: { MILLRACE_FAILPOINTS: `${failpoint}@${PASSAGE}` },
  });
  const origin = `http://127.0.0.1:${doomed.port}`;
  const load = startLoad({ origin, hook: target.hook, perSecond: PER_SECOND });
  await waitFor(() => doomed.process.hasExited(), { timeoutMs: 30_000, what: 'the API to kill itself' });
  await load.stop();
  assert.equal(await doomed.process.exited, null, 'the API ended otherwise than by a signal');

  // Those that were refused a connection came after its end; the last of them may be left out.
  const cut = load.sent.filter(({ outcome, answer }) => outcome === 'info' && answer !== 'ECONNREFUSED');
  assert.ok(cut.length > 0, 'no request was cut off');
  const committed = await executionsOf(stage.sql, target.endpointId, cut);
  const revived = await stage.startApi({ beside: true, port: doomed.port });
  const sender = createSender({ origin, hook: target.hook });
  const retries = await Promise.all(cut.map(async (sent) => ({ sent, retry: await sender.send(sent.id) })));
  await sender.close();
  await stage.end(revived, 'SIGTERM');
  extra.push(...load.sent, ...retries.map(({ retry }) => retry));
  const answers = [...new Set(cut.map(({ answer }) => answer))].join(', ');
  return {
    evidence: [
      `API ${doomed.process.pid} killed itself at ${failpoint}`,
      `${cut.length} cut off (${answers})`,
    ],
    committed,
    retries,
  };
}

/** From acceptance to start, of the slowest, once all have started. */
async function secondsToStart(sql: pg.Pool, executionIds: readonly string[]): Promise<number> {
  return waitFor(
    async () => {
      const { rows } = await sql.query<{ started: number; seconds: number }>(
        `select count(started_at)::int as started, extract(epoch from max(started_at - created_at))::float8 as seconds
         from execution where id = any($1)`,
        [executionIds],
      );
      return rows[0]?.started === executionIds.length && rows[0].seconds;
    },
    { timeoutMs: 60_000, intervalMs: 100, what: 'executions without a hint to start' },
  );
}

const BREAK_COMMITS = `
create table fault_commit (fails boolean not null);
insert into fault_commit values (false);
create function fault_commit() returns trigger language plpgsql security definer set search_path from current as $$
begin
  if (select fails from fault_commit) then raise exception 'this commit is to fail'; end if;
  return null;
end $$;
create constraint trigger fault_commit after insert on delivery_key deferrable initially deferred
  for each row execute function fault_commit()`;
const MEND_COMMITS = `drop trigger fault_commit on delivery_key; drop function fault_commit; drop table fault_commit`;
const FAILING_MS = 300;

/** A deferred constraint is checked at COMMIT: the statement itself has succeeded by then. */
async function failCommits({ stage, load, target, extra }: Scene): Promise<readonly string[]> {
  await stage.sql.query(BREAK_COMMITS);
  let failed: readonly Sent[] = [];
  try {
    const span = await load.during(async () => {
      await stage.sql.query('update fault_commit set fails = true');
      await delay(FAILING_MS);
      await stage.sql.query('update fault_commit set fails = false');
    });
    failed = span.sent.filter(({ outcome }) => outcome !== 'ok');
  } finally {
    await stage.sql.query(MEND_COMMITS);
  }
  assert.ok(failed.length > 0, 'no commit failed');
  for (const { answer, retryAfter } of failed) {
    assert.equal(answer, 503);
    assert.match(String(retryAfter), /^\d+$/);
  }
  assert.equal((await executionsOf(stage.sql, target.endpointId, failed)).size, 0, 'rows of failed commits');
  const sender = createSender({ origin: `http://127.0.0.1:${stage.api.port}`, hook: target.hook });
  const retries = await Promise.all(failed.map(({ id }) => sender.send(id)));
  await sender.close();
  extra.push(...retries);
  assert.deepEqual(
    [...new Set(retries.map(({ answer, duplicate }) => `${answer} ${duplicate}`))],
    ['202 false'],
  );
  await delay(1500); // so that the failures stay a small part of the whole
  return [
    `${failed.length} commits failed: 503, Retry-After ${failed[0]?.retryAfter}, no row`,
    'retries fresh',
  ];
}
