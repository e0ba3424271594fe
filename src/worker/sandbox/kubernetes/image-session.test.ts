import { Duplex, PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { createFrameDecoder, encodeFrame } from '../../../core/sandbox/frames.ts';
import type { ImageHeader, ImageWorkerHeader } from '../../../core/sandbox/image-protocol.ts';
import type { Sandbox, SandboxExit } from '../driver.ts';
import { openImageSession } from './image-session.ts';

const PROGRAM = { command: ['tool'], environment: { A: 'b' }, folder: '/' };
const FACTS = { environment: { PATH: '/bin' }, folder: '/srv' };
const payload = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const channels: Duplex[] = [];
afterEach(() => {
  for (const channel of channels.splice(0)) channel.destroy();
});

/** A sandbox whose other end is the test. */
function setUp() {
  const toWorker = new PassThrough();
  const toPod = new PassThrough();
  const channel = Duplex.from({ readable: toWorker, writable: toPod });
  channels.push(channel);
  const exited = Promise.withResolvers<SandboxExit>();
  const kill = vi.fn(() => {
    channel.destroy();
    exited.resolve({ reason: 'killed', detail: 'deleted' });
  });
  const sandbox: Sandbox = {
    id: 'step-1',
    channel,
    exited: exited.promise,
    kill,
    setLimits: () => Promise.reject(new Error('not here')),
    share: () => Promise.reject(new Error('not here')),
    memoryBytes: () => Promise.resolve(undefined),
  };
  const say = (header: ImageHeader | { readonly type: string }, body?: Uint8Array): void =>
    void toWorker.write(encodeFrame(header, body));
  const unread = (): number => toWorker.readableLength + toWorker.writableLength;
  const hangUp = (exit: SandboxExit): void => {
    toWorker.end();
    exited.resolve(exit);
  };
  return {
    sandbox,
    kill,
    say,
    hangUp,
    unread,
    toPod,
    ready: () => say({ type: 'image_ready', protocol: 1 }, payload(FACTS)),
  };
}

test('a program is sent with its input, and gives what it writes and how it ended', async () => {
  const { sandbox, kill, say, ready, toPod } = setUp();
  ready();
  const session = await openImageSession(sandbox);
  expect(session.facts).toEqual(FACTS);
  const received: { header: ImageWorkerHeader; size: number }[] = [];
  const decoder = createFrameDecoder();
  toPod.on('data', (chunk) => {
    for (const { header, payload: body } of decoder.push(chunk))
      received.push({ header: header as ImageWorkerHeader, size: body.length });
  });
  const container = session.start(PROGRAM, 'x'.repeat(1_500_000));
  await vi.waitFor(() => expect(received).toHaveLength(4));
  const bytes = payload(PROGRAM).length;
  expect(received).toEqual([
    { header: { type: 'program', bytes, inputBytes: 1_500_000 }, size: 0 },
    { header: { type: 'part', of: 'program' }, size: bytes },
    { header: { type: 'part', of: 'input' }, size: 1_048_576 },
    { header: { type: 'part', of: 'input' }, size: 1_500_000 - 1_048_576 },
  ]);
  say({ type: 'stdout' }, Buffer.from('out'));
  say({ type: 'stderr' }, Buffer.from('log'));
  say({ type: 'ended', code: 3 });
  say({ type: 'stdout' }, Buffer.from('after its end'));
  expect(await Promise.all([text(container.stdout), text(container.stderr)])).toEqual(['out', 'log']);
  expect(await container.exited).toEqual({ reason: 'exited', detail: 'exit code 3', exitCode: 3 });
  expect(kill).toHaveBeenCalled();
});

test.each<[string, ImageHeader | { readonly type: string }, Partial<SandboxExit>]>([
  [
    'that cannot be started',
    { type: 'not_started', reason: 'no such file' },
    { programFailure: 'no such file' },
  ],
  ['that was killed counts as lost', { type: 'ended', code: 137 }, { reason: 'exited' }],
  [
    'that says what nobody knows',
    { type: 'nonsense' },
    { reason: 'exited', detail: expect.stringMatching(/breach/) },
  ],
  [
    'that is ready twice',
    { type: 'image_ready', protocol: 1 },
    { reason: 'exited', detail: expect.stringMatching(/out of turn/) },
  ],
])('a program %s', async (_, said, exit) => {
  const { sandbox, say, ready } = setUp();
  ready();
  const container = (await openImageSession(sandbox)).start(PROGRAM, '');
  say(said);
  const found = await container.exited;
  expect(found).toMatchObject(exit);
  expect(found.exitCode).toBeUndefined();
});

test('a pod that hangs up has the end that its driver knows of', async () => {
  const { sandbox, kill, ready, hangUp } = setUp();
  ready();
  const container = (await openImageSession(sandbox)).start(PROGRAM, '');
  hangUp({ reason: 'out_of_memory', detail: 'OOMKilled' });
  expect(await container.exited).toEqual({ reason: 'out_of_memory', detail: 'OOMKilled' });
  expect(await text(container.stdout)).toBe('');
  expect(kill).not.toHaveBeenCalled();
});

test('whoever is read slowly has to wait', async () => {
  const { sandbox, say, ready, unread } = setUp();
  ready();
  const container = (await openImageSession(sandbox)).start(PROGRAM, '');
  const piece = Buffer.alloc(65_536);
  for (let count = 0; count < 100; count++) say({ type: 'stderr' }, piece);
  say({ type: 'ended', code: 0 });
  await vi.waitFor(() => expect(container.stderr.readableLength).toBeGreaterThan(0));
  // Time enough to read all of it, if nothing kept it back.
  for (let turn = 0; turn < 1000; turn++) await nextTurn();
  expect(unread()).toBeGreaterThan(90 * piece.length);
  const [log] = await Promise.all([text(container.stderr), text(container.stdout)]);
  expect(log.length).toBe(100 * piece.length);
});

test.each<[string, (pod: ReturnType<typeof setUp>) => void, RegExp]>([
  [
    'speaks another protocol',
    ({ say }) => say({ type: 'image_ready', protocol: 9 }, payload(FACTS)),
    /protocol 9/,
  ],
  ['speaks before it is ready', ({ say }) => say({ type: 'stdout' }), /out of turn/],
  [
    'says nonsense of its image',
    ({ say }) => say({ type: 'image_ready', protocol: 1 }, payload([])),
    /expected object/,
  ],
  ['hangs up', ({ hangUp }) => hangUp({ reason: 'exited', detail: '' }), /hung up/],
  ['says nothing', () => undefined, /not ready within 50 ms/],
])('a pod that %s is of no use', async (_, act, message) => {
  const pod = setUp();
  act(pod);
  await expect(openImageSession(pod.sandbox, 50)).rejects.toThrow(message);
  expect(pod.kill).toHaveBeenCalled();
});
