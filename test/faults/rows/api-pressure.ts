import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { SECRET, SIGNERS, WHSEC, type SignedScheme } from '../../support/signatures.ts';
import { fakeClock } from '../../support/fake-clock.ts';
import { waitFor } from '../../support/wait-for.ts';
import { readMetrics } from '../harness/metrics.ts';
import { assertAnswers, assertRefused, recovered } from '../harness/outage.ts';
import type { FaultRow, Scene } from '../harness/row.ts';
import type { Actor, Stage } from '../harness/stage.ts';

const LOCKED_MS = 3000;
const REFUSED_WITHIN_MS = 2000;
const MAX_LAG_MS = 200;
/** Of a single turn: on a busy machine the process may not be given a processor for a while. */
const MAX_LONGEST_LAG_MS = 1000;
/** More than any scheme tolerates (SECURITY section 1), so that the API's own clock would refuse every signature. */
const CLOCKS_OFF_S = [600, -600] as const;
/** Below 30 s, so that it does no harm. */
const CLOCK_BEARABLY_OFF_S = 20;

export const pressureRows: readonly FaultRow[] = [
  {
    id: 'R24',
    fault: 'every connection that writes deliveries is taken',
    during: '503 + Retry-After within 2 s; event-loop lag < 200 ms; health stays up',
    after: 'the checker holds',
    closedBy: 'a delivery that no connection can be spared for is given up while its sender still listens',
    run: takeConnections,
  },
  {
    id: 'R30',
    fault: 'API clock off by more than 30 s against the database',
    during: 'not ready',
    after: 'no valid signature refused for its timestamp',
    closedBy: 'the database’s clock is the only one that counts',
    run: useWrongClocks,
  },
];

async function takeConnections({ stage, load }: Scene): Promise<readonly string[]> {
  const base = `http://127.0.0.1:${stage.api.port}`;
  await lagOf(stage.api); // the figure starts anew with each look
  const probing = new AbortController();
  const probes = probeHealth(base, probing.signal);
  let blocked = 0;
  const span = await load.during(async () => {
    const locker = await stage.sql.connect();
    try {
      await locker.query('begin; lock table delivery in access exclusive mode');
      await delay(LOCKED_MS);
      const { rows } = await locker.query<{ blocked: number }>(
        `select count(*)::int as blocked from pg_stat_activity
         where application_name = 'millrace api ingest' and wait_event_type = 'Lock'`,
      );
      blocked = rows[0]?.blocked ?? 0;
      await locker.query('rollback');
    } finally {
      locker.release();
    }
  });
  probing.abort();
  const health = await probes;
  const lag = await lagOf(stage.api);
  assert.ok(blocked >= 2, `${blocked} connections waited for the lock`);
  assertAnswers(span, ['202', '503']);
  const refused = assertRefused(span);
  const slowest = Math.max(...span.sent.filter(({ answer }) => answer === 503).map(({ tookMs }) => tookMs));
  assert.ok(slowest < REFUSED_WITHIN_MS, `a refusal took ${slowest} ms`);
  assert.deepEqual(health.down, [], 'health was not up throughout');
  assert.ok(lag.p99Ms < MAX_LAG_MS, `the event loop lagged by ${lag.p99Ms} ms`);
  assert.ok(lag.longestMs < MAX_LONGEST_LAG_MS, `the event loop once lagged by ${lag.longestMs} ms`);
  await recovered(load);
  return [
    `${blocked} connections blocked for ${LOCKED_MS} ms`,
    `${refused} × 503 within ${slowest.toFixed(0)} ms`,
    `event-loop lag p99 ${lag.p99Ms.toFixed(0)} ms, at most ${lag.longestMs.toFixed(0)} ms, health up ${health.asked} times of ${health.asked}`,
  ];
}

/** Asks for liveness and readiness again and again. */
async function probeHealth(
  base: string,
  signal: AbortSignal,
): Promise<{ readonly asked: number; readonly down: readonly string[] }> {
  const down: string[] = [];
  let asked = 0;
  while (!signal.aborted) {
    for (const path of ['/health/live', '/health/ready']) {
      const { status } = await fetch(base + path, { signal: AbortSignal.timeout(5000) });
      asked++;
      if (status !== 200) down.push(`${path}: ${status}`);
    }
    await delay(50);
  }
  return { asked, down };
}

/** Of 99 % of the event loop's turns since the last look, and of the longest one. */
async function lagOf(actor: Actor): Promise<{ readonly p99Ms: number; readonly longestMs: number }> {
  const p99 = 'nodejs_eventloop_lag_p99_seconds';
  const longest = 'nodejs_eventloop_lag_max_seconds';
  const seconds = await readMetrics(actor, [p99, longest]);
  return { p99Ms: seconds[p99] * 1000, longestMs: seconds[longest] * 1000 };
}

const SCHEMES = { stripe: SECRET, slack: SECRET, 'standard-webhooks': WHSEC } as const;

async function useWrongClocks(scene: Scene): Promise<readonly string[]> {
  const { stage } = scene;
  const hooks = await deploySchemes(scene);
  const wrong: string[] = [];
  for (const offsetS of CLOCKS_OFF_S) wrong.push(await useWrongClock(stage, hooks, offsetS));
  const bearable = await stage.startApi({ beside: true, env: await fakeClock(CLOCK_BEARABLY_OFF_S) });
  const { status, aheadS } = await readinessOf(bearable);
  await stage.end(bearable, 'SIGTERM');
  assert.ok(Math.abs(aheadS - CLOCK_BEARABLY_OFF_S) < 5, `the clock is ${aheadS} s ahead`);
  assert.equal(status, 200, `an API whose clock is ${CLOCK_BEARABLY_OFF_S} s off is not ready`);
  return [
    ...wrong,
    `${Object.keys(SCHEMES).join(', ')}: signatures of now 202, those of its own time 401`,
    `off by ${CLOCK_BEARABLY_OFF_S} s: ready`,
  ];
}

interface Readiness {
  readonly status: number;
  readonly checks: Readonly<Record<string, { readonly status: string; readonly detail?: string }>>;
  /** How far the API's clock is ahead of this one's, by the date of its answer. */
  readonly aheadS: number;
}

async function readinessOf({ port }: Actor): Promise<Readiness> {
  const response = await fetch(`http://127.0.0.1:${port}/health/ready`);
  const aheadS = (Date.parse(response.headers.get('date') ?? '') - Date.now()) / 1000;
  const { checks } = (await response.json()) as Pick<Readiness, 'checks'>;
  return { status: response.status, checks, aheadS };
}

/** A workflow behind each scheme that signs a time. @returns its hook */
async function deploySchemes({
  stage: { client },
  target,
}: Scene): Promise<ReadonlyMap<SignedScheme, string>> {
  const hooks = new Map<SignedScheme, string>();
  for (const [scheme, value] of Object.entries(SCHEMES)) {
    const credential = `clock-${scheme}`;
    const put = await client.call('PUT', `/api/v1/credentials/${credential}`, {
      type: 'secret',
      data: { value },
    });
    assert.ok(put.status < 300, put.text);
    const { hook } = await client.deploy(`name: ${target.name}-${scheme}
triggers: { push: { webhook: { verify: { scheme: ${scheme}, credential: ${credential} } } } }
steps: [{ id: look, transform: { seen: true } }]
`);
    hooks.set(scheme as keyof typeof SCHEMES, hook);
  }
  return hooks;
}

/** Each scheme with a timestamp, at an API whose own clock is wrong. */
async function useWrongClock(
  stage: Stage,
  hooks: ReadonlyMap<SignedScheme, string>,
  offsetS: number,
): Promise<string> {
  const wrong = await stage.startApi({ beside: true, isReady: false, env: await fakeClock(offsetS) });
  const base = `http://127.0.0.1:${wrong.port}`;
  // It answers before it has asked the database for the time, and is not ready then either.
  const checks = await waitFor(
    async () => {
      const ready = await readinessOf(wrong);
      assert.equal(ready.status, 503);
      return ready.checks['clock']?.status === 'failed' && ready.checks;
    },
    { timeoutMs: 30_000, what: 'the API to see that its clock is wrong' },
  );
  assert.equal(checks['database']?.status, 'ok');
  const detail = String(checks['clock']?.detail);
  const [, seconds, side] = /^this clock is (\d+\.\d) s (ahead|behind)/.exec(detail) ?? [];
  assert.ok(Math.abs(Number(seconds) - Math.abs(offsetS)) < 5, detail);
  assert.equal(side, offsetS < 0 ? 'behind' : 'ahead');

  for (const [scheme, hook] of hooks) {
    const post = async (nowS: number): Promise<number> => {
      const body = Buffer.from(JSON.stringify({ id: randomUUID() }));
      const headers = SIGNERS[scheme](body, randomUUID(), nowS);
      const reply = await fetch(base + hook, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body,
      });
      return reply.status;
    };
    const nowS = Math.floor(Date.now() / 1000);
    assert.equal(await post(nowS), 202, `${scheme}: a valid signature was refused`);
    assert.equal(await post(nowS + offsetS), 401, `${scheme}: the API’s own clock counted`);
  }
  await stage.end(wrong, 'SIGTERM');
  return `API clock off by ${offsetS} s: not ready (${detail})`;
}
