import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import { createMetrics } from '../../core/telemetry/metrics.ts';
import type { SandboxLimits } from './driver.ts';
import { createFakeDriver, type FakeDriver } from './fake-driver.fixture.ts';
import { fakeRequest, sendFailed } from './fake-sandbox.fixture.ts';
import { createSandboxPool, type SandboxPoolOptions } from './pool.ts';
import type { SandboxPool, SandboxRequest, SandboxSlot } from './types.ts';

const MIB = 1_048_576;
const TICK_MS = 10;
const LIMITS: SandboxLimits = { memoryBytes: 256 * MIB, cpus: 1, pids: 256 };
const NO_SPARES = { javascript: { min: 0, max: 0 }, python: { min: 0, max: 0 } };
const ONE_SPARE = { javascript: { min: 1, max: 1 }, python: { min: 0, max: 0 } };

const pools: SandboxPool[] = [];
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.close()));
});

function setUp(driver: FakeDriver = createFakeDriver(), options: Partial<SandboxPoolOptions> = {}) {
  const lines: string[] = [];
  const metrics = createMetrics();
  const pool = createSandboxPool({
    driver,
    metrics,
    logger: pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) }),
    defaultLimits: LIMITS,
    spares: NO_SPARES,
    maxPerOwner: 2,
    tickMs: TICK_MS,
    refillEveryMs: 20,
    availableMemory: () => 8192 * MIB,
    ...options,
  });
  pools.push(pool);
  return { pool, driver, lines, metrics };
}

const wants = (tenantId: string, overrides: Partial<SandboxRequest> = {}): SandboxRequest => ({
  tenantId,
  workflowId: 'w',
  version: 1,
  runtime: 'javascript',
  limits: LIMITS,
  singleUse: false,
  alone: false,
  signal: new AbortController().signal,
  ...overrides,
});

/** Claims, runs and gives back. */
async function use(pool: SandboxPool, request: SandboxRequest): Promise<boolean> {
  const slot = await pool.claim(request);
  try {
    expect(await slot.run(fakeRequest({ input: request.tenantId }))).toEqual({
      type: 'result',
      output: request.tenantId,
    });
    return slot.isHit;
  } finally {
    slot.release();
  }
}
const isWaiting = async (claim: Promise<SandboxSlot>): Promise<boolean> =>
  (await Promise.race([
    claim.then(() => 'served'),
    new Promise((resolve) => setTimeout(resolve, 30, 'no')),
  ])) === 'no';
const count = async (
  metrics: ReturnType<typeof createMetrics>,
  name: string,
  labels: object,
): Promise<number> => {
  const metric = await metrics.registry.text.getSingleMetric(`millrace_${name}`)?.get();
  return (
    metric?.values.find((value) => Object.entries(labels).every(([key, one]) => value.labels[key] === one))
      ?.value ?? 0
  );
};

test('a first claim starts a sandbox, later ones of the same version find it', async () => {
  const { pool, driver, metrics } = setUp();
  expect(await use(pool, wants('a'))).toBe(false);
  expect(await use(pool, wants('a'))).toBe(true);
  expect(driver.started).toHaveLength(1);
  expect(await count(metrics, 'sandbox_claim_seconds', { result: 'miss', le: '+Inf' })).toBe(1);
  expect(await count(metrics, 'sandbox_claim_seconds', { result: 'hit', le: '+Inf' })).toBe(1);
});

test.each([
  ['tenant', { tenantId: 'b' }],
  ['workflow', { workflowId: 'other' }],
  ['version', { version: 2 }],
  ['runtime', { runtime: 'python' as const }],
])('another %s never gets a kept sandbox', async (_, difference) => {
  const { pool, driver } = setUp();
  await use(pool, wants('a'));
  await use(pool, wants('a', difference));
  expect(driver.started).toHaveLength(2);
});

test('spares are warmed, become their first user’s, and are filled up again', async () => {
  const { pool, driver } = setUp(undefined, { spares: ONE_SPARE });
  await pool.warmed;
  expect(driver.started).toHaveLength(1);
  expect(driver.started[0]?.received.filter(({ type }) => type === 'run')).toHaveLength(1);
  expect(await use(pool, wants('a'))).toBe(true);
  await vi.waitFor(() => expect(driver.started).toHaveLength(2));
  await vi.waitFor(() =>
    expect(driver.started[1]?.received.filter(({ type }) => type === 'run')).toHaveLength(1),
  );
  expect(await use(pool, wants('b'))).toBe(true);
  expect(await use(pool, wants('a'))).toBe(true);
  expect(driver.started[0]?.received.filter(({ type }) => type === 'run')).toHaveLength(3);
});

test('of spares that are missing one is started a second', async () => {
  let nowMs = 0;
  const spares = { javascript: { min: 3, max: 3 }, python: { min: 0, max: 0 } };
  const { pool, driver } = setUp(undefined, { spares, refillEveryMs: 1000, now: () => nowMs });
  for (const [atMs, wanted] of [
    [0, 1],
    [999, 1],
    [1000, 2],
    [1999, 2],
    [2000, 3],
    [9000, 3],
  ] as const) {
    nowMs = atMs;
    await vi.waitFor(() => expect(driver.started).toHaveLength(wanted));
    await delay(10 * TICK_MS);
    expect(driver.started).toHaveLength(wanted);
  }
  await pool.warmed;
});

test('a spare that nobody waits for starts in the background until it is ready', async () => {
  const { pool, driver } = setUp(undefined, { spares: ONE_SPARE, refillEveryMs: 60_000 });
  await pool.warmed;
  for (const tenantId of ['a', 'b']) await use(pool, wants(tenantId));
  expect(driver.specs.map(({ isBackground }) => isBackground)).toEqual([true, undefined]);
  expect(driver.started.map((sandbox) => sandbox.isHurried())).toEqual([true, false]);
});

test('a spare’s start is hurried when somebody has to wait for it', async () => {
  const driver = createFakeDriver({ script: { ready: false } });
  const { pool } = setUp(driver, { spares: ONE_SPARE, maxStarting: 1, refillEveryMs: 60_000 });
  await vi.waitFor(() => expect(driver.started).toHaveLength(1));
  const [spare] = driver.started;
  expect(spare!.isHurried()).toBe(false);
  const claim = pool.claim(wants('a'));
  expect(spare!.isHurried()).toBe(true);
  spare!.runner.send({ type: 'ready', protocol: 1, runtime: 'fake', slots: 2, kernel: 'fake kernel' });
  (await claim).release();
  expect(driver.started).toHaveLength(1);
});

test('a spare is given other limits before its first use, and is matched by them', async () => {
  const { pool, driver } = setUp(undefined, { spares: ONE_SPARE });
  await pool.warmed;
  const limits = { ...LIMITS, memoryBytes: 512 * MIB };
  expect(await use(pool, wants('a', { limits }))).toBe(true);
  expect(driver.started[0]?.limits).toEqual([limits]);
  expect(await use(pool, wants('a', { limits }))).toBe(true);
  expect(driver.started[0]?.limits).toEqual([limits]);
});

test('where limits cannot be changed, a sandbox is started with them', async () => {
  const { pool, driver } = setUp(undefined, { spares: ONE_SPARE });
  await pool.warmed;
  driver.started[0]!.setLimits = () => Promise.reject(new Error('not here'));
  const limits = { ...LIMITS, memoryBytes: 512 * MIB };
  expect(await use(pool, wants('a', { limits }))).toBe(false);
  expect(driver.specs.map((spec) => spec.limits)).toContainEqual(limits);
  expect(driver.started[0]?.isKilled()).toBe(true);
});

test('two runs share a sandbox; a third gets another; a fifth waits for a slot', async () => {
  const { pool, driver } = setUp();
  const slots = await Promise.all([1, 2, 3, 4].map(() => pool.claim(wants('a'))));
  expect(driver.started).toHaveLength(2);
  const fifth = pool.claim(wants('a'));
  expect(await isWaiting(fifth)).toBe(true);
  slots[0]?.release();
  (await fifth).release();
  expect(driver.started).toHaveLength(2);
});

test.each(['singleUse', 'alone'] as const)(
  '%s gets a sandbox of its own, which ends with it',
  async (mode) => {
    const { pool, driver } = setUp();
    const request = wants('a', { [mode]: true });
    const [one, two] = await Promise.all([pool.claim(request), pool.claim(request)]);
    expect(driver.started).toHaveLength(2);
    one.release();
    await vi.waitFor(() => expect(driver.alive()).toBe(1));
    const third = await pool.claim(wants('a'));
    expect(driver.started).toHaveLength(3);
    two.release();
    third.release();
    await vi.waitFor(() => expect(driver.alive()).toBe(1));
  },
);

test('the budget is never exceeded: idle sandboxes make room, the least used one first', async () => {
  const { pool, driver, metrics } = setUp(undefined, { budgetBytes: 250 * MIB });
  await use(pool, wants('a'));
  await use(pool, wants('b'));
  await use(pool, wants('a'));
  await use(pool, wants('c'));
  expect(driver.started.map((sandbox) => sandbox.isKilled())).toEqual([false, true, false]);
  expect(driver.mostAlive()).toBe(2);
  expect(await count(metrics, 'sandbox_recycled_total', { reason: 'evicted' })).toBe(1);
});

test('a sandbox that asks for more memory counts with it', async () => {
  const { pool, driver } = setUp(undefined, { budgetBytes: 1024 * MIB });
  const limits = { ...LIMITS, memoryBytes: 1000 * MIB };
  await use(pool, wants('a'));
  await use(pool, wants('b', { limits }));
  expect(driver.mostAlive()).toBe(1);
  await expect(
    pool.claim(wants('b', { limits: { ...LIMITS, memoryBytes: 1025 * MIB } })),
  ).rejects.toMatchObject({
    code: 'no_sandbox',
    message: expect.stringContaining('SANDBOX_MEMORY_BUDGET_BYTES'),
  });
});

test('a busy owner makes room for another one that waits', async () => {
  const { pool } = setUp(undefined, { budgetBytes: 100 * MIB });
  const over = new AbortController();
  let runs = 0;
  // One slot of the two is always taken, so that the sandbox is never idle.
  const busy = Promise.all(
    [1, 2].map(async () => {
      while (!over.signal.aborted) {
        const slot = await pool.claim(wants('a'));
        await new Promise((resolve) => setTimeout(resolve, 15));
        runs++;
        slot.release();
      }
    }),
  );
  await vi.waitFor(() => expect(runs).toBeGreaterThan(2));
  await use(pool, wants('b'));
  over.abort();
  await busy;
});

test('claims are served in turns between tenants', async () => {
  const { pool } = setUp(undefined, { budgetBytes: 100 * MIB });
  const first = await pool.claim(wants('x'));
  const order: string[] = [];
  const claims = ['a', 'a', 'a', 'b', 'c'].map(async (tenantId, index) => {
    const slot = await pool.claim(wants(tenantId, { workflowId: String(index), singleUse: true }));
    order.push(tenantId);
    slot.release();
  });
  first.release();
  await Promise.all(claims);
  expect(order).toEqual(['a', 'b', 'c', 'a', 'a']);
});

test('a claim waits no longer than it may, and says what is full', async () => {
  const { pool } = setUp(undefined, { budgetBytes: 100 * MIB, claimTimeoutMs: 50, maxPerOwner: 1 });
  const slots = await Promise.all([pool.claim(wants('a')), pool.claim(wants('a'))]);
  await expect(pool.claim(wants('a'))).rejects.toMatchObject({
    code: 'no_sandbox',
    retryable: true,
    message: expect.stringMatching(/within 50 ms: all 1 sandboxes that this version/),
  });
  await expect(pool.claim(wants('b'))).rejects.toMatchObject({
    message: expect.stringMatching(/hold 100 MiB of 100 MiB.*Raise SANDBOX_MEMORY_BUDGET_BYTES/),
  });
  for (const slot of slots) slot.release();
});

test('an aborted claim rejects with the reason and leaves its place to others', async () => {
  const { pool } = setUp(undefined, { maxPerOwner: 1 });
  const slots = await Promise.all([pool.claim(wants('a')), pool.claim(wants('a'))]);
  const stop = new AbortController();
  const claim = pool.claim(wants('a', { signal: stop.signal }));
  const next = pool.claim(wants('a'));
  stop.abort('no longer wanted');
  await expect(claim).rejects.toBe('no longer wanted');
  for (const slot of slots) slot.release();
  (await next).release();
});

test('a sandbox that nobody waits for any more becomes a spare, or is ended', async () => {
  for (const [max, alive] of [
    [1, 1],
    [0, 0],
  ] as const) {
    const { pool, driver } = setUp(createFakeDriver({ startMs: 200 }), {
      spares: { ...NO_SPARES, javascript: { min: 0, max } },
    });
    const stop = new AbortController();
    const claim = pool.claim(wants('a', { signal: stop.signal }));
    await vi.waitFor(() => expect(driver.tries).toBe(1));
    stop.abort();
    await expect(claim).rejects.toThrow();
    await vi.waitFor(() => expect(driver.started).toHaveLength(1));
    await vi.waitFor(() => expect(driver.alive()).toBe(alive));
    if (max === 1) {
      await vi.waitFor(() =>
        expect(driver.started[0]?.received.filter(({ type }) => type === 'run')).toHaveLength(1),
      );
      expect(await use(pool, wants('b'))).toBe(true);
    }
  }
});

test('a failure that costs a slot recycles the sandbox, once its other run is over', async () => {
  const { pool, driver, metrics } = setUp(
    createFakeDriver({
      script: {
        onRun: (run, runner) =>
          run.payload.input === 'bad'
            ? sendFailed(runner, run.nonce, 'out_of_memory', true)
            : run.result(run.payload.input),
      },
    }),
  );
  const [one, two] = await Promise.all([pool.claim(wants('a')), pool.claim(wants('a'))]);
  expect(await one.run(fakeRequest({ input: 'bad' }))).toMatchObject({ failure: 'out_of_memory' });
  one.release();
  expect(driver.alive()).toBe(1);
  expect(await two.run(fakeRequest({ input: 'good' }))).toMatchObject({ output: 'good' });
  two.release();
  await vi.waitFor(() => expect(driver.alive()).toBe(0));
  expect(await count(metrics, 'sandbox_recycled_total', { reason: 'slot_lost' })).toBe(1);
});

test('a sandbox is recycled after so many executions', async () => {
  const { pool, driver } = setUp(undefined, { maxExecutions: 3 });
  for (let i = 0; i < 4; i++) await use(pool, wants('a'));
  expect(driver.started).toHaveLength(2);
});

test('idle sandboxes expire', async () => {
  const { pool, driver } = setUp(undefined, { idleMs: 40 });
  await use(pool, wants('a'));
  await vi.waitFor(() => expect(driver.alive()).toBe(0));
});

test('a sandbox near its memory limit is recycled', async () => {
  const { pool, driver, metrics } = setUp(createFakeDriver(), {});
  const slot = await pool.claim(wants('a'));
  driver.started[0]!.memory = 250 * MIB;
  slot.release();
  await vi.waitFor(
    async () => expect(await count(metrics, 'sandbox_recycled_total', { reason: 'memory_pressure' })).toBe(1),
    15_000,
  );
}, 20_000);

test('when the machine is short of memory, idle sandboxes end and none is refilled', async () => {
  let available = 8192 * MIB;
  const { pool, driver } = setUp(undefined, { spares: ONE_SPARE, availableMemory: () => available });
  await pool.warmed;
  await use(pool, wants('a'));
  available = 10 * MIB;
  await vi.waitFor(() => expect(driver.alive()).toBe(0));
  const { tries } = driver;
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(driver.tries).toBe(tries);
});

test('a lost sandbox is counted and replaced', async () => {
  const { pool, driver, metrics } = setUp(createFakeDriver({ script: { onRun: () => undefined } }));
  const slot = await pool.claim(wants('a'));
  const run = slot.run(fakeRequest());
  driver.started[0]?.exit({ reason: 'out_of_memory', detail: '137' });
  await expect(run).rejects.toMatchObject({ name: 'SandboxLostError', wasAlone: true });
  slot.release();
  expect(await count(metrics, 'sandbox_losses_total', { reason: 'out_of_memory' })).toBe(1);
  (await pool.claim(wants('a'))).release();
  expect(driver.started).toHaveLength(2);
});

test('starts that fail are tried less and less often and logged once', async () => {
  const driver = createFakeDriver();
  driver.failure = new Error('runsc: no such file');
  const { pool, lines } = setUp(driver, { spares: ONE_SPARE, claimTimeoutMs: 300 });
  await pool.warmed;
  await expect(pool.claim(wants('a'))).rejects.toMatchObject({
    message: expect.stringContaining('none can be started'),
  });
  expect(driver.tries).toBeLessThan(4);
  expect(lines.filter((line) => line.includes('spare javascript'))).toHaveLength(1);
  driver.failure = undefined;
  await vi.waitFor(
    () => expect(lines.some((line) => line.includes('sandboxes start again'))).toBe(true),
    5000,
  );
});

test('without a driver a claim is refused at once, with the remedy', async () => {
  const { pool } = setUp(undefined, {
    driver: Promise.resolve({
      description: undefined,
      reason: 'runsc was not found.',
      remedy: 'Run scripts/install-gvisor.',
    }),
  });
  await pool.warmed;
  await expect(pool.claim(wants('a'))).rejects.toMatchObject({
    code: 'no_sandbox',
    retryable: true,
    message: 'This worker has no sandbox for code steps: runsc was not found. Run scripts/install-gvisor.',
  });
});

test('claims wait for a driver that opens, and hear when it cannot', async () => {
  const opening = Promise.withResolvers<FakeDriver>();
  const { pool } = setUp(undefined, { driver: opening.promise });
  const claim = use(pool, wants('a'));
  opening.resolve(createFakeDriver());
  expect(await claim).toBe(false);

  const failing = Promise.withResolvers<FakeDriver>();
  const other = setUp(undefined, { driver: failing.promise }).pool;
  const refused = other.claim(wants('a'));
  failing.reject(new Error('no space left'));
  await expect(refused).rejects.toMatchObject({
    code: 'no_sandbox',
    message: expect.stringContaining('no space left'),
  });
});

test('a runtime that the driver lacks is refused by name', async () => {
  const { pool } = setUp(createFakeDriver({ runtimes: ['javascript'] }), {
    spares: { ...ONE_SPARE, python: { min: 1, max: 1 } },
  });
  await pool.warmed;
  await expect(pool.claim(wants('a', { runtime: 'python' }))).rejects.toThrow(
    /no Python. Install Python 3.11/,
  );
});

test('closing ends everything and refuses what waits', async () => {
  const { pool, driver } = setUp(createFakeDriver({ script: { onRun: () => undefined } }), {
    maxPerOwner: 1,
  });
  const slots = await Promise.all([pool.claim(wants('a')), pool.claim(wants('a'))]);
  const waiting = pool.claim(wants('a'));
  const run = slots[0].run(fakeRequest());
  const outcomes = Promise.allSettled([waiting, run]);
  await pool.close();
  const [claim, lost] = await outcomes;
  expect(claim).toMatchObject({ status: 'rejected', reason: { code: 'no_sandbox' } });
  expect(lost).toMatchObject({ status: 'rejected', reason: { name: 'SandboxLostError' } });
  expect(driver.alive()).toBe(0);
  expect(driver.isClosed()).toBe(true);
  await expect(pool.claim(wants('a'))).rejects.toMatchObject({ code: 'no_sandbox' });
});

test('a slot runs once, and gives its place back when what runs in it is over', async () => {
  const { pool } = setUp(
    createFakeDriver({ script: { onRun: (run) => setTimeout(() => run.result(1), 50) } }),
    {
      maxPerOwner: 1,
    },
  );
  const [one, two] = await Promise.all([pool.claim(wants('a')), pool.claim(wants('a'))]);
  const run = one.run(fakeRequest());
  await expect(one.run(fakeRequest())).rejects.toThrow('a slot that is running');
  one.release();
  one.release();
  const next = pool.claim(wants('a'));
  expect(await isWaiting(next)).toBe(true);
  await run;
  (await next).release();
  two.release();
});
