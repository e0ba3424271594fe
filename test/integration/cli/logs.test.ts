import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT } from '../../../src/cli/cli-error.ts';
import { createProgram } from '../../../src/cli/program.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { API_KEY, startPlatform, type TestPlatform } from '../../support/platform.ts';
import { startSink, type Sink } from '../../support/sink.ts';
import { waitFor } from '../../support/wait-for.ts';

let database: TestDatabase;
let sink: Sink;
let platform: TestPlatform;
/** Lets the step go on that asks the sink. */
let release: () => void = () => undefined;

beforeAll(async () => {
  [database, sink] = await Promise.all([
    createTestDatabase(),
    startSink(async () => {
      await new Promise<void>((resolve) => (release = resolve));
      return {};
    }),
  ]);
  platform = await startPlatform(database.url, {
    SANDBOX_DRIVER: 'process',
    EGRESS_ALLOW_PRIVATE: `127.0.0.1:${sink.port}`,
  });
}, 60_000);
afterAll(async () => {
  release();
  await platform?.stop();
  await sink?.close();
  await database?.drop();
});

const WORKFLOW = (): string => `name: talkative
triggers: { t: { webhook: { verify: { scheme: none } } } }
steps:
  - { id: talk, code: steps/talk.js, egress: ["127.0.0.1:${sink.port}"] }
`;
const CODE = (): string => `export default async (ctx) => {
  ctx.log.info('before the call');
  await ctx.fetch('${sink.url}/');
  ctx.log.warn('after the call');
};`;

interface Following {
  readonly lines: readonly string[];
  readonly ended: Promise<unknown>;
}
function follow(...args: readonly string[]): Following {
  const lines: string[] = [];
  const program = createProgram({
    env: { MILLRACE_URL: platform.base, MILLRACE_API_KEY: API_KEY },
    cwd: '/',
    write: (text) => void lines.push(text),
    say: () => undefined,
    readText: () => Promise.reject(new Error('nothing is read')),
  });
  return { lines, ended: program(['logs', ...args]) };
}
const has = ({ lines }: Following, text: string): Promise<unknown> =>
  waitFor(() => lines.some((line) => line.includes(text)), { timeoutMs: 60_000, what: text });

async function start(): Promise<string> {
  const { hook } = await platform.deploy(WORKFLOW(), { 'steps/talk.js': CODE() });
  const { data } = await platform.post(hook, {});
  return data.executionId as string;
}
const stateOf = async (id: string): Promise<unknown> =>
  (await platform.call('GET', `/api/v1/executions/${id}`)).data.state;

describe('millrace logs -f', { timeout: 120_000 }, () => {
  it('prints lines of an execution while its step runs, and ends with it', async () => {
    const calls = sink.entries.length;
    const id = await start();
    const following = follow(id, '-f');

    await has(following, 'before the call');
    await waitFor(() => sink.entries.length > calls, { timeoutMs: 60_000 });
    expect(await stateOf(id)).toBe('running');
    expect(following.lines.join('\n')).not.toContain('after the call');

    release();
    expect(await following.ended).toBe(EXIT.ok);
    expect(following.lines).toEqual([
      expect.stringMatching(/^20\S+Z INFO {2}talk: before the call$/),
      expect.stringMatching(/^20\S+Z INFO {2}talk: GET http.+ answered 200 /),
      expect.stringMatching(/^20\S+Z WARN {2}talk: after the call$/),
    ]);
    // Afterwards they are still there.
    const kept = follow(id);
    await kept.ended;
    expect(kept.lines).toEqual(following.lines);
  });

  it('prints lines of a workflow’s executions, also of those that start later', async () => {
    const following = follow('talkative', '--follow', '-o', 'json');
    const isOver = following.ended.then(
      () => undefined,
      () => undefined, // it ends with the platform
    );
    const calls = sink.entries.length;

    const id = await start();
    await waitFor(() => sink.entries.length > calls, { timeoutMs: 60_000 });
    await waitFor(
      () =>
        following.lines
          .map((line) => JSON.parse(line) as { readonly execution: string; readonly message: string })
          .some((line) => line.execution === id && line.message === 'before the call'),
      { timeoutMs: 60_000, what: 'the line of the new execution' },
    );
    expect(await stateOf(id)).toBe('running');
    release();
    await platform.finished(id, 60_000);
    await platform.stop();
    await isOver;
  });
});
