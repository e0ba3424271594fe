import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { startPlatform, type Reply, type TestPlatform } from '../../support/platform.ts';
import { SECRET, SIGNERS, WHSEC, type SignedScheme } from '../../support/signatures.ts';

let database: TestDatabase;
let platform: TestPlatform;

beforeAll(async () => {
  database = await createTestDatabase();
  platform = await startPlatform(database.url, { WEBHOOK_MAX_BODY_BYTES: '65536' });
  await platform.call('PUT', '/api/v1/credentials/plain', { type: 'secret', data: { value: SECRET } });
  await platform.call('PUT', '/api/v1/credentials/whsec', { type: 'secret', data: { value: WHSEC } });
});

afterAll(async () => {
  await platform.stop();
  await database.drop();
});

const workflow = (name: string, webhook: string) => `
name: ${name}
triggers: { hook: { webhook: { ${webhook} } } }
steps: [{ id: echo, transform: trigger.body }]
output: steps.echo.output
`;
const open = (name: string, extra = '') =>
  platform.deploy(workflow(name, `verify: { scheme: none }${extra}`));

const deliveriesOf = async (
  name: string,
): Promise<{ verdict: string; reason: string | null; id: string }[]> => {
  const reply = await platform.call('GET', `/api/v1/deliveries?workflow=${name}&limit=200`);
  expect(reply.status).toBe(200);
  return reply.data.items;
};

/** How many webhooks had an outcome, by the metric that alerts read. */
const counted = (outcome: string, of: TestPlatform = platform): Promise<number> =>
  of.metric('millrace_deliveries_total', { outcome });

const problem = (reply: Reply): unknown => {
  expect(reply.headers.get('content-type')).toContain('application/problem+json');
  return reply.data.code;
};

describe.each(Object.keys(SIGNERS) as SignedScheme[])('a %s request', (scheme) => {
  const name = `signed-${scheme}`;
  const credential = scheme === 'standard-webhooks' ? 'whsec' : 'plain';
  const sign = (body: Buffer, id: string) => SIGNERS[scheme](body, id, Math.floor(Date.now() / 1000));
  let hook: string;

  beforeAll(async () => {
    ({ hook } = await platform.deploy(
      workflow(name, `verify: { scheme: ${scheme}, credential: ${credential} }`),
    ));
  });

  test('with a good signature becomes an execution', async () => {
    const body = Buffer.from(JSON.stringify({ id: 'evt_1', event_id: 'Ev1', n: 1 }));
    const reply = await platform.post(hook, body, sign(body, randomUUID()));
    expect(reply).toMatchObject({ status: 202, data: { duplicate: false } });
    const execution = await platform.finished(reply.data.executionId as string);
    expect(execution).toMatchObject({ state: 'succeeded', output: { n: 1 } });
  });

  test('with one flipped bit is 401, and recorded without its signature', async () => {
    const body = Buffer.from(JSON.stringify({ id: 'evt_2', event_id: 'Ev2' }));
    const headers = sign(body, randomUUID());
    const flipped = Buffer.from(body);
    flipped[5]! ^= 1;
    const before = await counted('rejected');
    const reply = await platform.post(hook, flipped, headers);
    expect(reply.status).toBe(401);
    expect(problem(reply)).toBe('signature_invalid');
    expect(await counted('rejected')).toBe(before + 1);
    const rejected = (await deliveriesOf(name)).find((delivery) => delivery.verdict === 'rejected')!;
    expect(rejected.reason).toBeTruthy();
    const shown = await platform.call('GET', `/api/v1/deliveries/${rejected.id}`);
    for (const value of Object.values(headers)) {
      if (/[0-9a-f]{64}|v1,/.test(value)) expect(shown.text).not.toContain(value);
    }
  });

  test('that is repeated gives the first one’s ids', async () => {
    const body = Buffer.from(JSON.stringify({ id: 'evt_3', event_id: 'Ev3' }));
    const id = randomUUID();
    const outcomes = () => Promise.all(['accepted', 'duplicate'].map((outcome) => counted(outcome)));
    const [accepted, duplicate] = await outcomes();
    const first = await platform.post(hook, body, sign(body, id));
    const again = await platform.post(hook, body, sign(body, id));
    expect(again).toMatchObject({ status: 202, data: { ...first.data, duplicate: true } });
    expect(await outcomes()).toEqual([accepted! + 1, duplicate! + 1]);
  });
});

describe('repetitions', () => {
  test('the same delivery 50 times at once is one execution', async () => {
    const { hook } = await platform.deploy(
      workflow('fifty', 'verify: { scheme: github, credential: plain }'),
    );
    const body = Buffer.from('{"n":50}');
    const headers = SIGNERS.github(body, randomUUID());
    const replies = await Promise.all(Array.from({ length: 50 }, () => platform.post(hook, body, headers)));
    expect(replies.every((reply) => reply.status === 202)).toBe(true);
    expect(replies.filter((reply) => reply.data.duplicate === false)).toHaveLength(1);
    expect(new Set(replies.map((reply) => reply.data.executionId)).size).toBe(1);
    const { data } = await platform.call('GET', '/api/v1/executions?workflow=fifty');
    expect(data.items).toHaveLength(1);
  });

  test('the same id at another endpoint is another execution', async () => {
    const one = await platform.deploy(
      workflow('same-id-one', 'verify: { scheme: github, credential: plain }'),
    );
    const two = await platform.deploy(
      workflow('same-id-two', 'verify: { scheme: github, credential: plain }'),
    );
    const body = Buffer.from('{}');
    const headers = SIGNERS.github(body, randomUUID());
    const replies = await Promise.all([
      platform.post(one.hook, body, headers),
      platform.post(two.hook, body, headers),
    ]);
    expect(replies.map((reply) => reply.data.duplicate)).toEqual([false, false]);
  });

  test('without an id each request counts, unless a key is asked for', async () => {
    const plain = await open('no-key');
    const keyed = await open('keyed', ', dedupe: { key: body.order }');
    const twice = async (hook: string) =>
      [await platform.post(hook, { order: 'o1' }), await platform.post(hook, { order: 'o1' })].map(
        (reply) => reply.data.duplicate as boolean,
      );
    expect(await twice(plain.hook)).toEqual([false, false]);
    expect(await twice(keyed.hook)).toEqual([false, true]);
  });
});

describe('a filter', () => {
  test('lets through what it is true for, and records the rest with the reason', async () => {
    const { hook } = await open('filtered', ', filter: body.kind == "order"');
    const before = await counted('filtered');
    expect((await platform.post(hook, { kind: 'order' })).data.duplicate).toBe(false);
    expect(await platform.post(hook, { kind: 'other' })).toMatchObject({
      status: 202,
      data: { filtered: true },
    });
    expect(await platform.post(hook, {})).toMatchObject({ status: 202, data: { filtered: true } });
    expect(await counted('filtered')).toBe(before + 2);
    const reasons = (await deliveriesOf('filtered')).map(({ verdict, reason }) => [verdict, reason]);
    expect(reasons).toHaveLength(3);
    expect(reasons).toContainEqual(['filtered', 'the filter is false']);
    expect(reasons.some(([, reason]) => reason?.includes('kind'))).toBe(true);
  });

  test('that meets a limit is 422 filter_limit', async () => {
    const { hook } = await open(
      'expensive',
      ', filter: "body.l.map(a, body.l.map(b, body.l.map(c, a + b + c))).size() > 0"',
    );
    const reply = await platform.post(hook, { l: Array.from({ length: 300 }, (_, i) => i) });
    expect(reply.status).toBe(422);
    expect(problem(reply)).toBe('filter_limit');
  });
});

describe('bad input', () => {
  let hook: string;
  beforeAll(async () => {
    ({ hook } = await open('strict'));
  });

  test.each([
    ['a body over the limit', () => platform.post(hook, Buffer.alloc(65_537, 0x20)), 413, 'body_too_large'],
    [
      'a body that inflates over the limit',
      () => platform.post(hook, gzipSync(Buffer.alloc(10_000_000)), { 'content-encoding': 'gzip' }),
      413,
      'body_too_large',
    ],
    [
      'an unknown coding',
      () => platform.post(hook, Buffer.from('{}'), { 'content-encoding': 'br' }),
      415,
      'unsupported_content_encoding',
    ],
    [
      'multipart',
      () => platform.post(hook, Buffer.from('--x--'), { 'content-type': 'multipart/form-data; boundary=x' }),
      415,
      'unsupported_content_type',
    ],
    ['JSON that does not parse', () => platform.post(hook, Buffer.from('{"a":')), 400, 'malformed_json'],
    [
      'JSON nested too deep',
      () => platform.post(hook, Buffer.from('['.repeat(101) + ']'.repeat(101))),
      400,
      'json_too_deep',
    ],
  ] as const)('%s is refused without an execution', async (_what, send, status, code) => {
    const before = (await platform.call('GET', '/api/v1/executions?workflow=strict')).data.items
      .length as number;
    const reply = await send();
    expect(reply.status).toBe(status);
    expect(problem(reply)).toBe(code);
    expect((await platform.call('GET', '/api/v1/executions?workflow=strict')).data.items).toHaveLength(
      before,
    );
  });

  test('gzip within the limit is taken', async () => {
    const reply = await platform.post(hook, gzipSync('{"zipped":true}'), { 'content-encoding': 'gzip' });
    expect(reply.status).toBe(202);
    expect((await platform.finished(reply.data.executionId as string)).output).toEqual({ zipped: true });
  });

  test.each([
    ['an unknown id', () => '/hooks/' + 'f'.repeat(40)],
    ['upper case', () => hook.toUpperCase().replace('/HOOKS', '/hooks')],
    ['a trailing slash', () => `${hook}/`],
    ['an encoded dot', () => `${hook}%2e`],
    ['a double slash', () => hook.replace('/hooks/', '/hooks//')],
    ['a shortened id', () => hook.slice(0, -1)],
  ])('%s is 404', async (_what, path) => {
    const reply = await platform.post(path(), {});
    expect(reply.status).toBe(404);
    problem(reply);
  });

  test('another method is 405 and says which one goes', async () => {
    const reply = await platform.call('GET', hook);
    expect([reply.status, reply.headers.get('allow')]).toEqual([405, 'POST']);
  });

  test.each([
    ['a NUL escape', '{"a":"\\u0000"}'],
    ['a lone surrogate', '{"a":"\\ud800"}'],
    ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0x61, 0x22, 0x3a, 0x22, 0xff, 0x22, 0x7d])],
    ['a byte order mark', '\ufeff{"a":1}'],
    ['a number beyond doubles', '{"a":1e400}'],
    ['a number beyond exact integers', '{"a":9007199254740993}'],
    ['doubled keys', '{"a":1,"a":2,"b":1.0}'],
  ])('%s is kept byte for byte', async (_what, text) => {
    const body = Buffer.from(text as string);
    const reply = await platform.post(hook, body);
    expect(reply.status).toBe(202);
    const raw = await fetch(`${platform.base}/api/v1/deliveries/${reply.data.deliveryId}/body`, {
      headers: { authorization: 'Bearer mr_test_0123456789abcdef0123456789abcdef0123456789abcdef' },
    });
    expect(Buffer.from(await raw.arrayBuffer()).equals(body)).toBe(true);
    await platform.finished(reply.data.executionId as string);
  });

  test('requests that could be read in two ways are 400', async () => {
    const smuggled = [
      'POST HOOK HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      'POST HOOK HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}',
      'POST HOOK HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n{}',
    ];
    for (const text of smuggled) {
      expect(await sendRaw(platform.api.port, text.replace('HOOK', hook))).toMatch(/^HTTP\/1\.1 400 /);
    }
  });

  test('headers that are too large are 431', async () => {
    const text = `POST ${hook} HTTP/1.1\r\nhost: x\r\nx-big: ${'a'.repeat(40_000)}\r\n\r\n`;
    expect(await sendRaw(platform.api.port, text)).toMatch(/^HTTP\/1\.1 431 /);
  });
});

function sendRaw(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    socket.on('data', (chunk) => {
      answer += chunk.toString();
      socket.end();
    });
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });
}

describe('changes', () => {
  test('a disabled workflow’s endpoint is 404 at once and comes back', async () => {
    const { hook, name } = await open('switched');
    expect((await platform.post(hook, {})).status).toBe(202);
    await platform.call('POST', `/api/v1/workflows/${name}/disable`);
    expect((await platform.post(hook, {})).status).toBe(404);
    await platform.call('POST', `/api/v1/workflows/${name}/enable`);
    expect((await platform.post(hook, {})).status).toBe(202);
  });

  test('a new version keeps the endpoint and is live at once', async () => {
    const first = await open('evolving');
    const second = await platform.deploy(workflow('evolving', 'verify: { scheme: none }, filter: "false"'));
    expect(second.hook).toBe(first.hook);
    expect((await platform.post(first.hook, {})).data.filtered).toBe(true);
  });

  test('a changed secret counts at once on the replica that took it', async () => {
    await platform.call('PUT', '/api/v1/credentials/rotated', { type: 'secret', data: { value: SECRET } });
    const { hook } = await platform.deploy(
      workflow('rotating', 'verify: { scheme: github, credential: rotated }'),
    );
    const body = Buffer.from('{}');
    expect((await platform.post(hook, body, SIGNERS.github(body, randomUUID()))).status).toBe(202);
    await platform.call('PUT', '/api/v1/credentials/rotated', {
      type: 'secret',
      data: { value: 'another secret' },
    });
    expect((await platform.post(hook, body, SIGNERS.github(body, randomUUID()))).status).toBe(401);
  });
});

test('a replica that stops takes what still reaches it, and closes the connection after', async () => {
  const other = await startPlatform(database.url, {}, { workers: 0 });
  const { hook } = await other.deploy(workflow('draining', 'verify: { scheme: none }'));
  const text = (body: string, more = '') =>
    `POST ${hook} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${more}content-length: ${body.length}\r\n\r\n${body}`;
  const socket = connect(other.api.port, '127.0.0.1');
  let answers = '';
  socket.on('data', (chunk) => (answers += chunk.toString()));
  socket.write(text('{}'));
  await expect.poll(() => answers).toMatch(/^HTTP\/1\.1 202 /);
  // The second request is under way when the replica is told to stop.
  socket.write(text('{"n":2}', 'expect: 100-continue\r\n').slice(0, -1));
  await expect.poll(() => answers).toContain('100 Continue');
  const stopped = other.stop();
  socket.write('}');
  await expect.poll(() => answers.match(/HTTP\/1\.1 202 /g)?.length).toBe(2);
  expect(answers.toLowerCase()).toContain('connection: close');
  await stopped;
  socket.destroy();
});

test('bodies that would fill the memory are refused before they are read', async () => {
  const other = await startPlatform(database.url, { WEBHOOK_MAX_BODY_BYTES: '67108864' }, { workers: 0 });
  const { hook } = await other.deploy(workflow('heavy', 'verify: { scheme: none }'));
  const head = (length: number) =>
    `POST ${hook} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: ${length}\r\n\r\n`;
  const sockets = Array.from({ length: 5 }, () => connect(other.api.port, '127.0.0.1'));
  const answers = sockets.map(() => '');
  for (const [index, socket] of sockets.entries()) {
    socket.on('data', (chunk) => (answers[index] += chunk.toString()));
    socket.write(head(60_000_000));
    await expect.poll(() => answers[index]).toContain('100 Continue');
  }
  await expect.poll(() => answers[4]).toMatch(/HTTP\/1\.1 503 [\s\S]*retry-after: \d+/i);
  expect(answers.slice(0, 4).some((answer) => answer.includes(' 503 '))).toBe(false);
  for (const socket of sockets.slice(0, 2)) socket.destroy();
  expect(await counted('shed', other)).toBe(1);
  // What the aborted ones held is free again.
  await expect.poll(async () => (await other.post(hook, {})).status).toBe(202);
  for (const socket of sockets) socket.destroy();
  await other.stop();
});

test('more than an endpoint may get in a second is 429, and counted as such', async () => {
  const other = await startPlatform(database.url, { RATE_LIMIT_PER_ENDPOINT: '1' }, { workers: 0 });
  const { hook } = await other.deploy(workflow('limited', 'verify: { scheme: none }'));
  const replies = await Promise.all(Array.from({ length: 10 }, () => other.post(hook, {})));
  const limited = replies.filter(({ status }) => status === 429);
  expect(limited.length).toBeGreaterThan(0);
  expect(problem(limited[0]!)).toBe('rate_limited');
  expect(await counted('limited', other)).toBe(limited.length);
  await other.stop();
});

test('what the database does not take is 503, and counted as failed', async () => {
  const { hook } = await open('refused');
  const admin = new pg.Client({ connectionString: database.url });
  await admin.connect();
  const before = await counted('failed');
  await admin.query('revoke insert on delivery from millrace_ingest');
  try {
    const reply = await platform.post(hook, {});
    expect(reply.status).toBe(503);
    expect(problem(reply)).toBe('storage_unavailable');
  } finally {
    await admin.query('grant insert on delivery to millrace_ingest');
    await admin.end();
  }
  expect(await counted('failed')).toBe(before + 1);
  expect((await platform.post(hook, {})).status).toBe(202);
});
