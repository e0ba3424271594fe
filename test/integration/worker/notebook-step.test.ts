import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JsonObject } from '../../../src/core/json.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { parseJsonLines } from '../../support/json-lines.ts';
import { startPlatform, type TestPlatform } from '../../support/platform.ts';

let database: TestDatabase;
let platform: TestPlatform;

beforeAll(async () => {
  database = await createTestDatabase();
  platform = await startPlatform(database.url, {
    SANDBOX_DRIVER: 'gvisor',
    SANDBOX_SPARES_JAVASCRIPT: '0',
  });
  await platform.workers[0]!.sandboxes;
}, 180_000);

afterAll(async () => {
  await platform.stop();
  await database.drop();
});

const notebook = (...cells: readonly string[]): string =>
  JSON.stringify({
    nbformat: 4,
    nbformat_minor: 5,
    metadata: { kernelspec: { language: 'python', name: 'python3' } },
    cells: [
      { cell_type: 'markdown', source: ['# Sales\n', 'per region'] },
      ...cells.map((source) => ({ cell_type: 'code', source: source.split(/(?<=\n)/), outputs: [] })),
    ],
  });
let workflows = 0;
const definition = (name: string): string => `
name: ${name}
triggers: { hook: { webhook: { verify: { scheme: none } } } }
steps: [ { id: report, notebook: analysis/report.ipynb, retry: { attempts: 1 } } ]
output: steps.report.output
`;

async function run(
  cells: readonly string[],
  body: JsonObject,
  files: Readonly<Record<string, string>> = {},
): Promise<{ readonly execution: JsonObject; readonly lines: readonly string[] }> {
  const { hook } = await platform.deploy(definition(`notebook-${++workflows}`), {
    'analysis/report.ipynb': notebook(...cells),
    ...files,
  });
  const { data } = await platform.post(hook, body);
  const execution = await platform.finished(data.executionId as string, 60_000);
  const { text } = await platform.call('GET', `/api/v1/executions/${data.executionId as string}/logs`);
  const lines = (parseJsonLines(text) as readonly { readonly message: string }[]).map(
    ({ message }) => message,
  );
  return { execution, lines };
}

describe('a notebook step', () => {
  test('gives the value of its last expression, computed cell by cell in gVisor', async () => {
    const { execution, lines } = await run(
      [
        'import ctypes, helper\nregions = input["body"]["sales"]\nprint("regions:", len(regions))',
        'total = helper.add(regions.values())',
        // klogctl(3): SYSLOG_ACTION_READ_ALL, what dmesg prints.
        'log = ctypes.create_string_buffer(8192)\nctypes.CDLL(None).klogctl(3, log, 8192)',
        '{"total": total, "kernel": log.value.decode()}',
      ],
      { sales: { north: 40, south: 2 } },
      { 'analysis/helper.py': 'def add(numbers):\n    return sum(numbers)\n' },
    );
    expect(execution).toMatchObject({
      state: 'succeeded',
      output: { total: 42, kernel: expect.stringContaining('Starting gVisor') },
    });
    expect(lines).toContain('regions: 2');
  });

  test('gives the variable `output` when there is one', async () => {
    const { execution } = await run(['output = [input["body"]["n"], ctx.step.id]', '"something else"'], {
      n: 1,
    });
    expect(execution).toMatchObject({ state: 'succeeded', output: [1, 'report'] });
  });

  test('names the cell and the line of an error', async () => {
    const { execution } = await run(['x = 1', 'y = 2\nraise ValueError("no such region")'], {});
    expect(execution).toMatchObject({
      state: 'failed',
      error: {
        code: 'code_error',
        step: 'report',
        message: expect.stringMatching(/no such region.*report\.ipynb#cell-2:2/),
      },
    });
  });

  test('is refused when it is saved, with all that is not Python', async () => {
    const name = `notebook-${++workflows}`;
    const { status, data } = await platform.call('PUT', `/api/v1/workflows/${name}`, {
      definition: definition(name),
      files: { 'analysis/report.ipynb': notebook('%matplotlib inline', '!pip install pandas') },
    });
    expect(status).toBe(422);
    expect(data.errors).toMatchObject([
      { code: 'invalid_notebook', message: expect.stringMatching(/cell 1, line 1/) },
      { code: 'invalid_notebook', message: expect.stringMatching(/cell 2, line 1/) },
    ]);
  });
});
