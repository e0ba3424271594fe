import { PassThrough } from 'node:stream';
import { pino } from 'pino';
import { expect, test, vi } from 'vitest';
import { encodeFrame } from '../../../core/sandbox/frames.ts';
import type { ImageRequest, Sandbox, SandboxExit } from '../driver.ts';
import { KubernetesError } from './api.ts';
import { createImagePods, type ImagePodsDeps } from './image-pods.ts';
import type { PodProgress } from './pod-progress.ts';

const IMAGE = 'ghcr.io/acme/tool:1';
const POD = { uid: 'u1', name: 'step-1' };
const FACTS = { environment: { COLOR: 'blue' }, folder: '/srv' };

const request = (more: Partial<ImageRequest> = {}): ImageRequest => ({
  tenantId: 'a',
  step: 'an-execution.a-step',
  image: IMAGE,
  namesCommand: true,
  limits: { memoryBytes: 268_435_456, cpus: 1, pids: 256 },
  timeoutMs: 30_000,
  signal: new AbortController().signal,
  ...more,
});

function fakeSandbox(): Sandbox & { readonly kill: ReturnType<typeof vi.fn<() => void>> } {
  const channel = new PassThrough();
  channel.write(
    encodeFrame({ type: 'image_ready', protocol: 1 }, new TextEncoder().encode(JSON.stringify(FACTS))),
  );
  return {
    id: POD.name,
    channel,
    exited: new Promise(() => undefined),
    kill: vi.fn(() => void channel.destroy()),
    setLimits: () => Promise.reject(new Error('not here')),
    share: () => Promise.reject(new Error('not here')),
    memoryBytes: () => Promise.resolve(undefined),
  };
}

/** @param progress how far the pod is, each time it is looked at; the last goes on. Without any, it dials at once. */
function setUp(
  progress: readonly (PodProgress | undefined)[] = [],
  allowed = ['ghcr.io/acme/'],
  guardMs = 60_000,
) {
  const sandbox = fakeSandbox();
  const left = [...progress];
  const pods = {
    createForImage: vi.fn<ImagePodsDeps['pods']['createForImage']>(async () => POD),
    look: vi.fn<ImagePodsDeps['pods']['look']>(async () => (left.length > 1 ? left.shift() : left[0])),
    remove: vi.fn<ImagePodsDeps['pods']['remove']>(async () => undefined),
  };
  let inquest: (() => Promise<Partial<SandboxExit> | undefined>) | undefined;
  const takePod: ImagePodsDeps['gateway']['takePod'] = async (uid, options) => {
    expect(uid).toBe(POD.uid);
    inquest = options.inquest;
    if (progress.length === 0) return sandbox;
    return new Promise((_, reject) => {
      options.signal.addEventListener('abort', () => reject(options.signal.reason as Error));
    });
  };
  const claim = createImagePods({
    pods,
    gateway: { takePod },
    allowed,
    logger: pino({ level: 'silent' }),
    times: { lookMs: 4, guardMs, inquestMs: 200 },
  });
  return { claim, pods, sandbox, inquest: () => inquest!() };
}

test('a place is a pod of the image, with the limits of the step and a deadline beyond all that it may take', async () => {
  const { claim, pods, sandbox } = setUp();
  const place = await claim(request(), 60_000);
  expect(pods.createForImage).toHaveBeenCalledExactlyOnceWith({
    step: 'an-execution.a-step',
    image: IMAGE,
    limits: request().limits,
    deadlineSeconds: 390,
  });
  expect(place.image).toMatchObject({ ...FACTS, id: 'step-1', userId: 65_532, groupId: 65_532 });
  expect(pods.remove).not.toHaveBeenCalled();
  place.release();
  expect(sandbox.kill).toHaveBeenCalled();
});

test.each<[string, Partial<ImageRequest>, readonly string[], object]>([
  [
    'an image that nobody has listed',
    {},
    ['ghcr.io/others/'],
    { code: 'image_not_found', message: expect.stringMatching(/SANDBOX_IMAGES_ALLOW: ghcr\.io\/others\//) },
  ],
  ['any image, where none is listed', {}, [], { message: expect.stringMatching(/ALLOW: none/) }],
  [
    'what only the image would know',
    { namesCommand: false },
    ['ghcr.io/acme/'],
    { code: 'invalid_input', message: expect.stringMatching(/`command: \[\.\.\.\]`/) },
  ],
])('no pod is made for %s', async (_, more, allowed, error) => {
  const { claim, pods } = setUp([], [...allowed]);
  await expect(claim(request(more), 60_000)).rejects.toMatchObject({ ...error, retryable: false });
  expect(pods.createForImage).not.toHaveBeenCalled();
});

const unready = (reason: RegExp) => ({
  code: 'no_sandbox',
  retryable: true,
  message: expect.stringMatching(reason),
});
test.each<[string, readonly (PodProgress | undefined)[], object]>([
  [
    'cannot have its image',
    [{ type: 'starting' }, { type: 'no_image', reason: 'ErrImagePull: not found', isFinal: true }],
    { code: 'image_not_found', retryable: false, message: expect.stringMatching(/not found/) },
  ],
  [
    'waits too long for a registry',
    [
      { type: 'no_image', reason: 'ErrImagePull: i/o timeout', isFinal: false },
      { type: 'no_image', reason: 'ImagePullBackOff: ', isFinal: false },
    ],
    unready(/cannot be pulled: ErrImagePull: i\/o timeout/),
  ],
  ['finds no node', [{ type: 'pending', reason: '0/1 nodes are available' }], unready(/0\/1 nodes/)],
  ['ends', [{ type: 'failed', reason: 'exit code 1', isOutOfMemory: false }], unready(/exit code 1/)],
  ['is deleted', [{ type: 'starting' }, undefined], unready(/was deleted/)],
])('a pod that %s is removed, and said so', async (_, progress, error) => {
  const { claim, pods } = setUp(progress);
  await expect(claim(request(), 30)).rejects.toMatchObject(error);
  expect(pods.remove).toHaveBeenCalledExactlyOnceWith(POD);
});

test('an API server that does not answer for a while ends nothing', async () => {
  const { claim, pods } = setUp([{ type: 'failed', reason: 'at last', isOutOfMemory: false }]);
  pods.look.mockRejectedValueOnce(new Error('connection refused'));
  await expect(claim(request(), 10_000)).rejects.toThrow('at last');
});

test('a claim that is cancelled removes its pod', async () => {
  const { claim, pods } = setUp([{ type: 'starting' }]);
  const stop = new AbortController();
  const claiming = claim(request({ signal: stop.signal }), 60_000);
  await vi.waitFor(() => expect(pods.look).toHaveBeenCalled());
  stop.abort(new Error('cancelled'));
  await expect(claiming).rejects.toThrow('cancelled');
  expect(pods.remove).toHaveBeenCalledExactlyOnceWith(POD);
});

test('a full quota is waited for, as memory is on one machine', async () => {
  const { claim, pods } = setUp();
  pods.createForImage.mockRejectedValueOnce(new KubernetesError(403, 'forbidden: exceeded quota: runners'));
  await claim(request(), 60_000);
  expect(pods.createForImage).toHaveBeenCalledTimes(2);
  pods.createForImage.mockRejectedValue(new KubernetesError(403, 'forbidden: exceeded quota: runners'));
  await expect(claim(request(), 30)).rejects.toMatchObject(unready(/exceeded quota: runners/));
});

test.each([
  [new KubernetesError(403, 'maximum memory usage per Container is 8Gi'), /refuses a pod.*8Gi/],
  [new KubernetesError(404, 'podtemplates "container-step" not found'), /container-step/],
  [new KubernetesError(500, 'etcd is away'), /worker’s log/],
  [new Error('connect ECONNREFUSED'), /worker’s log/],
])('what keeps a pod from being made is said: %s', async (error, message) => {
  const { claim, pods } = setUp();
  pods.createForImage.mockRejectedValue(error);
  await expect(claim(request(), 60_000)).rejects.toMatchObject(unready(message));
});

test('a pod whose end only Kubernetes knows of is hung up on', async () => {
  const { claim, pods, sandbox } = setUp([], ['ghcr.io/acme/'], 5);
  pods.look.mockResolvedValue({ type: 'starting' });
  await claim(request(), 60_000);
  await vi.waitFor(() => expect(pods.look.mock.calls.length).toBeGreaterThan(1));
  expect(sandbox.channel.destroyed).toBe(false);
  pods.look.mockRejectedValueOnce(new Error('connection refused'));
  pods.look.mockResolvedValue({ type: 'failed', reason: 'OOMKilled', isOutOfMemory: true });
  await vi.waitFor(() => expect(sandbox.channel.destroyed).toBe(true));
  // How it ended is asked then, which nobody does of what was killed.
  expect(sandbox.kill).not.toHaveBeenCalled();
});

test('how a pod ended that hung up, Kubernetes is asked until it knows', async () => {
  const { claim, pods, inquest } = setUp();
  await claim(request(), 60_000);
  pods.look.mockResolvedValueOnce({ type: 'starting' });
  pods.look.mockResolvedValueOnce({ type: 'failed', reason: 'relay ended', isOutOfMemory: false });
  pods.look.mockResolvedValueOnce({ type: 'failed', reason: 'OOMKilled', isOutOfMemory: true });
  expect(await inquest()).toEqual({ reason: 'out_of_memory', detail: 'OOMKilled' });
  pods.look.mockResolvedValueOnce({ type: 'failed', reason: 'exit code 1', isOutOfMemory: false });
  pods.look.mockResolvedValueOnce(undefined);
  expect(await inquest()).toEqual({ reason: 'exited', detail: 'exit code 1' });
  pods.look.mockResolvedValue(undefined);
  expect(await inquest()).toBeUndefined();
});
