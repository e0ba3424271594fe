import fc from 'fast-check';
import { encodeFrame } from '../../../core/sandbox/frames.ts';
import { LOG_LEVELS, RUN_FAILURES } from '../../../core/sandbox/protocol.ts';

/** What a hostile runner may send: `nonces` are those that it was told of. */
export type HostileMove = (nonces: readonly string[]) => Uint8Array;

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const payload = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.json({ maxDepth: 3 }).map(utf8),
  fc.constantFrom(
    utf8('{"name":"Error","message":"m"}'),
    utf8('['.repeat(5000)),
    new Uint8Array(65_536),
    new Uint8Array(300_000),
  ),
);
const nonce = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.nat(3).map((index) => (nonces: readonly string[]) => nonces[index % nonces.length] ?? ''),
  },
  { weight: 1, arbitrary: fc.string({ minLength: 32, maxLength: 32 }).map((text) => () => text) },
);
const fetchId = fc.oneof(fc.integer({ min: 0, max: 4 }), fc.integer(), fc.constant(Number.MAX_SAFE_INTEGER));

/** Headers of the protocol's shapes, about runs that are under way and others. */
const header = fc.oneof(
  fc.record({ type: fc.constant('log'), level: fc.constantFrom(...LOG_LEVELS) }),
  fc.record({ type: fc.constant('result') }),
  fc.record({ type: fc.constant('failed'), failure: fc.constantFrom(...RUN_FAILURES) }),
  fc.record({
    type: fc.constant('fetch'),
    fetch: fetchId,
    target: fc.webUrl(),
    method: fc.constant('POST'),
    headers: fc.constant([]),
    hasBody: fc.boolean(),
    redirect: fc.constant('follow'),
  }),
  fc.record({ type: fc.constantFrom('fetch_data', 'fetch_end', 'fetch_abort'), fetch: fetchId }),
  fc.record({
    type: fc.constant('fetch_credit'),
    fetch: fetchId,
    bytes: fc.integer({ min: 1, max: 1_048_576 }),
  }),
);
const aboutNobody = fc.oneof(
  fc.record({
    type: fc.constant('ready'),
    protocol: fc.nat(),
    runtime: fc.string(),
    slots: fc.nat(),
    kernel: fc.string(),
  }),
  fc.record({ type: fc.constant('program_ready'), program: fc.constantFrom('p1', 'p2') }),
  fc.record({
    type: fc.constant('program_failed'),
    program: fc.constantFrom('p1', 'p2'),
    failure: fc.constantFrom(...RUN_FAILURES),
  }),
  fc.record({ type: fc.constant('pong'), ping: fc.nat() }),
  fc.object(),
);

/** Mostly frames that are right in themselves: what is wrong at the first byte shows little. */
export const hostileMove: fc.Arbitrary<HostileMove> = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.tuple(header, nonce, payload).map(
      ([fields, choose, bytes]): HostileMove =>
        (nonces) =>
          encodeFrame({ ...fields, nonce: choose(nonces) }, bytes),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(aboutNobody, payload).map(
      ([fields, bytes]): HostileMove =>
        () =>
          encodeFrame(fields, bytes),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.uint8Array({ maxLength: 100 }).map(
      (bytes): HostileMove =>
        () =>
          bytes,
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(header, nonce, fc.nat(50)).map(
      ([fields, choose, missing]): HostileMove =>
        (nonces) =>
          encodeFrame({ ...fields, nonce: choose(nonces) }).subarray(missing),
    ),
  },
);
