import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  createFrameDecoder,
  encodeFrame,
  MAX_HEADER_BYTES,
  MAX_PAYLOAD_BYTES,
  NO_PAYLOAD,
  ProtocolError,
  type Frame,
} from './frames.ts';

const anyFrame = fc.record({
  header: fc
    .dictionary(fc.string(), fc.jsonValue())
    .map((header) => JSON.parse(JSON.stringify(header)) as object),
  payload: fc.uint8Array({ maxLength: 300 }),
});
/** Cuts the bytes at the given places, in any order, also twice at the same. */
const cut = (bytes: Uint8Array, places: readonly number[]): Uint8Array[] => {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
};
const prefix = (length: number, headerLength: number): Uint8Array => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(0, length);
  new DataView(bytes.buffer).setUint32(4, headerLength);
  return bytes;
};

test('frames come out as they went in, however the stream is cut', () => {
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 6 }), fc.array(fc.nat()), (frames, places) => {
      const bytes = Buffer.concat(frames.map(({ header, payload }) => encodeFrame(header, payload)));
      const decoder = createFrameDecoder();
      const seen: Frame[] = cut(bytes, places).flatMap((chunk) => decoder.push(chunk));
      expect(seen.map(({ header, payload }) => ({ header, payload: Uint8Array.from(payload) }))).toEqual(
        frames.map(({ header, payload }) => ({ header, payload: Uint8Array.from(payload) })),
      );
      expect(decoder.pendingBytes).toBe(0);
    }),
  );
});

test('garbage is refused with a ProtocolError, or is the beginning of a frame', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), fc.array(fc.nat()), (bytes, places) => {
      const decoder = createFrameDecoder();
      try {
        for (const chunk of cut(bytes, places)) decoder.push(chunk);
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolError);
      }
      expect(decoder.pendingBytes).toBeLessThanOrEqual(bytes.length);
    }),
  );
});

test.each([
  ['a frame that is too large', prefix(0xffffffff, 2), /frame of 4294967295 bytes/],
  [
    'a header that is too large',
    prefix(MAX_HEADER_BYTES + 100, MAX_HEADER_BYTES + 1),
    /header of 131073 bytes/,
  ],
  ['a payload that is too large', prefix(4 + 2 + MAX_PAYLOAD_BYTES + 1, 2), /payload of 1048577 bytes/],
  ['a header longer than its frame', prefix(5, 2), /longer than its frame/],
  ['a frame without room for its own length', prefix(0, 0), /longer than its frame/],
  ['a header of nothing', prefix(4, 0), /not JSON/],
  ['a header that is not JSON', Buffer.concat([prefix(6, 2), Buffer.from('{a')]), /not JSON/],
  ['a header that is not UTF-8', Buffer.concat([prefix(7, 3), Buffer.of(0x22, 0xff, 0x22)]), /not JSON/],
  ['a header after a byte order mark', Buffer.concat([prefix(9, 5), Buffer.from('\ufeff{}')]), /not JSON/],
])('%s is refused as soon as it is seen', (_, bytes, message) => {
  expect(() => createFrameDecoder().push(bytes)).toThrow(message);
  expect(() => createFrameDecoder().push(bytes)).toThrow(ProtocolError);
});

test('a frame is as large as it may be, and no larger', () => {
  const payload = new Uint8Array(MAX_PAYLOAD_BYTES);
  const header = { a: 'x'.repeat(MAX_HEADER_BYTES - 8) };
  const frames = createFrameDecoder().push(encodeFrame(header, payload));
  expect(frames[0]?.payload.length).toBe(MAX_PAYLOAD_BYTES);
  expect(() => encodeFrame(header, new Uint8Array(MAX_PAYLOAD_BYTES + 1))).toThrow(RangeError);
  expect(() => encodeFrame({ a: 'x'.repeat(MAX_HEADER_BYTES) })).toThrow(RangeError);
  expect(createFrameDecoder().push(encodeFrame({}))[0]?.payload).toEqual(NO_PAYLOAD);
});
