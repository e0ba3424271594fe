import { describe, expect, test } from 'vitest';
import { compileWorkflow, type CompileOptions } from './compile.ts';
import { FULL } from './documents.fixture.ts';
import { parseWorkflow } from './parse.ts';
import type { CompiledStep, CompiledWorkflow } from './types.ts';

function compile(text: string, options?: CompileOptions): CompiledWorkflow {
  const parsed = parseWorkflow(text);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  // As the worker gets it: out of a `json` column.
  return compileWorkflow(JSON.parse(JSON.stringify(parsed.document)) as typeof parsed.document, options);
}

const withStep = (keys: string): CompiledStep => {
  const [step] = compile(
    `name: w\ntriggers: {t: {manual: {}}}\nsteps: [{id: a, transform: "1", ${keys}}]`,
  ).steps;
  if (step === undefined) throw new Error('no step');
  return step;
};

describe('compileWorkflow', () => {
  const workflow = compile(FULL);

  test('keeps the steps in document order, with needs and dependents as indexes', () => {
    expect(workflow.steps.map(({ id, index, kind }) => [index, id, kind])).toEqual([
      [0, 'customer', 'http'],
      [1, 'each_order', 'transform'],
      [2, 'pause', 'wait'],
      [3, 'until-due', 'wait'],
      [4, 'charge', 'http'],
      [5, 'answer', 'respond'],
    ]);
    expect(workflow.steps.map(({ needs }) => needs)).toEqual([
      [],
      [{ index: 0, when: 'success' }],
      [{ index: 1, when: 'always' }],
      [{ index: 2, when: 'success' }],
      [{ index: 3, when: 'success' }],
      [
        { index: 4, when: 'success' },
        { index: 2, when: 'success' },
      ],
    ]);
    expect(workflow.steps.map(({ dependents }) => dependents)).toEqual([[1], [2], [3, 5], [4], [5], []]);
    expect(workflow.stepIndex.get('charge')).toBe(4);
  });

  test('compiles what is evaluated', () => {
    const [, each, , , charge, answer] = workflow.steps;
    const steps = {
      customer: { output: { status: 200, body: { orders: [{ id: 7 }] } } },
      each_order: { output: ['x'] },
      charge: { output: { body: { ok: true } }, state: 'succeeded' },
      'until-due': { output: null },
    };
    const scope = { steps, config: workflow.config, execution: { id: 'e1' }, trigger: {}, workflow: {} };
    expect(each?.if?.evaluate(scope)).toBe(true);
    expect(each?.forEach?.items.evaluate(scope)).toEqual([{ id: 7 }]);
    expect(each?.forEach?.parallelism).toBe(4);
    const item = { ...scope, item: { id: 7 }, index: 0 };
    expect(each?.input?.evaluate(item)).toEqual({ id: 7, at: 0 });
    expect(each?.kind === 'transform' && each.body.value.evaluate(item)).toEqual({
      label: 'order 7 in eu',
      n: 1,
    });
    expect(charge?.kind === 'http' && charge.body.body?.evaluate(scope)).toEqual({ order: ['x'] });
    expect(answer?.kind === 'respond' && answer.body.body?.evaluate(scope)).toEqual({ ok: true });
    expect(workflow.output?.evaluate(scope)).toEqual({ paid: 'succeeded', due: null });
    expect([...(workflow.output?.stepIds ?? [])].sort()).toEqual(['charge', 'until-due']);
  });

  test('compiles triggers', () => {
    const [orders, byHand] = workflow.triggers;
    expect(byHand).toEqual({ type: 'manual', name: 'by-hand' });
    if (orders?.type !== 'webhook' || orders.dedupe.type !== 'key') throw new Error('not as written');
    expect(orders).toMatchObject({
      name: 'orders',
      verify: { scheme: 'stripe', credential: 'stripe-webhook' },
      respond: 'result',
      waitMs: 20_000,
    });
    const scope = {
      body: { id: 'o1', type: 'order.new' },
      headers: { 'x-shop': 's' },
      query: {},
      method: 'POST',
    };
    expect(orders.filter?.evaluate(scope)).toBe(true);
    expect(orders.dedupe.key.evaluate(scope)).toBe('o1:s');
  });

  test.each([
    [
      'verify: {scheme: none}',
      { respond: 'accepted', waitMs: 0, dedupe: { type: 'provider' }, filter: undefined },
    ],
    ['verify: {scheme: none}, dedupe: false', { dedupe: { type: 'off' } }],
    ['verify: {scheme: none}, dedupe: {header: X-Id}', { dedupe: { type: 'header', header: 'x-id' } }],
    ['verify: {scheme: none}, respond: result', { respond: 'result', waitMs: 10_000 }],
    [
      'verify: {scheme: hmac, credential: c, header: X-Sig}',
      { verify: { algorithm: 'sha256', template: '{body}' } },
    ],
  ])('fills in the defaults of webhook: { %s }', (keys, expected) => {
    const { triggers } = compile(`name: w\ntriggers: {t: {webhook: {${keys}}}}\nsteps: [{id: a, wait: 1s}]`);
    expect(triggers[0]).toMatchObject(expected);
  });

  const exponential = { type: 'exponential', initialMs: 2000, maxMs: 30_000 };
  test.each([
    ['', { attempts: 3, backoff: exponential }],
    ['retry: {}', { attempts: 3, backoff: exponential }],
    ['retry: { attempts: 1 }', { attempts: 1, backoff: exponential }],
    [
      'retry: { initial: 1m }',
      { attempts: 3, backoff: { type: 'exponential', initialMs: 60_000, maxMs: 60_000 } },
    ],
    ['retry: { backoff: fixed }', { attempts: 3, backoff: { type: 'fixed', delayMs: 2000 } }],
    ['retry: { backoff: fixed, initial: 5s }', { attempts: 3, backoff: { type: 'fixed', delayMs: 5000 } }],
    ['retry: { backoff: [1s, 1m] }', { attempts: 3, backoff: { type: 'delays', delaysMs: [1000, 60_000] } }],
    ['retry: { backoff: [1s], attempts: 9 }', { attempts: 9, backoff: { type: 'delays', delaysMs: [1000] } }],
    ['atMostOnce: true', { attempts: 1, backoff: exponential }],
  ])('retries %s', (keys, retry) => {
    expect(withStep(keys).retry).toEqual(retry);
  });

  test('takes a constant condition', () => {
    expect(withStep('if: false').if).toMatchObject({ isConstant: true });
    expect(withStep('if: false').if?.evaluate({})).toBe(false);
    expect(withStep('').if).toBeUndefined();
  });

  test('takes the defaults of the installation where the document says nothing', () => {
    const text =
      'name: w\ntriggers: {t: {manual: {}}}\nsteps: [{id: a, wait: 1s}, {id: b, wait: 1s, timeout: 7s}]';
    const given = compile(text, { defaultStepTimeoutMs: 1000, defaultTimeoutMs: 5000 });
    expect([given.timeoutMs, ...given.steps.map(({ timeoutMs }) => timeoutMs)]).toEqual([5000, 1000, 7000]);
    const none = compile(text);
    expect([none.timeoutMs, none.steps[0]?.timeoutMs]).toEqual([3_600_000, 300_000]);
    expect(none.config).toEqual({});
  });

  test('gives out constants that no execution can change for the others', () => {
    const [step] = compile(
      'name: w\ntriggers: {t: {manual: {}}}\nsteps: [{id: a, transform: {b: [1]}}]',
    ).steps;
    const output = step?.kind === 'transform' ? step.body.value.evaluate({}) : undefined;
    expect(output).toEqual({ b: [1] });
    expect(() => Object.assign(output as object, { b: 2 })).toThrow(TypeError);
  });

  test('refuses a document that no longer compiles instead of running something else', () => {
    const parsed = parseWorkflow('name: w\ntriggers: {t: {manual: {}}}\nsteps: [{id: a, transform: "1"}]');
    if (!parsed.ok) throw new Error('bad fixture');
    const broken = { ...parsed.document, output: 'steps.a +' };
    expect(() => compileWorkflow(broken)).toThrow(/no longer compiles: "steps.a \+"/);
  });
});
