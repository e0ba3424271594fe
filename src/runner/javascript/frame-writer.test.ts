import { expect, it } from 'vitest';
import { createFrameDecoder } from '../../core/sandbox/frames.ts';
import { createFrameWriter } from './frame-writer.ts';

const LARGE = new Uint8Array(100_000);

/** Takes at most so many bytes at once, as a pipe does. */
function makeOutput(most: number) {
  const decoder = createFrameDecoder();
  const calls: ('write' | 'writeSync')[] = [];
  const pings: unknown[] = [];
  const take = (bytes: Uint8Array): number => {
    const taken = bytes.subarray(0, most);
    for (const { header } of decoder.push(taken)) pings.push((header as { ping: unknown }).ping);
    return taken.length;
  };
  return {
    calls,
    pings,
    output: {
      writeSync(bytes: Uint8Array) {
        calls.push('writeSync');
        return take(bytes);
      },
      async write(bytes: Uint8Array) {
        calls.push('write');
        return take(bytes);
      },
    },
  };
}

const failing = (): never => {
  throw new Error('the other side is gone');
};

it('writes small frames of one turn at once, in order', async () => {
  const { output, calls, pings } = makeOutput(1_000_000);
  const send = createFrameWriter(output, failing);
  for (const ping of [1, 2, 3]) send({ type: 'pong', ping });
  await Promise.resolve();
  expect(pings).toEqual([1, 2, 3]);
  expect(calls).toEqual(['writeSync']);
});

it('keeps the order when large ones come in between, however little is taken at once', async () => {
  const { output, calls, pings } = makeOutput(7000);
  const send = createFrameWriter(output, failing);
  send({ type: 'pong', ping: 1 });
  await Promise.resolve();
  send({ type: 'pong', ping: 2 }, LARGE);
  await Promise.resolve();
  send({ type: 'pong', ping: 3 });
  await expect.poll(() => pings).toEqual([1, 2, 3]);
  expect(new Set(calls)).toEqual(new Set(['write', 'writeSync']));
});

it('tells when the other side is gone', async () => {
  const gone = Promise.withResolvers<void>();
  const send = createFrameWriter({ writeSync: failing, write: failing }, gone.resolve);
  send({ type: 'pong', ping: 1 });
  await gone.promise;
});
