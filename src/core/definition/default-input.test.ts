import { expect, test } from 'vitest';
import { compileWorkflow } from './compile.ts';
import { defaultInput } from './default-input.ts';
import { parseWorkflow } from './parse.ts';

const parsed = parseWorkflow(`
name: w
triggers: { t: { manual: {} } }
steps:
  - { id: first, code: a.ts }
  - { id: constructor, wait: 1s }
  - { id: one, needs: [first], code: a.ts }
  - { id: two, needs: [constructor, { step: first, when: always }], code: a.ts }
  - { id: each, needs: [first], forEach: steps.first.output, code: a.ts }
  - { id: last, needs: [skipped], code: a.ts }
  - { id: skipped, if: false, wait: 1s }
`);
if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
const workflow = compileWorkflow(parsed.document);
const scope = {
  trigger: { body: { n: 1 } },
  steps: {
    first: { output: [1, 2], state: 'succeeded' },
    constructor: { output: { until: 'then' }, state: 'succeeded' },
    skipped: { output: null, state: 'skipped' },
  },
};
const inputOf = (id: string, more = {}) => {
  const step = workflow.steps.find((candidate) => candidate.id === id);
  if (step === undefined) throw new Error('no such step');
  return defaultInput(step, workflow, { ...scope, ...more });
};

test('a step that needs none gets the trigger', () => {
  expect(inputOf('first')).toEqual({ body: { n: 1 } });
});

test('a step that needs one gets its output', () => {
  expect(inputOf('one')).toEqual([1, 2]);
  expect(inputOf('last')).toBeNull();
});

test('a step that needs several gets an object by step id', () => {
  expect(inputOf('two')).toEqual({ constructor: { until: 'then' }, first: [1, 2] });
  expect(Object.keys(inputOf('two') as object)).toEqual(['constructor', 'first']);
});

test('a step with forEach gets the element', () => {
  expect(inputOf('each', { item: { a: 1 }, index: 0 })).toEqual({ a: 1 });
  expect(inputOf('each', { item: null, index: 0 })).toBeNull();
});

test('outputs that are not there are null', () => {
  expect(inputOf('one', { steps: {} })).toBeNull();
  expect(inputOf('two', { steps: {} })).toEqual({ constructor: null, first: null });
});
