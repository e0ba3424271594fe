import { once } from 'node:events';
import { connect } from 'node:net';
import { pino } from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import { createMetrics } from '../../../core/telemetry/metrics.ts';
import { encodeFrame } from '../../../core/sandbox/frames.ts';
import { fakeRequest } from '../fake-sandbox.fixture.ts';
import { createSandboxPool } from '../pool.ts';
import { openSession } from '../session.ts';
import { cert, dial, key } from './dialled-runner.fixture.ts';
import { openGateway, type Gateway, type GatewayOptions } from './gateway.ts';

const LIMITS = { memoryBytes: 268_435_456, cpus: 1, pids: 256 };
const SPEC = { runtime: 'javascript', limits: LIMITS } as const;
const gateways: Gateway[] = [];
afterEach(async () => {
  await Promise.all(gateways.splice(0).map(({ driver }) => driver.close()));
});

/** Tokens are pod UIDs here; those that begin with `bad` are nobody's. */
async function setUp(options: Partial<GatewayOptions> = {}) {
  const deletePod = vi.fn<GatewayOptions['deletePod']>().mockResolvedValue(undefined);
  const gateway = await openGateway({
    tls: { key, cert },
    port: 0,
    host: '127.0.0.1',
    authenticate: async (token) =>
      token.startsWith('bad') ? undefined : { uid: token, name: `runner-${token}` },
    deletePod,
    gateways: () => ['10.0.0.1:8082'],
    limits: LIMITS,
    logger: pino({ level: 'silent' }),
    startTimeoutMs: 300,
    ...options,
  });
  gateways.push(gateway);
  const idle = (count: number) => vi.waitFor(() => expect(gateway.idle('javascript')).toBe(count));
  return { gateway, deletePod, idle, port: gateway.port, driver: gateway.driver };
}

test.each([true, false])(
  'a runner registers, is claimed and runs programs (all at once: %s)',
  async (isHasty) => {
    const { driver, port, idle, deletePod } = await setUp();
    const runner = await dial(port, { isHasty });
    await idle(1);
    expect(runner.received).toContainEqual({ type: 'registered', gateways: ['10.0.0.1:8082'] });
    const sandbox = await driver.start(SPEC);
    expect(sandbox.id).toBe('runner-pod-1');
    const session = await openSession(sandbox);
    expect(session.kernel).toBe('gVisor');
    const ends = await Promise.all([1, 2, 3].map((input) => session.run(fakeRequest({ input }))));
    expect(ends).toEqual([1, 2, 3].map((output) => ({ type: 'result', output })));
    expect(deletePod).not.toHaveBeenCalled();
    session.close();
    expect(await sandbox.exited).toEqual({ reason: 'killed', detail: 'pod runner-pod-1 was deleted' });
    expect(deletePod).toHaveBeenCalledExactlyOnceWith({ uid: 'pod-1', name: 'runner-pod-1' });
  },
);

test('a claim waits for a runner of its runtime', async () => {
  const { driver, port } = await setUp();
  const start = driver.start(SPEC);
  await dial(port, { token: 'snake', runtime: 'python' });
  await dial(port, { token: 'late' });
  expect((await start).id).toBe('runner-late');
});

test('a runner that is another worker’s already is passed over', async () => {
  const { driver, port, idle } = await setUp();
  await dial(port, { token: 'taken', claim: 'busy' });
  await idle(1);
  await dial(port, { token: 'free' });
  await idle(2);
  expect((await driver.start(SPEC)).id).toBe('runner-free');
});

test('a runner that does not answer its claim is passed over', async () => {
  const { driver, port, idle } = await setUp({ claimTimeoutMs: 30, startTimeoutMs: 2000 });
  const silent = await dial(port, { token: 'silent', claim: 'silent' });
  await idle(1);
  await dial(port, { token: 'free' });
  await idle(2);
  expect((await driver.start(SPEC)).id).toBe('runner-free');
  await vi.waitFor(() => expect(silent.socket.destroyed).toBe(true));
});

test('without a runner, starting fails after a while', async () => {
  const { driver } = await setUp({ startTimeoutMs: 30 });
  await expect(driver.start(SPEC)).rejects.toThrow('no javascript runner was free within 30 ms');
});

test('limits are the pod’s own', async () => {
  const { driver, port, idle } = await setUp();
  await expect(driver.start({ ...SPEC, limits: { ...LIMITS, cpus: 2 } })).rejects.toThrow(
    'limits of a runner pod',
  );
  await dial(port);
  await idle(1);
  const sandbox = await driver.start(SPEC);
  await expect(sandbox.setLimits(LIMITS)).rejects.toThrow('limits of a runner pod');
  await expect(sandbox.share('numpy', '/wheels')).rejects.toMatchObject({
    code: 'no_sandbox',
    retryable: true,
  });
  expect(await sandbox.memoryBytes()).toBeUndefined();
});

test('a token that nobody vouches for is refused', async () => {
  const { gateway, port } = await setUp();
  const runner = await dial(port, { token: 'bad' });
  await once(runner.socket, 'close');
  expect(runner.received).toEqual([{ type: 'refused', reason: 'the token is not accepted' }]);
  expect(gateway.idle('javascript')).toBe(0);
});

test('a pod registers once; after it was used, never again', async () => {
  const { driver, port, idle } = await setUp();
  const first = await dial(port);
  await idle(1);
  const second = await dial(port);
  await once(second.socket, 'close');
  expect(second.received).toEqual([{ type: 'refused', reason: 'this pod is registered already' }]);

  first.socket.destroy();
  await idle(0);
  await dial(port);
  await idle(1);
  const sandbox = await driver.start(SPEC);
  sandbox.kill();
  await sandbox.exited;
  const again = await dial(port);
  await once(again.socket, 'close');
  expect(again.received).toEqual([{ type: 'refused', reason: 'this pod was used already' }]);
});

test('a runner that hangs up is no longer idle, and a claimed one’s pod is deleted', async () => {
  const { driver, port, idle, deletePod } = await setUp();
  const idler = await dial(port, { token: 'idler' });
  await idle(1);
  idler.socket.end();
  await idle(0);
  const runner = await dial(port);
  await idle(1);
  const sandbox = await driver.start(SPEC);
  const session = await openSession(sandbox);
  runner.socket.destroy();
  expect((await session.lost).exit.reason).toBe('exited');
  expect(deletePod).toHaveBeenCalledExactlyOnceWith({ uid: 'pod-1', name: 'runner-pod-1' });
});

test('a runner that answers no ping is dropped, one that does stays', async () => {
  const { port, gateway } = await setUp({ pingMs: 200 });
  const quiet = await dial(port, { token: 'quiet', isQuiet: true });
  const lively = await dial(port, { token: 'lively' });
  if (!quiet.socket.closed) await once(quiet.socket, 'close');
  expect(quiet.received.map(({ type }) => type)).toEqual(['registered', 'ping']);
  await vi.waitFor(() =>
    expect(lively.received.filter(({ type }) => type === 'ping').length).toBeGreaterThan(3),
  );
  expect(gateway.idle('javascript')).toBe(1);
});

test.each([
  ['a frame of the session', encodeFrame({ type: 'result', nonce: '0'.repeat(32) })],
  ['a claim of its own', encodeFrame({ type: 'claimed' })],
  ['a pong that nobody asked for', encodeFrame({ type: 'pong', ping: 1 })],
  ['an unlikely size', Buffer.of(0x7f, 0, 0, 0, 0, 0, 0, 2)],
  ['a large frame', encodeFrame({ type: 'register' }, new Uint8Array(20_000))],
  ['no JSON', Buffer.of(0, 0, 0, 6, 0, 0, 0, 2, 0x7b, 0x7b)],
])('%s before registration ends the connection', async (_, bytes) => {
  const { gateway, port, idle } = await setUp();
  const runner = await dial(port, { token: '' });
  runner.socket.write(bytes);
  await once(runner.socket, 'close');
  expect(gateway.idle('javascript')).toBe(0);
  await dial(port);
  await idle(1);
});

test('who does not register in time, or speaks no TLS, is closed', async () => {
  const { port } = await setUp({ registerTimeoutMs: 50 });
  const runner = await dial(port, { token: '' });
  await once(runner.socket, 'close');
  const plain = connect(port, '127.0.0.1');
  plain.on('error', () => undefined);
  plain.write('GET / HTTP/1.1\r\n\r\n');
  await once(plain, 'close');
});

test('an authority that cannot be asked drops the runner, and a pod that cannot be deleted holds nobody up', async () => {
  const { port } = await setUp({ authenticate: () => Promise.reject(new Error('no API server')) });
  const runner = await dial(port);
  await once(runner.socket, 'close');

  const other = await setUp({ deletePod: () => Promise.reject(new Error('forbidden')) });
  await dial(other.port);
  await other.idle(1);
  const sandbox = await other.driver.start(SPEC);
  sandbox.kill();
  expect((await sandbox.exited).reason).toBe('killed');
});

test('closing ends what was claimed and leaves idle pods to other workers', async () => {
  const { driver, port, idle, deletePod } = await setUp();
  await dial(port, { token: 'claimed' });
  await idle(1);
  await driver.start(SPEC);
  const idler = await dial(port, { token: 'idler' });
  await idle(1);
  await driver.close();
  expect(deletePod).toHaveBeenCalledExactlyOnceWith({ uid: 'claimed', name: 'runner-claimed' });
  await vi.waitFor(() => expect(idler.socket.destroyed).toBe(true));
});

test('a pool without spares of its own works on it', async () => {
  const { driver, port, idle } = await setUp({ startTimeoutMs: 5000 });
  const none = { min: 0, max: 0 };
  const pool = createSandboxPool({
    driver,
    metrics: createMetrics(),
    logger: pino({ level: 'silent' }),
    defaultLimits: LIMITS,
    spares: { javascript: none, python: none },
  });
  await pool.warmed;
  await dial(port);
  await idle(1);
  const request = {
    tenantId: 't',
    workflowId: 'w',
    version: 1,
    runtime: 'javascript',
    limits: LIMITS,
    singleUse: false,
    alone: false,
    signal: new AbortController().signal,
  } as const;
  for (const isHit of [false, true]) {
    const slot = await pool.claim(request);
    expect(slot.isHit).toBe(isHit);
    expect(await slot.run(fakeRequest({ input: 7 }))).toEqual({ type: 'result', output: 7 });
    slot.release();
  }
  await pool.close();
});
