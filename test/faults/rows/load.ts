import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { quantile } from '../../../bench/statistics.ts';
import { waitFor } from '../../support/wait-for.ts';
import { countDeliveries } from '../harness/deliveries.ts';
import { startLoad, toSpan, type Sent } from '../harness/load.ts';
import type { FaultGroup, Scene } from '../harness/row.ts';
import type { Stage, Target } from '../harness/stage.ts';
import { newTenant } from '../harness/tenant.ts';
import { byLength } from '../length.ts';

/** Of each tenant of this stage; what is above is refused. */
const TENANT_QUOTA = 300;
const SPIKE_PER_SECOND = 2000;
const SPIKE_MS = byLength(4000, 60_000);
const NOISE_MS = 6000;
/** Executions that wait for a service that does not answer for so long. */
const SLOW = byLength(300, 1000);
const SLOW_MS = byLength(12_000, 30_000);
const BACKLOG = byLength(4000, 100_000);
/** Each of three steps, by two workers that share the machine with everything else; slow ones, so that nothing hangs on it. */
const WORKED_OFF_PER_SECOND = 60;
/** What every process of a stage may open. */
const CONNECTIONS_EACH = 10;

/** More load than there is room for: FAULTS' "Load and soak", in short; in full with `FAULTS_LENGTH=long`. */
export const loadGroup: FaultGroup = {
  name: 'Load',
  stage: { workers: 1, env: { RATE_LIMIT_PER_TENANT: String(TENANT_QUOTA) } },
  rows: [
    {
      id: 'L01',
      fault: `a spike of ${SPIKE_PER_SECOND} webhooks/s`,
      perSecond: 20,
      during: 'refusals are 429 or 503 with an integer Retry-After',
      after: 'nothing that was refused has a row; the rest runs',
      closedBy: 'limits are looked at before the body is read, and only a commit is answered with 202',
      timeoutMs: 180_000 + 3 * SPIKE_MS,
      run: spike,
    },
    {
      id: 'L02',
      fault: 'a tenant sends ten times its quota',
      perSecond: 20,
      during: 'the others are accepted and start as before',
      after: 'the checker holds',
      closedBy: 'limits for each tenant at the door, and slots that are shared between tenants',
      run: noisyTenant,
    },
    {
      id: 'L03',
      fault: `${SLOW} executions wait for a service that takes ${SLOW_MS / 1000} s`,
      during: 'executions of others, and of the same tenant, start as before',
      after: 'the slow ones succeed',
      closedBy: 'an execution that only waits for an answer gives its slot to others',
      perSecond: 20,
      timeoutMs: 180_000 + 2 * SLOW_MS,
      run: slowService,
    },
    {
      id: 'L04',
      fault: `everything is restarted with a backlog of ${BACKLOG}`,
      during: 'connections stay within their bounds',
      after: 'the oldest waiting one gets younger all the time, and the backlog is worked off',
      closedBy: 'bounded pools; each worker claims what it has slots for',
      perSecond: 20,
      timeoutMs: 240_000 + (BACKLOG / TENANT_QUOTA + BACKLOG / WORKED_OFF_PER_SECOND) * 1000,
      run: coldRestart,
    },
  ],
};

const originOf = (stage: Stage): string => `http://127.0.0.1:${stage.api.port}`;

async function sendFor(
  stage: Stage,
  target: Target,
  perSecond: number,
  ms: number,
): Promise<readonly Sent[]> {
  const load = startLoad({ origin: originOf(stage), hook: target.hook, perSecond });
  await delay(ms);
  await load.stop();
  return load.sent;
}

async function spike({ stage, target }: Scene): Promise<readonly string[]> {
  const spiky = await stage.deploy(`${target.name}-spike`, await newTenant(stage));
  const sent = await sendFor(stage, spiky, SPIKE_PER_SECOND, SPIKE_MS);
  const refused = sent.filter(({ outcome }) => outcome !== 'ok');
  assert.ok(refused.length > 0, 'nothing was refused, so this was no spike');
  for (const { answer, retryAfter } of refused) {
    assert.ok(answer === 429 || answer === 503, `a refusal was ${answer}`);
    assert.match(retryAfter ?? '', /^[1-9]\d*$/);
  }
  const recorded = await countDeliveries(
    stage.sql,
    refused.map(({ id }) => id),
  );
  assert.equal(recorded, 0, 'what was refused has rows');
  await allSucceeded(
    stage.sql,
    sent.filter(({ outcome }) => outcome === 'ok'),
  );
  return [`${sent.length} in ${SPIKE_MS / 1000} s: ${JSON.stringify(toSpan(sent).answers)}`];
}

async function noisyTenant({ stage, target, load }: Scene): Promise<readonly string[]> {
  const noisy = await stage.deploy(`${target.name}-noise`, await newTenant(stage));
  const before = await load.during(() => delay(3000));
  let noise: readonly Sent[] = [];
  const meanwhile = await load.during(async () => {
    noise = await sendFor(stage, noisy, 10 * TENANT_QUOTA, NOISE_MS);
  });
  const refused = toSpan(noise).answers['429'] ?? 0;
  assert.ok(refused > noise.length / 2, 'the noise was within its quota');
  assert.deepEqual(Object.keys(meanwhile.answers), ['202']);
  const beforeMs = await startDelays(stage.sql, before.sent);
  const meanwhileMs = await startDelays(stage.sql, meanwhile.sent);
  // How much later they start is for bench/, where nothing else runs; here they must not wait for the noise to end.
  assert.ok(quantile(meanwhileMs, 0.5) < 1000, `the others started after ${quantile(meanwhileMs, 0.5)} ms`);
  await allSucceeded(
    stage.sql,
    noise.filter(({ outcome }) => outcome === 'ok'),
  );
  return [
    `${noise.length} sent by one, ${refused} refused`,
    `the other's start p50 ${quantile(beforeMs, 0.5).toFixed(0)} → ${quantile(meanwhileMs, 0.5).toFixed(0)} ms`,
  ];
}

async function slowService({ stage, target, extra }: Scene): Promise<readonly string[]> {
  const slow = await stage.deploy(`${target.name}-slow`);
  const stranger = await stage.deploy(`${target.name}-stranger`, await newTenant(stage));
  stage.ledger.delay(new RegExp(`/${slow.name}/two`), SLOW_MS);
  try {
    const slowOnes = await sendFor(stage, slow, 100, (SLOW / 100) * 1000);
    await waitFor(() => stage.ledger.pending(new RegExp(`/${slow.name}/two`)) >= SLOW * 0.95, {
      timeoutMs: 10_000,
      what: 'the slow ones to wait for their answer',
    });
    const [own, others] = await Promise.all([
      sendFor(stage, target, 20, 3000),
      sendFor(stage, stranger, 20, 3000),
    ]);
    extra.push(...own);
    const waiting = stage.ledger.pending(new RegExp(`/${slow.name}/two`));
    const ownMs = await startDelays(stage.sql, own);
    const othersMs = await startDelays(stage.sql, others);
    assert.ok(waiting > 0, 'nothing was slow while the others ran');
    for (const delays of [ownMs, othersMs]) {
      assert.ok(quantile(delays, 0.5) < 1500, `others started after ${quantile(delays, 0.5)} ms`);
    }
    await allSucceeded(stage.sql, slowOnes);
    return [
      `${waiting} executions waited for the service meanwhile`,
      `start p50 of the same tenant ${quantile(ownMs, 0.5).toFixed(0)} ms, of another ${quantile(othersMs, 0.5).toFixed(0)} ms`,
    ];
  } finally {
    stage.ledger.delay(undefined, 0);
  }
}

async function coldRestart({ stage, target, extra }: Scene): Promise<readonly string[]> {
  for (const worker of stage.workers.slice()) await stage.end(worker, 'SIGKILL');
  const backlog = await sendFor(stage, target, TENANT_QUOTA - 40, (BACKLOG / (TENANT_QUOTA - 40)) * 1000);
  extra.push(...backlog.filter(({ outcome }) => outcome === 'ok'));
  await stage.end(stage.api, 'SIGKILL');
  await stage.redis.kill();
  await stage.postgres.kill();
  await Promise.all([stage.postgres.start(), stage.replaceRedis()]);
  await Promise.all([stage.startApi(), stage.startWorker(), stage.startWorker()]);
  let most = 0;
  const oldest: number[] = [];
  await waitFor(
    async () => {
      const { rows } = await stage.sql.query<{
        connections: number;
        waiting: number;
        oldest_ms: number | null;
      }>(
        `select (select count(*)::int from pg_stat_activity where application_name like 'millrace%') as connections,
           count(*)::int as waiting,
           (extract(epoch from min(created_at)) * 1000)::float8 as oldest_ms
         from execution where state = 'queued'`,
      );
      const { connections, waiting, oldest_ms } = rows[0]!; // an aggregate has a row
      most = Math.max(most, connections);
      if (oldest_ms !== null) oldest.push(oldest_ms);
      return waiting < 20;
    },
    {
      timeoutMs: 60_000 + (BACKLOG / WORKED_OFF_PER_SECOND) * 1000,
      intervalMs: 500,
      what: 'the backlog to be worked off',
    },
  );
  assert.ok(most <= 3 * CONNECTIONS_EACH, `${most} connections were open`);
  // Every look finds the oldest no older than the look before, but for one that had to run again.
  const steps = oldest.slice(1).map((ms, index) => ms - oldest[index]!);
  assert.ok(steps.filter((ms) => ms < 0).length <= 2, `the oldest got older: ${steps.join(', ')}`);
  return [`${backlog.length} were waiting`, `at most ${most} of ${3 * CONNECTIONS_EACH} connections`];
}

/** From the creation of each execution to its first claim, in milliseconds, once all have started. */
async function startDelays(sql: pg.Pool, sent: readonly Sent[]): Promise<readonly number[]> {
  const ids = sent.map(({ executionId }) => executionId);
  const { rows } = await waitFor(
    async () => {
      const found = await sql.query<{ ms: number }>(
        `select extract(epoch from started_at - created_at)::float8 * 1000 as ms
         from execution where id = any($1::uuid[]) and started_at is not null`,
        [ids],
      );
      return found.rows.length === ids.length && found;
    },
    { timeoutMs: 60_000, intervalMs: 100, what: `${ids.length} executions to start` },
  );
  return rows.map(({ ms }) => ms);
}

async function allSucceeded(sql: pg.Pool, sent: readonly Sent[]): Promise<void> {
  await waitFor(
    async () => {
      const { rows } = await sql.query<{ count: number }>(
        `select count(*)::int as count from execution where id = any($1::uuid[]) and state = 'succeeded'`,
        [sent.map(({ executionId }) => executionId)],
      );
      return rows[0]?.count === sent.length;
    },
    { timeoutMs: 90_000 + SPIKE_MS, intervalMs: 250, what: `${sent.length} executions to succeed` },
  );
}
