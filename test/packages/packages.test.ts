import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JAVASCRIPT_BUILD_OPTIONS } from '../../src/core/bundle/javascript-target.ts';
import {
  startTestRunner,
  type FakeRequest,
  type FakeResponse,
  type TestRunner,
} from '../../src/runner/javascript/runner.fixture.ts';

const folder = dirname(fileURLToPath(import.meta.url));

/** What each of `steps/` gives. */
const EXPECTED: Readonly<Record<string, unknown>> = {
  ajv: [true, false, 'must be integer'],
  'aws-s3': { body: 'content', keys: ['a', 'b'] },
  axios: { status: 200, method: 'POST', body: { a: 1 } },
  bignumber: '0.3',
  cheerio: ['one', 'two'],
  'csv-parse': [[{ a: '1', b: '2' }], [['a', 'b']]],
  'date-fns': '2024-03-01',
  dayjs: '2024-03-01',
  decimal: '1.4142135624',
  'fast-xml-parser': '<a><b>1</b></a>',
  'form-data': true,
  got: expect.objectContaining({ method: 'POST', body: '{"a":1}' }),
  handlebars: 'Hello &lt;a&gt; b ',
  'iconv-lite': [233, 128],
  joi: '"a" must be greater than or equal to 2',
  jose: [{ sub: 'me' }, { n: 1 }],
  jsonwebtoken: { sub: 'me' },
  jszip: 'content',
  ky: { a: 1 },
  lodash: { a: { b: 1, c: [[1, 2], [3]] } },
  luxon: '2024-02-28T11:00:00.000Z',
  marked: '<h1>Title</h1>\n',
  mathjs: { value: 14, product: [[11]] },
  mustache: 'Hello you',
  nanoid: 21,
  'node-fetch': { status: 200, header: 'b' },
  octokit: { target: 'https://api.github.com/repos/o/r/issues', title: 'bug' },
  openai: 'Hello',
  papaparse: [{ a: 1, b: 2 }],
  'pdf-lib': { head: '%PDF-', pages: 1 },
  qs: 'a[b][0]=1&a[b][1]=2',
  ramda: { odd: 2, even: 1 },
  rxjs: [2, 4],
  semver: true,
  slack: { ok: true, ts: '1.2' },
  slugify: 'apfel-and-birnen',
  stripe: {
    event: 'evt_1',
    target: 'https://api.stripe.com/v1/customers',
    body: 'email=a%40example.com',
  },
  uuid: { valid: true, v5: 'e1407479-3136-56c0-9908-bb02fb0339e2' },
  validator: [true, false],
  yaml: { parsed: { a: [1, { b: 2 }] }, text: 'x:\n  - y\n' },
  zod: { total: 42, bad: false },
};

/** Its own installation, so that what only tests import is no dependency of the project. */
async function install(): Promise<void> {
  const changed = async (path: string): Promise<number> =>
    (await stat(join(folder, path)).catch(() => undefined))?.mtimeMs ?? 0;
  if ((await changed('node_modules/.package-lock.json')) >= (await changed('package-lock.json'))) return;
  await promisify(execFile)('npm', ['ci', '--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund'], {
    cwd: folder,
  });
}

async function bundle(step: string): Promise<string> {
  const { outputFiles } = await build({
    ...JAVASCRIPT_BUILD_OPTIONS,
    // esbuild's lists are not readonly.
    conditions: [...JAVASCRIPT_BUILD_OPTIONS.conditions],
    mainFields: [...JAVASCRIPT_BUILD_OPTIONS.mainFields],
    absWorkingDir: folder,
    entryPoints: [`steps/${step}.mjs`],
    write: false,
    logLevel: 'silent',
  });
  return outputFiles[0]?.text ?? '';
}

const json = (value: unknown): FakeResponse => ({
  headers: [['content-type', 'application/json']],
  body: JSON.stringify(value),
});

/** Stands for all services that the packages call; what it does not know it sends back. */
async function answer(request: FakeRequest): Promise<FakeResponse> {
  const { target, method, headers } = request;
  const body = request.hasBody ? await request.text() : '';
  if (target.includes('/chat/completions')) {
    const parts = ['Hel', 'lo'].map((content) => JSON.stringify({ choices: [{ delta: { content } }] }));
    const events = [...parts, '[DONE]'].map((data) => `data: ${data}\n\n`).join('');
    return { headers: [['content-type', 'text/event-stream']], body: events };
  }
  if (target.includes('slack.com')) return json({ ok: true, ts: '1.2' });
  if (target.includes('amazonaws.com')) {
    if (target.includes('list-type')) {
      const keys = ['a', 'b'].map((key) => `<Contents><Key>${key}</Key></Contents>`).join('');
      return {
        headers: [['content-type', 'application/xml']],
        body: `<ListBucketResult>${keys}</ListBucketResult>`,
      };
    }
    return { body: method === 'GET' ? 'content' : '' };
  }
  return json({ target, method, headers, body });
}

describe('packages in a step', () => {
  let runner: TestRunner;
  beforeAll(async () => {
    await install();
    runner = await startTestRunner();
  }, 600_000);
  afterAll(() => runner.stop());

  it.each(Object.entries(EXPECTED))('run as they are: %s', { timeout: 30_000 }, async (step, expected) => {
    const end = await runner.run(await bundle(step), { fetch: answer });
    expect(end).toMatchObject({ type: 'result', output: expected, slotReplaced: false });
  });
});
