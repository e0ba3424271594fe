import crypto from 'node:crypto';
import events from 'node:events';
import stream from 'node:stream';
import zlib from 'node:zlib';

/**
 * What only instances lead to: prototypes of readers, iterators, handles of the runtime, queues behind symbols, and
 * functions that they keep. No name leads there, but runs share it all the same.
 */
export function findBehindInstances(): object[] {
  const found = new Set<object>();
  const seen = new Set<unknown>();
  const waiting: unknown[] = createSamples();
  while (waiting.length > 0) {
    const value = waiting.pop();
    if (Object(value) !== value || seen.has(value) || value === globalThis) continue;
    seen.add(value);
    if (typeof value === 'function') found.add(value);
    for (let at = Reflect.getPrototypeOf(value as object); at !== null; at = Reflect.getPrototypeOf(at)) {
      found.add(at);
    }
    // Bytes have a property for each of them, and nothing else.
    if (!ArrayBuffer.isView(value)) waiting.push(...ownValues(value as object));
  }
  return [...found];
}

/** Values and accessors, those behind symbols as well. */
const ownValues = (object: object): unknown[] =>
  Reflect.ownKeys(object).flatMap((key) => {
    const { value, get, set } = Reflect.getOwnPropertyDescriptor(object, key) ?? {};
    return [value, get, set];
  });

/** One of each kind of thing that runs make. */
function createSamples(): unknown[] {
  const key = new Uint8Array(16);
  const { readable, writable } = new TransformStream();
  const bytes = new ReadableStream({ type: 'bytes' });
  const { port1, port2 } = new MessageChannel();
  port1.close();
  port2.close();
  const form = new FormData();
  const response = new Response('a');
  return [
    [
      readable,
      readable.getReader(),
      writable,
      writable.getWriter(),
      bytes,
      bytes.getReader({ mode: 'byob' }),
    ],
    [new ReadableStream().values(), new ByteLengthQueuingStrategy({ highWaterMark: 1 }), port1],
    [new CompressionStream('gzip'), new TextDecoderStream(), new TextEncoderStream(), new TextDecoder()],
    [response, response.body, response.headers, response.headers.entries(), new Request('x:/')],
    [form, form.entries(), new Blob(['a']), new File(['a'], 'b'), new Blob(['a']).stream()],
    [
      new URL('a:b'),
      new URLSearchParams('a=b').entries(),
      AbortSignal.abort(),
      new Event('a'),
      new EventTarget(),
    ],
    [crypto.createHash('sha256'), crypto.createHmac('sha256', key), crypto.createSign('sha256')],
    [crypto.createCipheriv('aes-128-cbc', key, key), crypto.createDecipheriv('aes-128-gcm', key, key)],
    [crypto.createVerify('sha256'), crypto.createECDH('prime256v1'), crypto.createSecretKey(key)],
    [crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }), crypto.webcrypto],
    [zlib.createGzip(), zlib.createGunzip(), zlib.createBrotliCompress(), zlib.createBrotliDecompress()],
    [new stream.Readable(), new stream.Writable(), new stream.Transform(), stream.Readable.from([])],
    [
      new Error('a'),
      new stream.Readable()[Symbol.asyncIterator](),
      new events(),
      events.on(new events(), 'a'),
    ],
  ].flat();
}
