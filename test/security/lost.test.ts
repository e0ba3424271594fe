import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sandboxProcesses, type SandboxProcess } from '../support/sandbox-remains.ts';
import { waitFor } from '../support/wait-for.ts';
import { startSecurityPlatform, testAftermath, type SecurityPlatform } from './harness.ts';

let security: SecurityPlatform;
beforeAll(async () => {
  security = await startSecurityPlatform();
}, 180_000);
afterAll(() => security?.stop());

/** Calls `…/begin`, waits, and calls `…/end`; what it gives tells the attempts apart. */
const SOURCES = {
  javascript: `
export default async (ctx, input) => {
  const { body } = await ctx.fetch(input.url + '/begin');
  await body?.cancel();
  console.log('half of it');
  await new Promise((resolve) => setTimeout(resolve, input.ms));
  await ctx.fetch(input.url + '/end');
  return { whole: true, n: input.n };
};
`,
  python: `
import time

def run(ctx, input):
    ctx.fetch(input["url"] + "/begin").bytes()
    print("half of it")
    time.sleep(input["ms"] / 1000)
    ctx.fetch(input["url"] + "/end").bytes()
    return {"whole": True, "n": input["n"]}
`,
} as const;

const LANGUAGES = ['javascript', 'python'] as const;
const KINDS: readonly (readonly [string, (process: SandboxProcess) => boolean])[] = [
  ['all its processes', () => true],
  ['its kernel', ({ command }) => command.some((part) => part.endsWith('runsc-sandbox'))],
  ['its file server', ({ command }) => command.some((part) => part.endsWith('runsc-gofer'))],
  ['its runsc', ({ command }) => command.includes('run')],
];

let tests = 0;

async function startStep(
  language: (typeof LANGUAGES)[number],
  ms: number,
  keys: Record<string, string> = {},
) {
  const path = `/lost-${++tests}`;
  const deployed = await security.deploy(security.tenant, {
    language,
    source: SOURCES[language],
    keys: { egress: [security.around.sinkHost], ...keys },
  });
  const begin = (n: number) => security.start(deployed, { url: security.around.sinkUrl + path, ms, n });
  const count = (name: 'begin' | 'end') =>
    security.sink.entries.filter((entry) => entry.path === `${path}/${name}`).length;
  return { begin, count };
}

/** Ends processes of this test's own worker alone, by their numbers. */
async function killSandboxes(which: (process: SandboxProcess) => boolean): Promise<void> {
  const processes = (await sandboxProcesses(security.stateDirectory)).filter(which);
  expect(processes.length).toBeGreaterThan(0);
  for (const { pid } of processes) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (raw) {
      if ((raw as NodeJS.ErrnoException).code !== 'ESRCH') throw raw;
    }
  }
}

describe.each(LANGUAGES)('X24 %s', (language) => {
  test.each(KINDS)(
    'a step whose sandbox loses %s to SIGKILL runs again, and nothing of the half is kept',
    async (_, which) => {
      const { begin, count } = await startStep(language, 1500);
      const id = await begin(1);
      await waitFor(() => count('begin') === 1, { what: 'the step to begin', timeoutMs: 20_000 });
      await killSandboxes(which);
      const seen = await security.end(security.tenant, id, 60_000);
      expect(seen).toMatchObject({ state: 'succeeded', output: { whole: true, n: 1 }, attempts: 1 });
      expect([count('begin'), count('end')]).toEqual([2, 1]);
      expect(seen.logs.map(({ message }) => message).join('\n')).toMatch(/sandbox was lost/);
    },
    90_000,
  );

  test('two steps that shared a lost sandbox both run again', async () => {
    const { begin, count } = await startStep(language, 1500);
    const ids = await Promise.all([begin(1), begin(2)]);
    await waitFor(() => count('begin') === 2, { what: 'both to begin', timeoutMs: 20_000 });
    await killSandboxes(() => true);
    const seen = await Promise.all(ids.map((id) => security.end(security.tenant, id, 60_000)));
    expect(seen.map(({ output }) => output)).toEqual([
      { whole: true, n: 1 },
      { whole: true, n: 2 },
    ]);
    expect(count('end')).toBe(2);
  }, 90_000);

  test('a step that is alone in two sandboxes that are lost fails, and has no output', async () => {
    const { begin, count } = await startStep(language, 60_000);
    const id = await begin(1);
    for (const n of [1, 2]) {
      await waitFor(() => count('begin') === n, { what: `try ${n} to begin`, timeoutMs: 20_000 });
      await killSandboxes(() => true);
    }
    const seen = await security.end(security.tenant, id, 60_000);
    expect(seen).toMatchObject({ state: 'failed', output: null, error: { code: 'resource_limit' } });
    expect(count('end')).toBe(0);
  }, 90_000);
});

test('X24 a step that may run once only is not run again when its sandbox is lost', async () => {
  const path = '/lost-once';
  const deployed = await security.deploy(security.tenant, {
    language: 'javascript',
    source: SOURCES.javascript,
    keys: { egress: [security.around.sinkHost], atMostOnce: true },
  });
  const id = await security.start(deployed, { url: security.around.sinkUrl + path, ms: 60_000, n: 1 });
  const count = () => security.sink.entries.filter((entry) => entry.path === `${path}/begin`).length;
  await waitFor(() => count() === 1, { what: 'the step to begin', timeoutMs: 20_000 });
  await killSandboxes(() => true);
  const seen = await security.end(security.tenant, id, 60_000);
  expect(seen).toMatchObject({ state: 'failed', output: null, error: { code: 'sandbox_lost' } });
  expect(count()).toBe(1);
}, 90_000);

describe('afterwards', () => testAftermath(() => security));
