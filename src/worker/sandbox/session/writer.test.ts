import { Duplex } from 'node:stream';
import { expect, test } from 'vitest';
import { createFrameDecoder } from '../../../core/sandbox/frames.ts';
import { createFrameWriter } from './writer.ts';

/** A channel that takes each write at once, and keeps it. */
function keepWrites() {
  const writes: Uint8Array[] = [];
  const channel = new Duplex({
    highWaterMark: 16_384,
    read: () => undefined,
    write(chunk: Uint8Array, _encoding, done) {
      writes.push(chunk);
      setImmediate(done);
    },
  });
  const writer = createFrameWriter(channel, { stallMs: 1000, onStuck: (reason) => expect.fail(reason) });
  const programs = (): unknown[] =>
    createFrameDecoder()
      .push(Buffer.concat(writes))
      .map(({ header }) => (header as { of: string }).of);
  return { writes, writer, programs };
}

const until = async (isDone: () => boolean): Promise<void> => {
  while (!isDone()) await new Promise((resolve) => setImmediate(resolve));
};

test('small frames of one turn are one write', async () => {
  const { writes, writer, programs } = keepWrites();
  for (const id of ['a', 'b', 'c']) writer.send({ type: 'part', of: id }, new Uint8Array(500));
  await Promise.resolve();
  expect(writes).toHaveLength(1);
  expect(programs()).toEqual(['a', 'b', 'c']);
});

test('large frames are written by themselves, in order, as the channel takes them', async () => {
  const { writes, writer, programs } = keepWrites();
  const sizes = { a: 10, b: 20_000, c: 200_000, d: 10, e: 20_000, f: 20_000 };
  for (const [of, size] of Object.entries(sizes)) writer.send({ type: 'part', of }, new Uint8Array(size));
  await until(() => writer.room() === undefined && writes.length > 3);
  expect(programs()).toEqual(Object.keys(sizes));
  expect(writes.map(({ length }) => Math.round(length / 10_000))).toEqual([2, 20, 2, 2]);
});
