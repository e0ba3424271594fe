import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RUNBOOKS } from '../../scripts/monitoring/rules.ts';
import { parseWorkflow } from '../../src/core/definition/parse.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';
import { PROJECT_ROOT } from '../support/processes.ts';
import { startSink, type Sink } from '../support/sink.ts';

const run = promisify(execFile);
const example = (file: string): Promise<string> => readFile(join(PROJECT_ROOT, 'examples', file), 'utf8');

let database: TestDatabase;
let platform: TestPlatform;
let sink: Sink;
beforeAll(async () => {
  database = await createTestDatabase();
  sink = await startSink();
  platform = await startPlatform(database.url, { EGRESS_ALLOW_PRIVATE: new URL(sink.url).host });
});
afterAll(async () => {
  await platform.stop();
  await sink.close();
  await database.drop();
});

it('every example is a workflow without problems and warnings, with a README', async () => {
  const files: string[] = [];
  for await (const file of glob('*/workflow.yaml', { cwd: join(PROJECT_ROOT, 'examples') })) files.push(file);
  expect(files.sort()).toEqual([
    'closest-match/workflow.yaml',
    'customer-lookup/workflow.yaml',
    'github-push/workflow.yaml',
    'hello/workflow.yaml',
    'slugs/workflow.yaml',
    'workflow-failing/workflow.yaml',
  ]);
  for (const file of files) {
    expect.soft(parseWorkflow(await example(file)), file).toMatchObject({ ok: true, warnings: [] });
    expect.soft(await example(file.replace('workflow.yaml', 'README.md')), file).toContain('# ');
  }
});

it('the README shows a workflow without problems and warnings', async () => {
  const readme = await readFile(join(PROJECT_ROOT, 'README.md'), 'utf8');
  const [, workflow] = /```yaml\n(.*?)```/s.exec(readme)!;

  expect(parseWorkflow(workflow!)).toMatchObject({ ok: true, warnings: [] });
});

describe('hello', () => {
  it.each([
    ['a name', { name: 'mill' }, 'Hello, mill!'],
    ['no name', {}, 'Hello, world!'],
    ['something that is no object', [1], 'Hello, world!'],
    ['a name that looks like an expression', { name: '${{ 7 * 7 }}' }, 'Hello, ${{ 7 * 7 }}!'],
  ])('greets %s', async (_, body, text) => {
    const { hook } = await platform.deploy(await example('hello/workflow.yaml'));

    const { status, data } = await platform.post(hook, body);

    expect(status).toBe(202);
    expect(await platform.finished(data.executionId)).toMatchObject({ state: 'succeeded', output: { text } });
  });
});

describe('github-push', () => {
  const SECRET = 'a-long-random-secret';
  let url: string;
  beforeAll(async () => {
    await platform.call('PUT', '/api/v1/credentials/github-webhook', {
      type: 'secret',
      data: { value: SECRET },
    });
    const { hook } = await platform.deploy(await example('github-push/workflow.yaml'));
    url = `${platform.base}${hook}`;
  });

  const send = async (...args: readonly string[]) => {
    const script = join(PROJECT_ROOT, 'examples/github-push/send.mjs');
    const result = await run(process.execPath, [script, url, ...args]).catch(
      (raw: unknown) => raw as { readonly stdout: string; readonly stderr: string },
    );
    return { said: result.stderr.trim(), answer: JSON.parse(result.stdout) };
  };

  it('takes in the push that its script signs and sends, and sums it up', async () => {
    const { said, answer } = await send('--secret', SECRET);

    expect(said).toBe('202 Accepted');
    expect(await platform.finished(answer.executionId)).toMatchObject({
      state: 'succeeded',
      output: {
        repository: 'octo-org/hello-world',
        branch: 'main',
        text: 'octo-bot pushed 2 commit(s) to octo-org/hello-world',
        commits: [
          { id: '59b20b8', subject: 'Describe how the wheel turns', files: 1 },
          { id: '7a8f3ac', subject: 'Add the gate and its tests', files: 3 },
        ],
      },
    });
  });

  it('starts nothing for a wrong secret, and once for the same delivery', async () => {
    expect((await send('--secret', 'wrong')).said).toBe('401 Unauthorized');

    const delivery = randomUUID();
    const first = await send('--secret', SECRET, '--delivery', delivery);
    const second = await send('--secret', SECRET, '--delivery', delivery);

    expect(second.answer).toEqual({ ...first.answer, duplicate: true });
  });
});

describe('workflow-failing', () => {
  let hook: string;
  beforeAll(async () => {
    await platform.call('PUT', '/api/v1/credentials/chat', {
      type: 'bearer',
      data: { token: 'the-bot', baseUrl: sink.url },
    });
    ({ hook } = await platform.deploy(await example('workflow-failing/workflow.yaml')));
  });

  const alertOf = async (
    workflow: string,
    ratio: string,
    status = 'firing',
    alertname = 'WorkflowFailing',
  ) => {
    const message = JSON.parse(await example('workflow-failing/alert.json'));
    const [alert] = message.alerts;
    return {
      ...alert,
      status,
      labels: { ...alert.labels, alertname, workflow },
      annotations: { ...alert.annotations, ratio },
    };
  };
  const send = (groupKey: string, ...alerts: readonly Awaited<ReturnType<typeof alertOf>>[]) =>
    platform.post(hook, { version: '4', status: 'firing', groupKey, alerts: [...alerts] });
  const post = async (...alerts: readonly Awaited<ReturnType<typeof alertOf>>[]) => {
    const { data } = await send(randomUUID(), ...alerts);
    return data.filtered === true ? data : platform.finished(data.executionId);
  };

  it('tells the owner of the workflow in the example, with the way to its runbook', async () => {
    const { data } = await platform.post(hook, JSON.parse(await example('workflow-failing/alert.json')));

    expect(await platform.finished(data.executionId)).toMatchObject({
      state: 'succeeded',
      output: { told: ['#shop'] },
    });

    const said = sink.entries.findLast(({ path }) => path === '/chat.postMessage');
    expect(said?.headers).toMatchObject({ authorization: 'Bearer the-bot' });
    const { channel, text } = JSON.parse(String(said?.body)) as {
      readonly channel: string;
      readonly text: string;
    };
    expect(channel).toBe('#shop');
    expect(text).toContain('order-intake: 25% of the executions of order-intake failed within an hour.');
    expect(text).toContain(`How to mend it: ${RUNBOOKS}/WorkflowFailing.md`);
  });

  it('keeps silent below the threshold of each owner, and has a default for all others', async () => {
    expect(
      await post(
        await alertOf('order-intake', '0.019'),
        await alertOf('order-intake', '0.02'),
        await alertOf('nightly-import', '0.4'),
        await alertOf('another', '0.1'),
        await alertOf('another', '0.09'),
        await alertOf('another', '0.9', 'resolved'),
      ),
    ).toMatchObject({ state: 'succeeded', output: { told: ['#shop', '#workflows'] } });
  });

  it('knows workflows of the same name by their tenants', async () => {
    const { labels, ...alert } = await alertOf('order-intake', '0.05');
    expect(await post({ ...alert, labels: { ...labels, tenant: 'shop' } })).toMatchObject({ filtered: true });
    expect(await post({ ...alert, labels })).toMatchObject({ output: { told: ['#shop'] } });
  });

  it('tells of each failing once, however often it hears of it, from when its share is too high', async () => {
    const duplicates: unknown[] = [];
    for (const ratio of ['0.01', '0.03', '0.05']) {
      const { data } = await send('a group', await alertOf('order-intake', ratio));
      duplicates.push(data.filtered ?? data.duplicate);
    }
    const { startsAt: _, ...alert } = await alertOf('order-intake', '0.05');
    const { data } = await send('a group', { ...alert, startsAt: '2026-11-22T09:00:00Z' });
    expect([...duplicates, data.duplicate]).toEqual([true, false, true, false]);
  });

  it.each([
    ['another alert', 'order-intake', '0.5', 'NoWorker'],
    ['what is below the threshold', 'order-intake', '0.019', 'WorkflowFailing'],
    ['what is below the default', 'another', '0.09', 'WorkflowFailing'],
  ])('starts nothing for %s', async (_, workflow, ratio, alertname) => {
    expect(await post(await alertOf(workflow, ratio, 'firing', alertname))).toMatchObject({ filtered: true });
  });
});
