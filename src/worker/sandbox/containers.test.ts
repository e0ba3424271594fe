import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { pino } from 'pino';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { makeTar, writeLayout } from '../../../test/support/oci-layout.ts';
import { makeTempDirectory } from '../../../test/support/temp-directory.ts';
import { createContainers, type Containers, type ContainersOptions } from './containers.ts';
import type { ImageContainer, ImageSpec, NoDriver, SandboxDriver } from './driver.ts';

const MIB = 1_048_576;
const IMAGE = 'example.com/tool:1';
let base: string;
beforeEach(async () => {
  base = await makeTempDirectory();
  await writeLayout(join(base, 'layout'), [
    { name: IMAGE, layers: [{ tar: makeTar([{ path: 'tool', content: 'x', mode: 0o755 }]) }] },
  ]);
});

/** A driver whose containers never end. */
function fakeDriver(more: Partial<SandboxDriver> = {}): SandboxDriver & { readonly started: ImageSpec[] } {
  const started: ImageSpec[] = [];
  return {
    started,
    description: { driver: 'gvisor', isolation: 'none at all' },
    runtimes: new Set(),
    start: () => Promise.reject(new Error('no runner is started here')),
    runImage: async (spec): Promise<ImageContainer> => {
      started.push(spec);
      return {
        id: `c${started.length}`,
        stdout: new PassThrough(),
        stderr: new PassThrough(),
        exited: new Promise(() => undefined),
        kill: () => undefined,
      };
    },
    close: async () => undefined,
    ...more,
  };
}

const open = (
  driver: SandboxDriver | NoDriver | Promise<never>,
  more: Partial<ContainersOptions> = {},
): Containers =>
  createContainers({
    driver: Promise.resolve(driver),
    imagesFolder: join(base, 'layout'),
    imagesDirectory: join(base, 'images'),
    budgetBytes: 512 * MIB,
    claimTimeoutMs: 5000,
    logger: pino({ level: 'silent' }),
    ...more,
  });

const request = (megabytes = 256, signal = new AbortController().signal) => ({
  tenantId: 'a',
  step: 'an-execution.a-step',
  image: IMAGE,
  namesCommand: true,
  timeoutMs: 1000,
  limits: { memoryBytes: megabytes * MIB, cpus: 1, pids: 256 },
  signal,
});
const process = { command: ['/tool'], environment: {}, folder: '/', userId: 65_532, groupId: 65_532 };

test('a place has the image unpacked, and starts a program of it', async () => {
  const driver = fakeDriver();
  const place = await open(driver).claim(request());
  expect(await place.start(process, '{}')).toMatchObject({ id: 'c1' });
  expect(driver.started).toEqual([{ image: place.image.id, process, input: '{}', limits: request().limits }]);
});

test('places wait for memory, and give up in time', async () => {
  const containers = open(fakeDriver(), { claimTimeoutMs: 50 });
  const first = await containers.claim(request(300));
  await expect(containers.claim(request(300))).rejects.toMatchObject({
    code: 'no_sandbox',
    retryable: true,
    message: expect.stringMatching(/within 50 ms: 300 MiB are needed.*512 MiB.*SANDBOX_MEMORY_BUDGET_BYTES/),
  });
  const waiting = containers.claim(request(300));
  first.release();
  first.release();
  (await waiting).release();
  (await containers.claim(request(512))).release();
});

test('nobody waits for what is no longer wanted', async () => {
  const containers = open(fakeDriver());
  await containers.claim(request(512));
  const stop = new AbortController();
  const waiting = containers.claim(request(300, stop.signal));
  stop.abort(new Error('cancelled'));
  await expect(waiting).rejects.toThrow('cancelled');
});

describe('no_sandbox', () => {
  const NONE: NoDriver = {
    description: undefined,
    reason: 'there is no runsc',
    remedy: 'run scripts/install-gvisor',
  };
  test.each<[string, () => Containers, RegExp]>([
    ['no driver', () => open(NONE), /container steps: there is no runsc; run scripts\/install-gvisor/],
    [
      'a driver that runs no images',
      () => open(fakeDriver({ runImage: undefined, description: { driver: 'process', isolation: '' } })),
      /process sandboxes of this worker run no images.*SANDBOX_DRIVER=gvisor/,
    ],
    [
      'a driver that is not ready in time',
      () => open(fakeDriver(), { driver: new Promise(() => undefined), claimTimeoutMs: 20 }),
      /not ready within 20 ms/,
    ],
  ])('is said of %s', async (_, containers, message) => {
    await expect(containers().claim(request())).rejects.toMatchObject({
      code: 'no_sandbox',
      retryable: true,
      message: expect.stringMatching(message),
    });
  });

  test('is said of more memory than there will ever be', async () => {
    await expect(open(fakeDriver()).claim(request(1024))).rejects.toThrow(/may use 1024 MiB.*have 512 MiB/);
  });

  test('is said when no container can be started', async () => {
    const driver = fakeDriver({ runImage: () => Promise.reject(new Error('mkfifo is missing')) });
    const place = await open(driver).claim(request());
    await expect(place.start(process, '')).rejects.toMatchObject({
      code: 'no_sandbox',
      message: expect.stringMatching(/worker's log/),
    });
  });
});

test('an image that is not there is said so before anything waits', async () => {
  const containers = open(fakeDriver(), { imagesFolder: undefined });
  await expect(containers.claim(request())).rejects.toMatchObject({ code: 'image_not_found' });
});

describe('in a cluster', () => {
  const facts = {
    id: 'step-1',
    entrypoint: [],
    command: [],
    environment: {},
    folder: '/',
    userId: 65_532,
    groupId: 65_532,
  };

  test('images are others’ affair, and their pods count as the containers of a machine do', async () => {
    const release = vi.fn();
    const start = (): Promise<never> => Promise.reject(new Error('not started here'));
    const claimImage = vi.fn(async () => ({ image: facts, start, release }));
    const driver = fakeDriver({ runImage: undefined, claimImage });
    const containers = open(driver, { imagesFolder: undefined, claimTimeoutMs: 100 });
    const wanted = request(300);
    const place = await containers.claim(wanted);
    expect(place.image).toBe(facts);
    expect(claimImage).toHaveBeenCalledExactlyOnceWith(wanted, 100);
    await expect(containers.claim(request(300))).rejects.toThrow(/within 100 ms: 300 MiB/);
    place.release();
    place.release();
    expect(release).toHaveBeenCalled();
    (await containers.claim(request(512))).release();
  });

  test('what cannot be had takes no memory', async () => {
    const claimImage = vi.fn(() => Promise.reject(new Error('no such image')));
    const containers = open(fakeDriver({ claimImage }), { claimTimeoutMs: 100 });
    for (let count = 0; count < 3; count++) {
      await expect(containers.claim(request(512))).rejects.toThrow('no such image');
    }
  });
});
