import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { StepLogLine } from '../../../src/core/executions/journal-store.ts';
import { waitFor } from '../../support/wait-for.ts';
import { deployHello, startHello, stepRow, succeed, work } from './fixtures.ts';
import { startTestApi, type Call, type TestApi } from './harness.ts';

const MAX_STREAMS = 3;

let api: TestApi;
let call: Call;
beforeAll(async () => {
  api = await startTestApi({ limits: { maxStreams: MAX_STREAMS } });
  call = api.tenant.call;
  await deployHello(api.tenant, 'hello');
});
afterAll(() => api.close());

const open = new Set<AbortController>();
afterEach(() => {
  for (const controller of open) controller.abort();
  open.clear();
});

interface Stream {
  readonly status: number;
  readonly headers: Headers;
  /** All that has come so far. */
  readonly text: () => string;
  readonly ended: Promise<void>;
  close(): void;
}

async function stream(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Stream> {
  const controller = new AbortController();
  open.add(controller);
  const response = await fetch(api.base + path, {
    headers: { authorization: `Bearer ${api.tenant.key}`, ...headers },
    signal: controller.signal,
  });
  let text = '';
  const decoder = new TextDecoder();
  const read = async (): Promise<void> => {
    for await (const chunk of response.body ?? []) text += decoder.decode(chunk, { stream: true });
  };
  return {
    status: response.status,
    headers: response.headers,
    text: () => text,
    ended: read().catch((error: unknown) => {
      if (!controller.signal.aborted) throw error;
    }),
    close: () => controller.abort(),
  };
}

const eventsOf = (id: string, lastEventId?: string) =>
  stream(
    `/api/v1/executions/${id}/events`,
    lastEventId === undefined ? {} : { 'last-event-id': lastEventId },
  );

function parse(text: string): readonly EventSourceMessage[] {
  const events: EventSourceMessage[] = [];
  createParser({ onEvent: (event) => void events.push(event) }).feed(text);
  return events;
}

const told = (text: string): readonly string[] =>
  parse(text).map(({ event, data }) => {
    const { id, state } = JSON.parse(data) as { id: string; state: string };
    return event === 'step' ? `${id} ${state}` : state;
  });

describe('GET /executions/{id}/events', () => {
  test('tells each change once, and ends with the execution', async () => {
    const id = await startHello(api.tenant, 'hello');
    const events = await eventsOf(id);
    expect(events.headers.get('content-type')).toMatch(/^text\/event-stream/);
    await waitFor(() => told(events.text()).includes('queued'));
    const lease = await work(api, id, {
      steps: [stepRow('greet', { state: 'succeeded', outputJson: '"secret data"' })],
    });
    await waitFor(() => told(events.text()).length === 3);
    await work(
      api,
      id,
      {
        steps: [stepRow('shout', { state: 'succeeded', outputJson: '1' })],
        leaving: { to: 'succeeded', outputJson: '1' },
      },
      lease,
    );
    await events.ended;
    expect(told(events.text())).toEqual([
      'queued',
      'running',
      'greet succeeded',
      'shout succeeded',
      'succeeded',
    ]);
    expect(parse(events.text())[2]).toMatchObject({
      event: 'step',
      data: JSON.stringify({ id: 'greet', state: 'succeeded', attempts: 1 }),
    });
    expect(events.text()).not.toContain('secret data');
  });

  test('goes on after the event that was seen last, on any process', async () => {
    const id = await startHello(api.tenant, 'hello');
    await succeed(api, id);
    const all = await eventsOf(id);
    await all.ended;
    const events = parse(all.text());
    for (const [index, event] of events.slice(0, -1).entries()) {
      const rest = await eventsOf(id, event.id);
      await rest.ended;
      expect(parse(rest.text())).toEqual(events.slice(index + 1));
    }
    // 204 tells an EventSource not to connect again.
    expect((await eventsOf(id, events.at(-1)?.id)).status).toBe(204);
  });

  test('begins anew after an id that is not of this execution', async () => {
    const id = await startHello(api.tenant, 'hello');
    await succeed(api, id);
    for (const odd of ['17', 's', 's.s1', 'q.p0.p0.p0', '%%%']) {
      const events = await eventsOf(id, odd);
      await events.ended;
      expect(told(events.text())).toEqual(['greet succeeded', 'shout succeeded', 'succeeded']);
    }
  });

  test('is 503 beyond the number of streams a process takes, and free again when one leaves', async () => {
    const id = await startHello(api.tenant, 'hello');
    const streams = [];
    for (let n = 0; n < MAX_STREAMS; n++) streams.push(await eventsOf(id));
    const refused = await call('GET', `/api/v1/executions/${id}/events`);
    expect([refused.status, refused.data.code]).toEqual([503, 'unavailable']);
    expect(refused.headers.get('retry-after')).toMatch(/^\d+$/);
    expect((await call('GET', `/api/v1/executions/${id}/logs?follow=true`)).status).toBe(503);
    expect((await call('GET', `/api/v1/executions/${id}/logs`)).status).toBe(200);
    streams[0]?.close();
    const next = await waitFor(async () => {
      const again = await eventsOf(id);
      return again.status === 200 && again;
    });
    expect(next.status).toBe(200);
  });
});

const line = (seq: number, message: string, rest: Partial<StepLogLine> = {}): StepLogLine => ({
  stepId: 'greet',
  item: -1,
  attempt: 1,
  seq,
  atMs: Date.UTC(2026, 0, 31) + seq,
  level: 'info',
  message,
  truncated: false,
  ...rest,
});

describe('GET /executions/{id}/logs', () => {
  const linesOf = (text: string): { message: string }[] =>
    text
      .split('\n')
      .filter((each) => each !== '')
      .map((each) => JSON.parse(each) as { message: string });
  const messages = (text: string): string[] => linesOf(text).map(({ message }) => message);

  test('gives JSON lines in order of time', async () => {
    const id = await startHello(api.tenant, 'hello');
    await work(api, id, {
      logs: [
        line(2, 'second\nwith a break'),
        line(1, 'first', { level: 'warn' }),
        line(3, 'third', { stepId: 'shout', item: 4, attempt: 2 }),
      ],
    });
    const answer = await call('GET', `/api/v1/executions/${id}/logs`);
    expect(answer.headers.get('content-type')).toMatch(/^application\/x-ndjson/);
    expect(linesOf(answer.text)).toEqual([
      {
        time: '2026-01-31T00:00:00.001Z',
        level: 'warn',
        step: 'greet',
        item: null,
        attempt: 1,
        message: 'first',
      },
      expect.objectContaining({ message: 'second\nwith a break' }),
      expect.objectContaining({ step: 'shout', item: 4, attempt: 2, message: 'third' }),
    ]);
  });

  test('gives lines of one step, and only the last ones, if asked to', async () => {
    const id = await startHello(api.tenant, 'hello');
    await work(api, id, {
      logs: [line(1, 'a'), line(2, 'b'), line(3, 'c'), line(4, 'd', { stepId: 'shout' })],
    });
    const get = async (query: string): Promise<string[]> =>
      messages((await call('GET', `/api/v1/executions/${id}/logs?${query}`)).text);
    expect(await get('step=greet')).toEqual(['a', 'b', 'c']);
    expect(await get('step=nobody')).toEqual([]);
    expect(await get('tail=2')).toEqual(['c', 'd']);
    expect(await get('tail=2&step=greet')).toEqual(['b', 'c']);
    expect(await get('tail=0')).toEqual([]);
    for (const query of ['tail=10001', 'tail=-1', 'step=%00', 'follow=1']) {
      expect((await call('GET', `/api/v1/executions/${id}/logs?${query}`)).status).toBe(400);
    }
  });

  test('gives more lines than one query does, each once', async () => {
    const id = await startHello(api.tenant, 'hello');
    const logs = Array.from({ length: 2500 }, (_, n) => line(n, String(n), { item: n % 3 }));
    await work(api, id, { logs });
    const answer = await call('GET', `/api/v1/executions/${id}/logs`);
    expect(messages(answer.text)).toEqual(logs.map(({ message }) => message));
  });

  test('follows until the end, also lines that are recorded late', async () => {
    const id = await startHello(api.tenant, 'hello');
    const lease = await work(api, id, { logs: [line(1, 'old'), line(2, 'known')] });
    const follow = await stream(`/api/v1/executions/${id}/logs?follow=true&tail=1`);
    await waitFor(() => follow.text() !== '');
    // Of a step that ran beside: older than what was read already.
    await work(api, id, { logs: [line(1, 'late', { stepId: 'shout', atMs: 0 }), line(3, 'new')] }, lease);
    await waitFor(() => messages(follow.text()).includes('new'));
    await work(api, id, { logs: [line(4, 'last')], leaving: { to: 'succeeded', outputJson: 'null' } }, lease);
    await follow.ended;
    expect(messages(follow.text())).toEqual(['known', 'late', 'new', 'last']);
  });
});

test('the log comes as server-sent events where they are asked for, and says when it is over', async () => {
  const id = await startHello(api.tenant, 'hello');
  const lease = await work(api, id, { logs: [line(1, 'old')] });
  const accept = { accept: 'text/event-stream' };
  const follow = await stream(`/api/v1/executions/${id}/logs?follow=true`, accept);
  expect(follow.headers.get('content-type')).toMatch(/^text\/event-stream/);
  await waitFor(() => follow.text() !== '');
  await work(
    api,
    id,
    { logs: [line(2, 'a\nbreak')], leaving: { to: 'succeeded', outputJson: 'null' } },
    lease,
  );
  await follow.ended;
  const events = parse(follow.text());
  expect(events.map(({ event }) => event)).toEqual(['log', 'log', 'end']);
  expect(JSON.parse(events[1]!.data)).toMatchObject({ level: 'info', step: 'greet', message: 'a\nbreak' });
  const again = await stream(`/api/v1/executions/${id}/logs?follow=true`, {
    ...accept,
    'last-event-id': events.at(-1)!.id!,
  });
  expect(again.status).toBe(204);
});

test('streams end when the process drains', async () => {
  const other = await startTestApi();
  try {
    await deployHello(other.tenant, 'hello');
    const id = await startHello(other.tenant, 'hello');
    const response = await fetch(`${other.base}/api/v1/executions/${id}/events`, {
      headers: { authorization: `Bearer ${other.tenant.key}` },
    });
    other.stopping.abort();
    expect(await response.text()).toBeTypeOf('string');
  } finally {
    await other.close();
  }
});
