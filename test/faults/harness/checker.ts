import assert from 'node:assert/strict';
import type pg from 'pg';
import { waitFor } from '../../support/wait-for.ts';
import type { Ledger } from './ledger.ts';
import type { Sent } from './load.ts';

/** What the checker counted; see `FAULTS` in docs/guarantees.md for the words. */
export interface Counts {
  readonly ok: number;
  readonly fail: number;
  readonly info: number;
  readonly lost: number;
  readonly phantom: number;
  readonly duplicates: number;
  readonly stuck: number;
  /** Steps that ran again after their outcome was committed. */
  readonly reRun: number;
  /** Calls from the endpoint's workflow under a key that is not of the step that they are for. */
  readonly strayCalls: number;
  /** Steps that were cut off and ran again under the same key: allowed, and counted. */
  readonly repeatedInFlight: number;
  readonly executions: number;
  readonly lostLeases: number;
}

export interface CheckOptions {
  /** As the database's administrator, past every proxy. */
  readonly sql: pg.Pool;
  readonly ledger: Pick<Ledger, 'timesOf' | 'keysBelow'>;
  readonly endpointId: string;
  /** Below which the steps call the ledger, each at its own name. */
  readonly path: string;
  /** How many steps of each execution call the ledger. */
  readonly stepsEach: number;
  /** Everything the client sent to this endpoint. */
  readonly sent: readonly Sent[];
  /** The executions must have ended after this long. */
  readonly boundMs: number;
  /** Executions that end as `failed` by the row's design. */
  readonly mayFail?: boolean;
  /** Claims may be forgotten by the database (they are not flushed), so that a step may repeat without a lost lease. */
  readonly claimsMayVanish?: boolean;
}

/**
 * A worker follows the database's clock by the quickest of a few round trips, which take long when it has just started and
 * everything is busy. A step that ran again would come a lease later.
 */
const CLOCK_TOLERANCE_MS = 250;

/**
 * Waits until all is quiet, and counts what must not be (the checker of docs/guarantees.md).
 *
 * @throws AssertionError with the counts when one of them is wrong
 */
export async function check(options: CheckOptions): Promise<Counts> {
  await quiet(options);
  const counts = await count(options);
  const { lost, phantom, duplicates, stuck, reRun, strayCalls, ok, fail, info } = counts;
  assert.deepEqual(
    { lost, phantom, duplicates, stuck, reRun, strayCalls },
    { lost: 0, phantom: 0, duplicates: 0, stuck: 0, reRun: 0, strayCalls: 0 },
    `the checker found faults: ${JSON.stringify(counts)}`,
  );
  assert.ok(
    ok / Math.max(1, ok + fail + info) >= 0.9,
    `fewer than 90 % were accepted: ${JSON.stringify(counts)}`,
  );
  return counts;
}

async function quiet({ sql, endpointId, boundMs }: CheckOptions): Promise<void> {
  await waitFor(
    async () => {
      const { rows } = await sql.query<{ open: boolean }>(
        `select exists (select from execution e join delivery d on d.id = e.delivery_id
           where d.endpoint_id = $1 and e.finished_at is null) as open`,
        [endpointId],
      );
      return rows[0]?.open === false;
    },
    { timeoutMs: boundMs, intervalMs: 200, what: 'every execution to end' },
  ).catch(() => undefined); // counted as stuck
}

interface Row {
  readonly key: string;
  readonly deliveries: number;
  readonly execution_ids: readonly string[];
  readonly state: string;
  readonly lost_leases: number;
}

async function count(options: CheckOptions): Promise<Counts> {
  const { sql, endpointId, sent, stepsEach, mayFail = false } = options;
  const { rows } = await sql.query<Row>(
    `select d.dedupe_key as key, count(*)::int as deliveries, array_agg(e.id) as execution_ids, min(e.state) as state,
       max(e.lost_leases) as lost_leases
     from delivery d left join execution e on e.delivery_id = d.id
     where d.endpoint_id = $1 and d.verdict = 'accepted' group by 1`,
    [endpointId],
  );
  const byKey = new Map(rows.map((row) => [row.key, row]));
  const isTerminal = (state: string | undefined): boolean =>
    state === 'succeeded' || (mayFail && (state === 'failed' || state === 'cancelled'));
  const known = new Set(sent.filter(({ outcome }) => outcome !== 'fail').map(({ id }) => id));
  const ok = sent.filter(({ outcome }) => outcome === 'ok');
  const steps = await countSteps(options);
  return {
    ok: ok.length,
    fail: sent.filter(({ outcome }) => outcome === 'fail').length,
    info: sent.filter(({ outcome }) => outcome === 'info').length,
    lost: ok.filter(({ id }) => !isTerminal(byKey.get(id)?.state)).length,
    phantom: rows.filter(({ key }) => !known.has(key)).length,
    duplicates: rows.filter(({ deliveries }) => deliveries > 1).length,
    stuck: rows.filter(({ state }) => !['succeeded', 'failed', 'cancelled'].includes(state)).length,
    reRun: steps.reRun + (mayFail ? 0 : Math.abs(steps.recorded - rows.length * stepsEach)),
    strayCalls: await countStrayCalls(options),
    repeatedInFlight: steps.repeatedInFlight,
    executions: rows.length,
    lostLeases: rows.reduce((sum, row) => sum + (row.lost_leases ?? 0), 0),
  };
}

/** Compares each recorded step with what the ledger saw of it. */
async function countSteps({ sql, ledger, endpointId, claimsMayVanish = false }: CheckOptions): Promise<{
  readonly recorded: number;
  readonly reRun: number;
  readonly repeatedInFlight: number;
}> {
  const { rows } = await sql.query<{
    key: string;
    lost_leases: number;
    finished_ms: number;
    successes: number;
  }>(
    `select s.execution_id || '.' || s.step_id as key, max(e.lost_leases) as lost_leases, count(*)::int as successes,
       (extract(epoch from max(s.finished_at)) * 1000)::float8 as finished_ms
     from step_run s join execution e on e.id = s.execution_id join delivery d on d.id = e.delivery_id
     where d.endpoint_id = $1 and s.state = 'succeeded' group by 1`,
    [endpointId],
  );
  let reRun = 0;
  let repeatedInFlight = 0;
  for (const { key, lost_leases, finished_ms, successes } of rows) {
    const times = ledger.timesOf(key);
    const isWrong =
      successes !== 1 ||
      times.length === 0 ||
      Math.max(...times) > finished_ms + CLOCK_TOLERANCE_MS ||
      // Nobody lost a lease, so nothing was cut off, and nothing may have come twice.
      (lost_leases === 0 && times.length > 1 && !claimsMayVanish);
    if (isWrong) reRun++;
    else if (times.length > 1) repeatedInFlight++;
  }
  return { recorded: rows.length, reRun, repeatedInFlight };
}

/**
 * A step has one key, `<execution>.<step>`, however often it is tried, and it calls with no other: an execution that
 * changed its key would be seen as two by the service, and one that nothing is recorded of is seen by nobody else.
 */
async function countStrayCalls({ sql, ledger, endpointId, path }: CheckOptions): Promise<number> {
  const { rows } = await sql.query<{ key: string }>(
    // Of every tenant's workflow of that name: they call below the same path.
    `select distinct s.execution_id || '.' || s.step_id as key
     from step_run s join execution e on e.id = s.execution_id join workflow w on w.id = e.workflow_id
     where w.name = (select w.name from endpoint p join workflow w on w.id = p.workflow_id where p.id = $1)`,
    [endpointId],
  );
  const recorded = new Set(rows.map(({ key }) => key));
  const strays = ledger.keysBelow(path).flatMap(({ path: called, keys }) => {
    const step = called.slice(path.length);
    return [...keys].filter((key) => !recorded.has(key) || !key.endsWith(`.${step}`));
  });
  return strays.length;
}
