import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { Session } from 'node:inspector/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MIB } from '../../support/broker.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { closeServers, serve, type TestServer } from '../../support/http-server.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';
import { waitFor } from '../../support/wait-for.ts';

const PIECE_BYTES = 65_536;
const BODY_PIECES = 128;
const AT_ONCE = 6;
const IN_ALL_BYTES = AT_ONCE * BODY_PIECES * PIECE_BYTES;
/** Windows, blocks and sockets of all bodies take a few MiB; without backpressure it would be all of them. */
const MOST_HELD_BYTES = IN_ALL_BYTES / 2;

/** No two pieces of a body are the same, so that a hash tells of one that is missing, twice or in another place. */
function* pieces(): Generator<Buffer> {
  for (let n = 0; n < BODY_PIECES; n++) {
    const piece = Buffer.alloc(PIECE_BYTES, n % 251);
    piece.writeUInt32BE(n);
    yield piece;
  }
}
const hashOf = (parts: Iterable<Uint8Array>): string => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
};
const HASH = hashOf(pieces());

/** The same bodies, made and read piece by piece: sent to who does not read, and not read from who sends. */
const SOURCES = {
  javascript: `
import { createHash } from 'node:crypto';
const makeBody = (count) => {
  let n = 0;
  return new ReadableStream({
    pull(controller) {
      if (n === count) return controller.close();
      const piece = new Uint8Array(${PIECE_BYTES}).fill(n % 251);
      new DataView(piece.buffer).setUint32(0, n++);
      controller.enqueue(piece);
    },
  }, { highWaterMark: 0 });
};
const readHash = async (answer) => {
  const hash = createHash('sha256');
  for await (const piece of answer.body) hash.update(piece);
  return hash.digest('hex');
};
export default async (ctx, { body: { url, atOnce, pieces } }) => {
  const each = (work) => Promise.all(Array.from({ length: atOnce }, work));
  const sent = await each(async () => {
    const init = { method: 'POST', body: makeBody(pieces), duplex: 'half' };
    return (await ctx.fetch(url + '/upload', init)).text();
  });
  const answers = await each(() => ctx.fetch(url + '/download'));
  await (await ctx.fetch(url + '/may-read')).text();
  return { sent, received: await Promise.all(answers.map(readHash)) };
};
`,
  python: `
import hashlib
from concurrent.futures import ThreadPoolExecutor

def make_body(count):
    for n in range(count):
        yield n.to_bytes(4, "big") + bytes([n % 251]) * (${PIECE_BYTES} - 4)

def read_hash(answer):
    found = hashlib.sha256()
    for piece in answer:
        found.update(piece)
    return found.hexdigest()

def run(ctx, input):
    url, at_once, pieces = (input["body"][name] for name in ("url", "atOnce", "pieces"))
    upload = lambda _: ctx.fetch(url + "/upload", method="POST", body=make_body(pieces)).text()
    with ThreadPoolExecutor(at_once) as pool:
        sent = list(pool.map(upload, range(at_once)))
    answers = [ctx.fetch(url + "/download") for _ in range(at_once)]
    ctx.fetch(url + "/may-read").text()
    return {"sent": sent, "received": [read_hash(answer) for answer in answers]}
`,
} as const;

let database: TestDatabase;
let platform: TestPlatform;
let server: TestServer;
const inspector = new Session();
/** Requests that are answered when a test says so. */
let uploads: (() => void)[] = [];
let mayRead: (() => void)[] = [];

const answer: RequestListener = (request, response) => {
  if (request.url === '/upload') uploads.push(() => void answerWithHash(request, response));
  else if (request.url === '/may-read') mayRead.push(() => response.end());
  else void pipeline(Readable.from(pieces()), response);
};

async function answerWithHash(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const hash = createHash('sha256');
  request.on('data', (piece: Buffer) => hash.update(piece));
  await once(request, 'end');
  response.end(hash.digest('hex'));
}

beforeAll(async () => {
  inspector.connect();
  database = await createTestDatabase();
  server = await serve(answer);
  platform = await startPlatform(database.url, {
    SANDBOX_DRIVER: 'gvisor',
    EGRESS_ALLOW_PRIVATE: `127.0.0.1:${server.port}`,
  });
  await platform.workers[0]!.sandboxes;
}, 180_000);

afterAll(async () => {
  await platform.stop();
  closeServers();
  await database.drop();
  inspector.disconnect();
});

/** What is in buffers of this process, the worker's among them, and is still needed. */
async function bufferedBytes(): Promise<number> {
  await inspector.post('HeapProfiler.collectGarbage');
  return process.memoryUsage().arrayBuffers;
}

/** The most of it, until it has stopped growing. */
async function settledBufferedBytes(): Promise<number> {
  let most = await bufferedBytes();
  for (let looks = 0, same = 0; looks < 200 && same < 10; looks++) {
    await delay(20);
    const now = await bufferedBytes();
    same = now > most + MIB / 4 ? 0 : same + 1;
    if (same === 0) most = now;
  }
  return most;
}

describe.each(['javascript', 'python'] as const)(
  'bodies of ctx.fetch in %s, out of gVisor and into it',
  (language) => {
    test(
      'arrive whole, and wait outside of the worker while the other side does not read',
      { timeout: 120_000 },
      async () => {
        uploads = [];
        mayRead = [];
        const file = language === 'javascript' ? 'steps/bodies.js' : 'steps/bodies.py';
        const { hook } = await platform.deploy(
          `
name: bodies-${language}
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [ { id: it, code: ${file}, egress: ["127.0.0.1:${server.port}"], retry: { attempts: 1 } } ]
output: steps.it.output
`,
          { [file]: SOURCES[language] },
        );
        const before = await bufferedBytes();
        const { data } = await platform.post(hook, { url: server.url, atOnce: AT_ONCE, pieces: BODY_PIECES });

        await waitFor(() => uploads.length === AT_ONCE, { what: 'all uploads', timeoutMs: 60_000 });
        expect((await settledBufferedBytes()) - before).toBeLessThan(MOST_HELD_BYTES);
        for (const read of uploads) read();

        await waitFor(() => mayRead.length === 1, { what: 'all downloads', timeoutMs: 60_000 });
        expect((await settledBufferedBytes()) - before).toBeLessThan(MOST_HELD_BYTES);
        for (const allow of mayRead) allow();

        const all = Array<string>(AT_ONCE).fill(HASH);
        expect(await platform.finished(data.executionId as string, 60_000)).toMatchObject({
          state: 'succeeded',
          output: { sent: all, received: all },
        });
      },
    );
  },
);
