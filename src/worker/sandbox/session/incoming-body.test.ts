import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { BODY_WINDOW_BYTES, MAX_CHUNK_BYTES } from '../../../core/sandbox/protocol.ts';
import { createIncomingBody } from './incoming-body.ts';

const collect = async (chunks: AsyncIterable<Uint8Array>): Promise<Buffer> =>
  Buffer.concat(await toList(chunks));
const toList = async (chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> => {
  const list: Uint8Array[] = [];
  for await (const bytes of chunks) list.push(Uint8Array.from(bytes));
  return list;
};

test('gives back what was pushed, whatever the sizes of the pieces', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 12 }), async (sizes) => {
      const body = createIncomingBody(() => undefined);
      const pieces = sizes.map((size, index) => Buffer.alloc(size, index + 1));
      for (const piece of pieces) body.push(piece);
      body.end();
      expect((await collect(body.chunks)).equals(Buffer.concat(pieces))).toBe(true);
    }),
    { numRuns: 50 },
  );
});

test('a window of single bytes takes little more than its size', async () => {
  const body = createIncomingBody(() => undefined);
  for (let i = 0; i < BODY_WINDOW_BYTES; i++) body.push(Uint8Array.of(i % 256));
  body.end();
  const list = await toList(body.chunks);
  expect(list).toHaveLength(16);
  expect(Buffer.concat(list)).toHaveLength(BODY_WINDOW_BYTES);
});

test('asks for more as it is read, never for more than was taken', async () => {
  const onCredit = vi.fn();
  const body = createIncomingBody(onCredit);
  for (let i = 0; i < 4; i++) body.push(new Uint8Array(MAX_CHUNK_BYTES));
  expect(() => body.push(Uint8Array.of(1))).toThrow('faster than it was asked for');
  expect(onCredit).not.toHaveBeenCalled();
  const reader = body.chunks[Symbol.asyncIterator]();
  await reader.next();
  expect(onCredit.mock.calls).toEqual([[MAX_CHUNK_BYTES]]);
});

test('what nobody reads any more is dropped', async () => {
  const body = createIncomingBody(() => undefined);
  body.push(Uint8Array.of(1));
  for await (const _ of body.chunks) break;
  body.push(Uint8Array.of(2));
  body.end();
  expect(await toList(body.chunks)).toEqual([]);
});

test('a reader hears of a failure, also while it waits', async () => {
  const body = createIncomingBody(() => undefined);
  const reading = collect(body.chunks);
  body.fail(new Error('the run has ended'));
  await expect(reading).rejects.toThrow('the run has ended');
});
