import { describe, expect, it } from 'vitest';
import { createJavascriptStackMapper, createPythonStackMapper } from './map-stack.ts';

// Line 2, columns 0 and 8 of the script are lines 12 and 7 of two sources.
const MAP = JSON.stringify({
  version: 3,
  sources: ['steps/score.ts', 'lib/rate.ts'],
  names: [],
  mappings: ';AAWM,QCLN',
});

describe('stacks of JavaScript', () => {
  const map = createJavascriptStackMapper('steps/score.ts', MAP);

  it('name the lines of the author, without frames of others', () => {
    const stack = `TypeError: no rate
    at rate (steps/score.ts:2:10)
    at async Object.<anonymous> (steps/score.ts:2:1)
    at Array.map (<anonymous>)
    at runSlot (file:///runner/slot.js:10:3)
    at node:internal/process/task_queues:105:5`;
    expect(map(stack)).toBe(`TypeError: no rate
    at rate (lib/rate.ts:7:1)
    at <module> (steps/score.ts:12:7)`);
  });

  it.each([
    ['without a map', undefined],
    ['with one that cannot be read', 'nonsense'],
    ['with a hostile one', '{"version":3,"sources":[null],"names":[],"mappings":"AAAA;;;gggggggggggggD"}'],
  ])('name the lines of the bundle %s', (_, text) => {
    expect(createJavascriptStackMapper('a.js', text)('Error: x\n    at f (a.js:3:4)')).toBe(
      'Error: x\n    at f (a.js:3:4)',
    );
  });

  it('keep messages of several lines', () => {
    expect(map('Error: one\ntwo: at most\n    at f (steps/score.ts:2:1)')).toBe(
      'Error: one\ntwo: at most\n    at f (steps/score.ts:12:7)',
    );
  });
});

it('stacks of a notebook name the cell', () => {
  const map = createPythonStackMapper(['report.ipynb']);
  expect(map('  File "report.ipynb#cell-3", line 2, in <module>\nValueError: x')).toBe(
    '  at <module> (report.ipynb#cell-3:2)\nValueError: x',
  );
});

it('stacks of Python name the workflow’s modules, without frames of others', () => {
  const map = createPythonStackMapper(['steps/score.py', 'lib/rate.py']);
  const stack = `Traceback (most recent call last):
  File "/runner/slot.py", line 10, in run_slot
    result = run(ctx, input)
             ^^^^^^^^^^^^^^^
  File "/program/steps/score.py", line 4, in run
    return rate(input)
           ~~~~^^^^^^^
  File "lib/rate.py", line 2, in rate
    raise ValueError("no rate")
ValueError: no rate`;
  expect(map(stack)).toBe(`Traceback (most recent call last):
  at run (steps/score.py:4)
    return rate(input)
  at rate (lib/rate.py:2)
    raise ValueError("no rate")
ValueError: no rate`);
});
