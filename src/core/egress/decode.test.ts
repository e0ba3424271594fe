import { buffer } from 'node:stream/consumers';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { codingsOf, decodeBody, responseTooLarge, type BodyLimit } from './decode.ts';

const ENCODERS = {
  gzip: zlib.gzipSync,
  'x-gzip': zlib.gzipSync,
  deflate: zlib.deflateSync,
  br: zlib.brotliCompressSync,
  zstd: zlib.zstdCompressSync,
} as const;
const limitTo = (maxBytes: number): BodyLimit => ({
  label: 'x:80',
  maxBytes,
  tooLarge: () => responseTooLarge('x:80', maxBytes),
});
const decode = (body: Buffer, codings: readonly string[], maxBytes = 1_000_000): Promise<Buffer> =>
  decodeBody(body, codings, limitTo(maxBytes));

describe('codingsOf', () => {
  test.each([
    [undefined, []],
    ['', []],
    ['identity', []],
    ['gzip', ['gzip']],
    [' GZIP ', ['gzip']],
    ['gzip, br', ['br', 'gzip']],
    ['compress', undefined],
    ['gzip, x-own', undefined],
  ])('of %j is %j', (header, codings) => {
    expect(codingsOf(header)).toEqual(codings);
  });
});

describe('decodeBody', () => {
  test.each(Object.entries(ENCODERS))('undoes %s, whatever the bytes', async (coding, encode) => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 2000 }), async (bytes) => {
        expect(await decode(encode(bytes), [coding])).toEqual(Buffer.from(bytes));
      }),
      { numRuns: 20 },
    );
  });

  test('undoes deflate without its zlib header', async () => {
    expect((await decode(zlib.deflateRawSync('raw'), ['deflate'])).toString()).toBe('raw');
  });

  test('undoes several codings, and refuses more than three', async () => {
    const twice = zlib.brotliCompressSync(zlib.gzipSync('twice'));
    expect((await decode(twice, codingsOf('gzip, br') ?? [])).toString()).toBe('twice');
    await expect(decode(twice, ['br', 'gzip', 'br', 'gzip'])).rejects.toThrow(/encoded 4 times/);
  });

  test.each(Object.entries(ENCODERS))(
    'of %s gives the limit, and not one byte more',
    async (coding, encode) => {
      expect(await decode(encode(Buffer.alloc(1000)), [coding], 1000)).toHaveLength(1000);
      await expect(decode(encode(Buffer.alloc(1001)), [coding], 1000)).rejects.toMatchObject({
        code: 'response_too_large',
        retryable: false,
      });
    },
  );

  test('stops a bomb within a bomb at the first layer that is too large', async () => {
    const bomb = zlib.gzipSync(zlib.gzipSync(Buffer.alloc(50_000_000)));
    await expect(decode(bomb, ['gzip', 'gzip'], 1000)).rejects.toMatchObject({ code: 'response_too_large' });
  });

  test.each(Object.entries(ENCODERS))('of broken or cut %s is retryable', async (coding, encode) => {
    const broken = encode(Buffer.from('some text that is long enough to be cut'));
    for (const body of [
      broken.subarray(0, broken.length - 6),
      Buffer.from('\u0001\u0002not compressed at all'),
    ]) {
      await expect(decode(body, [coding])).rejects.toMatchObject({ code: 'connect_failed', retryable: true });
    }
  });

  test('takes a zstd window of the 8 MB that HTTP allows, and no larger one', async () => {
    const withWindow = async (windowLog: number): Promise<Buffer> => {
      const compressor = zlib.createZstdCompress({
        params: { [zlib.constants.ZSTD_c_windowLog]: windowLog },
      });
      compressor.write('window');
      // Flushed before its end, so that the frame cannot shrink the window to the content.
      await new Promise<void>((resolve) => compressor.flush(resolve));
      compressor.end();
      return buffer(compressor);
    };
    expect((await decode(await withWindow(23), ['zstd'])).toString()).toBe('window');
    await expect(decode(await withWindow(24), ['zstd'])).rejects.toMatchObject({ code: 'connect_failed' });
  });
});
