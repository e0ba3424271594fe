import { once } from 'node:events';
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { makeTempDirectory } from '../../../../test/support/temp-directory.ts';
import { createMetrics } from '../../../core/telemetry/metrics.ts';
import { encodeFrame } from '../../../core/sandbox/frames.ts';
import { fakeRequest } from '../fake-sandbox.fixture.ts';
import { createSandboxPool } from '../pool.ts';
import { openSession } from '../session.ts';
import { KubernetesError } from './api.ts';
import { cert, dial, key } from './dialled-runner.fixture.ts';
import { issueCertificate } from './x509.ts';
import { openGateway, type Gateway, type GatewayOptions } from './gateway.ts';
import type { RunnerPods } from './runner-pods.ts';
import { MAX_FOLDER_BYTES } from './send-folder.ts';

type Pods = Pick<RunnerPods, 'authenticate' | 'identify' | 'claim' | 'createCold' | 'remove'>;

const LIMITS = { memoryBytes: 268_435_456, cpus: 1, pids: 256 };
const SPEC = { runtime: 'javascript', limits: LIMITS } as const;
const gateways: Gateway[] = [];
afterEach(async () => {
  await Promise.all(gateways.splice(0).map(({ driver }) => driver.close()));
});

/** Tokens are pod UIDs here; those that begin with `bad` are nobody's, and what was claimed or removed is nobody's either. */
function fakePods() {
  const gone = new Set<string>();
  return {
    authenticate: vi.fn<Pods['authenticate']>(async (token) =>
      token.startsWith('bad') || gone.has(token)
        ? undefined
        : { uid: token, name: `runner-${token}`, pool: 'javascript', limits: LIMITS },
    ),
    identify: vi.fn<Pods['identify']>(async (token) =>
      token.startsWith('bad') ? undefined : { uid: token, name: `runner-${token}` },
    ),
    claim: vi.fn<Pods['claim']>(async ({ uid }) => void gone.add(uid)),
    createCold: vi.fn<Pods['createCold']>(async () => 'cold'),
    remove: vi.fn<Pods['remove']>(async ({ uid }) => void gone.add(uid)),
  };
}

async function setUp({
  pods: others,
  ...options
}: Partial<Omit<GatewayOptions, 'pods'>> & { readonly pods?: Partial<Pods> } = {}) {
  const pods = fakePods();
  const gateway = await openGateway({
    tls: { key, cert },
    port: 0,
    host: '127.0.0.1',
    self: '10.0.0.1:8082',
    logger: pino({ level: 'silent' }),
    startTimeoutMs: 300,
    markAfterMs: 0,
    markAgainMs: 5,
    ...options,
    pods: { ...pods, ...others },
  });
  gateways.push(gateway);
  const idle = (count: number) => vi.waitFor(() => expect(gateway.idle('javascript')).toBe(count));
  return { gateway, pods, idle, port: gateway.port, driver: gateway.driver };
}

const removed = (uid: string) => expect.objectContaining({ uid, name: `runner-${uid}` });

test.each([true, false])(
  'a runner registers, is claimed and runs programs (all at once: %s)',
  async (isHasty) => {
    const { gateway, driver, port, idle, pods } = await setUp();
    const runner = await dial(port, { isHasty });
    await idle(1);
    await vi.waitFor(() =>
      expect(runner.received).toContainEqual({
        type: 'registered',
        self: '10.0.0.1:8082',
        gateways: ['10.0.0.1:8082'],
      }),
    );
    const sandbox = await driver.start(SPEC);
    expect(sandbox).toMatchObject({ id: 'runner-pod-1', isWarm: true });
    expect(gateway.holds('pod-1')).toBe(true);
    const session = await openSession(sandbox);
    expect(session.kernel).toBe('gVisor');
    const ends = await Promise.all([1, 2, 3].map((input) => session.run(fakeRequest({ input }))));
    expect(ends).toEqual([1, 2, 3].map((output) => ({ type: 'result', output })));
    await vi.waitFor(() => expect(pods.claim).toHaveBeenCalledExactlyOnceWith(removed('pod-1')));
    expect(pods.remove).not.toHaveBeenCalled();
    session.close();
    expect(await sandbox.exited).toEqual({ reason: 'killed', detail: 'pod runner-pod-1 was deleted' });
    expect(pods.remove).toHaveBeenCalledExactlyOnceWith(removed('pod-1'));
    expect(pods.createCold).not.toHaveBeenCalled();
    expect(gateway.holds('pod-1')).toBe(false);
  },
);

test('a claim that finds nobody starts a runner, and takes the first of its runtime and limits', async () => {
  const small = { ...LIMITS, memoryBytes: 134_217_728 };
  const { driver, port, pods, idle } = await setUp({
    startTimeoutMs: 5000,
    pods: {
      authenticate: async (token) => ({
        uid: token,
        name: `runner-${token}`,
        pool: 'javascript',
        limits: token === 'small' ? small : LIMITS,
      }),
    },
  });
  const start = driver.start(SPEC);
  await dial(port, { token: 'snake', runtime: 'python' });
  await dial(port, { token: 'small' });
  await idle(1);
  await dial(port, { token: 'late' });
  expect(await start).toMatchObject({ id: 'runner-late', isWarm: false });
  expect(pods.createCold).toHaveBeenCalledExactlyOnceWith('javascript', LIMITS);
  expect((await driver.start({ ...SPEC, limits: { ...small, pids: 64 } })).id).toBe('runner-small');
});

test('a pod is used before Kubernetes knows whose it is, and marked until it does', async () => {
  const claim = vi
    .fn<Pods['claim']>(async () => undefined)
    .mockRejectedValueOnce(new KubernetesError(503, 'no etcd'))
    .mockRejectedValueOnce(new Error('connect ECONNREFUSED'));
  const { driver, port, idle, pods } = await setUp({ pods: { claim }, markAfterMs: 100 });
  await dial(port);
  await idle(1);
  const session = await openSession(await driver.start(SPEC));
  expect(await session.run(fakeRequest({ input: 1 }))).toEqual({ type: 'result', output: 1 });
  await vi.waitFor(() => expect(claim).toHaveBeenCalledTimes(3));
  expect(await session.run(fakeRequest({ input: 2 }))).toEqual({ type: 'result', output: 2 });
  expect(claim).toHaveBeenCalledTimes(3);
  expect(pods.remove).not.toHaveBeenCalled();
  session.close();
});

test('a pod that may not be marked is not used any longer', async () => {
  const claim = vi
    .fn<Pods['claim']>()
    .mockRejectedValueOnce(new KubernetesError(422, 'the label is another’s'));
  const { driver, port, idle, pods } = await setUp({ pods: { claim } });
  await dial(port);
  await idle(1);
  const sandbox = await driver.start(SPEC);
  expect((await sandbox.exited).reason).toBe('killed');
  expect(pods.remove).toHaveBeenCalledExactlyOnceWith(removed('pod-1'));
});

test('a pod that is gone before it is marked is not marked', async () => {
  const { driver, port, idle, pods } = await setUp({ markAfterMs: 50 });
  await dial(port);
  await idle(1);
  const sandbox = await driver.start(SPEC);
  sandbox.kill();
  await sandbox.exited;
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(pods.claim).not.toHaveBeenCalled();
});

test('a pod that says it was used before is deleted, and nobody gets it', async () => {
  const { gateway, port, pods } = await setUp();
  const runner = await dial(port, { isUsed: true });
  await once(runner.socket, 'close');
  expect(runner.received).toEqual([{ type: 'refused', reason: 'this pod was used before' }]);
  expect(pods.remove).toHaveBeenCalledExactlyOnceWith(removed('pod-1'));
  expect(gateway.idle('javascript')).toBe(0);
  const stranger = await dial(port, { token: 'bad', isUsed: true });
  await once(stranger.socket, 'close');
  expect(pods.remove).toHaveBeenCalledOnce();
});

test('runners that wait hear of other gateways', async () => {
  const { gateway, port, idle } = await setUp();
  const runner = await dial(port);
  await idle(1);
  gateway.setGateways(['10.0.0.1:8082', '10.0.0.2:8082']);
  await vi.waitFor(() =>
    expect(runner.received).toContainEqual({
      type: 'gateways',
      gateways: ['10.0.0.1:8082', '10.0.0.2:8082'],
    }),
  );
});

test('a runner that says it is another worker’s is no longer idle', async () => {
  const { port, idle } = await setUp();
  const runner = await dial(port);
  await idle(1);
  runner.send({ type: 'busy' });
  await idle(0);
});

test('another certificate is shown from the next connection on', async () => {
  const { gateway, port, idle } = await setUp();
  await dial(port);
  await idle(1);
  const issued = issueCertificate('gateway.millrace.test', Date.now(), 3_600_000);
  gateway.setCertificate({ key: issued.key, cert: issued.certificate });
  await expect(dial(port, { token: 'old' })).rejects.toMatchObject({
    code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  });
  await dial(port, { token: 'new', ca: issued.authority });
  await idle(2);
});

test('one address gets a few connections, whatever it shows on them', async () => {
  const { port, idle } = await setUp();
  const runners = await Promise.all(
    Array.from({ length: 8 }, async (_, index) => dial(port, { token: `pod-${index}` })),
  );
  await idle(8);
  // Closed at once, and not for registering too late.
  const ninth = await dial(port, { token: '' }).catch(() => undefined);
  if (ninth !== undefined && !ninth.socket.closed) await once(ninth.socket, 'close');
  expect(ninth?.received ?? []).toEqual([]);
  runners[0]!.socket.destroy();
  await idle(7);
  await dial(port, { token: 'free-again' });
  await idle(8);
});

test('a runner that is another worker’s already is passed over', async () => {
  const { driver, port, idle, pods } = await setUp();
  await dial(port, { token: 'taken', claim: 'busy' });
  await idle(1);
  await dial(port, { token: 'free' });
  await idle(2);
  expect((await driver.start(SPEC)).id).toBe('runner-free');
  await vi.waitFor(() => expect(pods.claim).toHaveBeenCalledExactlyOnceWith(removed('free')));
  expect(pods.remove).not.toHaveBeenCalled();
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

test('without a runner, starting fails after a while, and says why none could be started', async () => {
  const createCold = vi.fn<Pods['createCold']>().mockRejectedValue(new Error('exceeded quota'));
  const { driver } = await setUp({ startTimeoutMs: 30, pods: { createCold } });
  await expect(driver.start(SPEC)).rejects.toThrow(
    'no javascript runner was ready within 30 ms; more are needed in the warm pool; starting another failed: exceeded quota',
  );
});

test('limits are those the pod was started with', async () => {
  const { driver, port, idle } = await setUp();
  await dial(port);
  await idle(1);
  const sandbox = await driver.start(SPEC);
  await expect(sandbox.setLimits(LIMITS)).rejects.toThrow('limits of a runner pod');
  expect(await sandbox.memoryBytes()).toBeUndefined();
});

test('a folder is made in the pod file by file, in pieces', async () => {
  const { driver, port, idle } = await setUp();
  const runner = await dial(port);
  await idle(1);
  const folder = await makeTempDirectory();
  await mkdir(join(folder, 'numpy'));
  await writeFile(join(folder, 'numpy', '__init__.py'), '');
  await writeFile(join(folder, 'numpy', 'core.so'), Buffer.alloc(600_000, 7));
  const sandbox = await driver.start(SPEC);
  expect(await sandbox.share('id', folder)).toBe('/packages/id');
  const file = (name: string) => ({ type: 'file', path: `/packages/id/numpy/${name}` });
  const core = file('core.so');
  await vi.waitFor(() =>
    expect(runner.received.filter(({ type }) => type === 'file')).toEqual([
      file('__init__.py'),
      core,
      core,
      core,
      core,
    ]),
  );
});

test('packages that a pod has no room for are refused', async () => {
  const { driver, port, idle } = await setUp();
  await dial(port);
  await idle(1);
  const folder = await makeTempDirectory();
  await writeFile(join(folder, 'large'), '');
  await truncate(join(folder, 'large'), MAX_FOLDER_BYTES + 1);
  const sandbox = await driver.start(SPEC);
  await expect(sandbox.share('id', folder)).rejects.toMatchObject({
    code: 'resource_limit',
    retryable: false,
  });
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
  expect(again.received).toEqual([{ type: 'refused', reason: 'the token is not accepted' }]);
});

test('a runner that hangs up is no longer idle, and a claimed one’s pod is deleted', async () => {
  const { driver, port, idle, pods } = await setUp();
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
  expect(pods.remove).toHaveBeenCalledExactlyOnceWith(removed('pod-1'));
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
  const { port } = await setUp({
    pods: { authenticate: () => Promise.reject(new Error('no API server')) },
  });
  const runner = await dial(port);
  await once(runner.socket, 'close');

  const other = await setUp({ pods: { remove: () => Promise.reject(new Error('forbidden')) } });
  await dial(other.port);
  await other.idle(1);
  const sandbox = await other.driver.start(SPEC);
  sandbox.kill();
  expect((await sandbox.exited).reason).toBe('killed');
});

test('closing ends what was claimed and leaves idle pods to other workers', async () => {
  const { driver, port, idle, pods } = await setUp();
  await dial(port, { token: 'claimed' });
  await idle(1);
  await driver.start(SPEC);
  const idler = await dial(port, { token: 'idler' });
  await idle(1);
  await driver.close();
  expect(pods.remove).toHaveBeenCalledExactlyOnceWith(removed('claimed'));
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
  for (let claims = 0; claims < 2; claims++) {
    const slot = await pool.claim(request);
    expect(slot.isHit).toBe(true);
    expect(await slot.run(fakeRequest({ input: 7 }))).toEqual({ type: 'result', output: 7 });
    slot.release();
  }
  await pool.close();
});

describe('a pod that was made for an image', () => {
  const imagePods = {
    authenticate: async (token: string) => ({
      uid: token,
      name: `runner-${token}`,
      pool: token.startsWith('image') ? 'image' : 'javascript',
      limits: LIMITS,
    }),
  };
  const never = new AbortController().signal;
  const inquest = async () => ({ reason: 'out_of_memory', detail: 'OOMKilled' }) as const;

  test('is taken by the worker that has made it, and serves no code', async () => {
    const { gateway, driver, port, idle, pods } = await setUp({ pods: imagePods, startTimeoutMs: 50 });
    await dial(port, { token: 'image-1', runtime: 'image' });
    await dial(port, { token: 'code-1' });
    await idle(1);
    const taking = gateway.takePod('image-2', { signal: never, inquest });
    expect(gateway.holds('image-2')).toBe(true);
    expect((await driver.start(SPEC)).id).toBe('runner-code-1');
    await expect(driver.start(SPEC)).rejects.toThrow('no javascript runner was ready');
    await dial(port, { token: 'image-2', runtime: 'image' });
    const sandbox = await taking;
    expect(sandbox).toMatchObject({ id: 'runner-image-2', isWarm: false });
    await vi.waitFor(() => expect(pods.claim).toHaveBeenLastCalledWith(removed('image-2')));
    expect(gateway.holds('image-1')).toBe(false);
  });

  test('tells how it ended when it hangs up, before it is deleted', async () => {
    const { gateway, port, pods } = await setUp({ pods: imagePods });
    const runner = await dial(port, { token: 'image-1', runtime: 'image' });
    const asked = vi.fn(inquest);
    const sandbox = await gateway.takePod('image-1', { signal: never, inquest: asked });
    expect(pods.remove).not.toHaveBeenCalled();
    runner.socket.destroy();
    expect(await sandbox.exited).toEqual({ reason: 'out_of_memory', detail: 'OOMKilled' });
    expect(pods.remove).toHaveBeenCalledExactlyOnceWith(removed('image-1'));
  });

  test('is not asked how it ended when it was killed', async () => {
    const { gateway, port } = await setUp({ pods: imagePods });
    await dial(port, { token: 'image-1', runtime: 'image' });
    const sandbox = await gateway.takePod('image-1', { signal: never, inquest });
    sandbox.kill();
    expect((await sandbox.exited).reason).toBe('killed');
  });

  test('is not asked when its worker goes, either', async () => {
    const { gateway, driver, port } = await setUp({ pods: imagePods });
    await dial(port, { token: 'image-1', runtime: 'image' });
    const asked = vi.fn(inquest);
    const sandbox = await gateway.takePod('image-1', { signal: never, inquest: asked });
    await driver.close();
    expect((await sandbox.exited).reason).toBe('killed');
    expect(asked).not.toHaveBeenCalled();
  });

  test('is not waited for any longer than it is wanted', async () => {
    const { gateway } = await setUp({ pods: imagePods });
    const stop = new AbortController();
    const taking = gateway.takePod('image-1', { signal: stop.signal, inquest });
    stop.abort(new Error('cancelled'));
    await expect(taking).rejects.toThrow('cancelled');
    expect(gateway.holds('image-1')).toBe(false);
    await expect(gateway.takePod('image-1', { signal: stop.signal, inquest })).rejects.toThrow('cancelled');
  });

  test.each([
    ['image-1', 'javascript'],
    ['code-1', 'image'],
  ] as const)('is known by its label, and not by what it says: %s says %s', async (token, runtime) => {
    const { port } = await setUp({ pods: imagePods });
    const runner = await dial(port, { token, runtime });
    await vi.waitFor(() =>
      expect(runner.received).toEqual([{ type: 'refused', reason: `this pod is not for ${runtime}` }]),
    );
  });
});
