import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PROCESS_ENDED } from '../../core/sandbox/protocol.ts';
import { startTestRunner, type TestRunner } from './runner.fixture.ts';

let runner: TestRunner;
beforeAll(async () => {
  runner = await startTestRunner();
});
afterAll(() => runner.stop());

const step = (body: string): string => `def run(ctx, input):\n    ${body.replaceAll('\n', '\n    ')}\n`;

describe('what a step returns', () => {
  test.each<[string, string, unknown]>([
    ['its input as it came', 'return input', { a: [1, 2.5, 'é😀', null, true] }],
    ['a tuple as a list', 'return (1, 2)', [1, 2]],
    ['nothing as null', 'pass', null],
    ['an ordered dict as an object', 'import collections; return collections.OrderedDict(a=1)', { a: 1 }],
    ['the same list twice, which is no cycle', 'a = [1]; return [a, a]', [[1], [1]]],
  ])('gives %s', async (_, body, expected) => {
    const input = { a: [1, 2.5, 'é😀', null, true] };
    expect(await runner.run(step(body), { input })).toMatchObject({ type: 'result', output: expected });
  });

  test('is awaited when `run` is a coroutine function', async () => {
    const source =
      'import asyncio\nasync def run(ctx, input):\n    return await asyncio.gather(*[asyncio.sleep(0, i) for i in range(3)])\n';
    expect(await runner.run(source)).toMatchObject({ type: 'result', output: [0, 1, 2] });
  });

  test.each<[string, string, RegExp]>([
    ['a set', 'return {"a": [1, {2}]}', /^`output\.a\[1\]` is a set, .* sorted/],
    ['bytes', 'return {"body": b"x"}', /^`output\.body` is a bytes, .* base64/],
    ['NaN', 'return [0, float("nan")]', /^`output\[1\]` is nan/],
    ['infinity', 'return {"a b": float("-inf")}', /^`output\['a b'\]` is -inf/],
    ['a key that is no string', 'return {"a": [{2: 3}]}', /^`output\.a\[0\]` has the key 2 of type int/],
    ['a cycle', 'a = {}\na["me"] = [a]\nreturn a', /^`output\.me\[0\]` contains itself/],
    ['a date', 'import datetime; return datetime.date(2026, 1, 2)', /^`output` is a date, .*isoformat/],
    ['a number that JSON readers round', 'return [2**53]', /^`output\[0\]` is an integer beyond/],
    ['a lone surrogate', 'return "\\ud800"', /^`output` holds a lone surrogate/],
    ['a generator', 'return (x for x in [1])', /generator/],
    ['what is nested too deep', 'a = []\nfor _ in range(200): a = [a]\nreturn a', /nested deeper than 100/],
  ])('may not be %s, and the message names the place', async (_, body, message) => {
    const end = await runner.run(step(body));
    expect(end).toMatchObject({
      type: 'failed',
      failure: 'invalid_output',
      detail: { message: expect.stringMatching(message) },
    });
  });

  test('may take exactly as many bytes of JSON as allowed', async () => {
    const source = step('return "é" * input');
    expect(await runner.run(source, { input: 49, maxOutputBytes: 100 })).toMatchObject({ type: 'result' });
    expect(await runner.run(source, { input: 50, maxOutputBytes: 100 })).toMatchObject({
      failure: 'output_too_large',
      detail: { message: expect.stringMatching(/102 bytes, the limit is 100/) },
    });
  });

  test('is refused without being written out when it repeats itself without end', async () => {
    const body = 'a = [1] * 10\nfor _ in range(12): a = [a] * 10\nreturn a';
    expect(await runner.run(step(body))).toMatchObject({ failure: 'output_too_large' });
  });
});

describe('a step that fails', () => {
  test('shows the error with the author’s files and lines only', async () => {
    const end = await runner.run({
      'steps/score.py':
        'import json\nfrom helper import parse\n\ndef run(ctx, input):\n    return parse("{")\n',
      'helper.py': 'import json\n\ndef parse(text):\n    return json.loads(text)\n',
    });
    expect(end).toMatchObject({ failure: 'code_error', detail: { name: 'JSONDecodeError' } });
    const { stack = '' } = end.type === 'failed' ? end.detail : {};
    expect(stack.match(/File "[^"]+", line \d+/g)).toEqual([
      'File "steps/score.py", line 5',
      'File "helper.py", line 4',
    ]);
    expect(stack).toContain('return json.loads(text)');
  });

  test('shows what caused the error, too', async () => {
    const body = 'try: {}["x"]\nexcept KeyError as e: raise ValueError("y") from e';
    const end = await runner.run(step(body));
    expect(end).toMatchObject({ detail: { stack: expect.stringMatching(/KeyError: 'x'[^]*ValueError: y/) } });
  });

  test('names file, line and column of a syntax error', async () => {
    const end = await runner.run({
      'step.py': 'import broken\ndef run(ctx, input): pass\n',
      'broken.py': 'x = 1\ny = = 2\n',
    });
    expect(end).toMatchObject({
      failure: 'syntax_error',
      detail: { message: expect.stringMatching(/invalid syntax \(broken\.py, line 2, column 5\): y = = 2/) },
    });
  });

  test.each([
    ['has no `run`', 'x = 1', 'missing_export', /no function `run`: define `def run\(ctx, input\):`/],
    ['has a `run` that is no function', 'run = 1', 'missing_export', /which is int and no function/],
    [
      'imports what is nowhere',
      'import requests',
      'unresolved_import',
      /'requests'.*requirements\.txt.*millrace deploy/,
    ],
    ['recurses without end', step('return run(ctx, input)'), 'code_error', /recursion/],
    ['calls sys.exit', step('import sys; sys.exit(3)'), 'code_error', /ended its process: sys\.exit\(3\)/],
    [
      'opens files without end',
      step('a = []\nwhile True: a.append(open("/dev/null"))'),
      'resource_limit',
      /limit of 256 open files: .*; close what .*`resources` do not/,
    ],
    [
      'fills a file without end',
      step('f = open("x", "wb")\nwhile True: f.write(b"x" * 10**6)'),
      'resource_limit',
      /limit of 64 MiB for a file: .*; write less, for `resources` do not/,
    ],
    [
      'forks without end',
      step('import os\nwhile True: os.fork()'),
      'resource_limit',
      /limit of 80 threads and processes: .*os\.fork makes none beyond 8; start fewer at a time.*`resources` do not/,
    ],
    [
      'forks without end, whatever it is told',
      step('import os\nwhile True:\n    try: os.fork()\n    except OSError: pass'),
      'resource_limit',
      /limit of processes, 8 for os\.fork, .*start fewer at a time, for `resources` do not/,
    ],
  ])('%s', async (_, source, failure, message) => {
    const end = await runner.run(source);
    expect(end).toMatchObject({ failure, detail: { message: expect.stringMatching(message) } });
  });

  test('takes a module that a present package lacks for the package’s fault, not for a missing package', async () => {
    const end = await runner.run({ 'step.py': 'import helper.nope', 'helper/__init__.py': '' });
    expect(end).toMatchObject({ failure: 'code_error', detail: { name: 'ModuleNotFoundError' } });
  });

  test('says with TerminalError and RetryableError whether it may be tried again', async () => {
    const detail = async (raised: string): Promise<unknown> => {
      const end = await runner.run(step(`raise ctx.${raised}`));
      return end.type === 'failed' ? end.detail : end;
    };
    expect(await detail('TerminalError("no")')).toMatchObject({ name: 'TerminalError', retryable: false });
    expect(await detail('RetryableError("later", retry_after=2.5)')).toMatchObject({
      retryable: true,
      retryAfterMs: 2500,
    });
    expect(await detail('RetryableError("x", retry_after=1e12)')).toMatchObject({ retryAfterMs: 86_400_000 });
    const odd = await detail('RetryableError("x", retry_after="soon")');
    expect(odd).toMatchObject({ retryable: true });
    expect(odd).not.toHaveProperty('retryAfterMs');
  });

  test('cannot break the report with an error that has no text, or too much of it', async () => {
    const silent = 'class E(Exception):\n    def __str__(self): raise ValueError\nraise E';
    expect(await runner.run(step(silent))).toMatchObject({ failure: 'code_error', detail: { name: 'E' } });
    const huge = await runner.run(step('raise ValueError("😀" * 10**6)'));
    expect(huge).toMatchObject({ failure: 'code_error', detail: { name: 'ValueError' } });
  });

  test.each([
    ['os._exit', 'import os; os._exit(7)', /exit code 7/],
    ['a fatal signal', 'import os; os.kill(os.getpid(), 9)', /SIGKILL/],
    ['a crash of the interpreter', 'import ctypes; ctypes.string_at(0)', /SIGSEGV/],
    ['closing all descriptors', 'import os; os.closerange(0, 256)', /ended its process/],
    ['writing to the runner’s socket', 'import os; os.write(3, b"garbage" * 100)', /not its own/],
  ])('by %s, fails alone', async (_, body, message) => {
    const neighbour = runner.run(step('import time; time.sleep(0.3); return "here"'));
    expect(await runner.run(step(body))).toMatchObject({
      failure: 'code_error',
      detail: { name: PROCESS_ENDED, message: expect.stringMatching(message) },
    });
    expect(await neighbour).toMatchObject({ type: 'result', output: 'here' });
  });
});
