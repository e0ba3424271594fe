import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { notebookProgram } from '../../core/bundle/notebook.ts';
import { startTestRunner, type RunOptions, type TestRunner } from './runner.fixture.ts';

let runner: TestRunner;
beforeAll(async () => {
  runner = await startTestRunner();
});
afterAll(() => runner.stop());

/** Runs cells as a deployed notebook is run. */
function run(cells: readonly string[], options?: RunOptions): ReturnType<TestRunner['run']> {
  const text = JSON.stringify({
    nbformat: 4,
    cells: cells.map((source) => ({ cell_type: 'code', source })),
  });
  const made = notebookProgram(text, 'reports/analysis.ipynb');
  if (!made.ok) throw new Error(made.problems[0]?.message);
  return runner.run({ 'reports/analysis.ipynb': made.source, 'helper.py': 'V = 7' }, options);
}

describe('a notebook', () => {
  test.each<[string, readonly string[], unknown]>([
    ['the last expression of the last cell', ['x = input["n"]', 'y = x * 2\ny + 1'], 9],
    ['the variable `output`, if it is set', ['output = {"a": input["n"]}', '1 + 1'], { a: 4 }],
    ['`output` even when it is None', ['output = None', '1'], null],
    ['nothing when the last cell ends with a statement', ['1', 'x = 2'], null],
    ['what it awaits', ['import asyncio', 'x = await asyncio.sleep(0, 5)', 'await asyncio.sleep(0, x)'], 5],
    ['what it imports from the workflow', ['import helper', 'helper.V'], 7],
    ['text as it was written', ['x = """é😀\\n\u2028 \\" """', 'x'], 'é😀\n\u2028 " '],
    [
      'what belongs to __main__',
      [
        'import dataclasses, pickle\n@dataclasses.dataclass\nclass P:\n    n: "int"',
        'pickle.loads(pickle.dumps(P(3))).n',
        '[__name__, P(3).n]',
      ],
      ['__main__', 3],
    ],
  ])('gives %s', async (_, cells, output) => {
    expect(await run(cells, { input: { n: 4 } })).toMatchObject({ type: 'result', output });
  });

  test('has ctx, and shows what is displayed in the log', async () => {
    const end = await run(['display("shown", 2)', 'ctx.log.info("logged")\nctx.step.id']);
    expect(end).toMatchObject({
      output: 'score',
      logs: [{ text: 'shown' }, { text: '2' }, { text: 'logged' }],
    });
  });

  test('begins anew each time, in the same process', async () => {
    const cells = ['import os', 'n = globals().get("n", 0) + 1', '[n, os.getpid()]'];
    const first = await run(cells);
    expect(first).toMatchObject({ output: [1, expect.any(Number)] });
    expect(await run(cells)).toMatchObject(first);
  });

  test('names cell and line of an error', async () => {
    const end = await run(['def f(x):\n    return 1 / x', '', 'y = 2\nf(0)']);
    expect(end).toMatchObject({ failure: 'code_error', detail: { name: 'ZeroDivisionError' } });
    const { stack = '' } = end.type === 'failed' ? end.detail : {};
    expect(stack.match(/File .*\n.*/g)).toEqual([
      'File "reports/analysis.ipynb#cell-2", line 2, in <module>\n    f(0)',
      'File "reports/analysis.ipynb#cell-1", line 2, in f\n    return 1 / x',
    ]);
  });

  test('names cell and line of a syntax error, before any cell has run', async () => {
    const end = await run(['print("ran")', 'x = 1\ny = = 2']);
    expect(end).toMatchObject({
      failure: 'syntax_error',
      logs: [],
      detail: { message: expect.stringMatching(/\(reports\/analysis\.ipynb#cell-2, line 2, column 5\)/) },
    });
  });
});
