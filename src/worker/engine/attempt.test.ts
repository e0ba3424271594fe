import { expect, test, vi } from 'vitest';
import type { CompiledStep } from '../../core/definition/types.ts';
import type { AttemptContext, Executors } from '../executors/types.ts';
import { runAttempt, type AttemptFacts } from './attempt.ts';

const STEP = { id: 'late', kind: 'code', timeoutMs: 20 } as unknown as CompiledStep; // all that is looked at

/** Runs an attempt that is over in 20 ms, and gives what it logged. */
async function logOf(execute: (context: AttemptContext) => Promise<never>): Promise<readonly unknown[]> {
  const log = vi.fn();
  const executors = {
    code: (_step: unknown, _scope: unknown, context: AttemptContext) => execute(context),
  } as unknown as Executors; // the step is of this kind
  const facts = { log } as unknown as AttemptFacts; // nothing else is used here
  const end = await runAttempt(executors, STEP, {}, facts, new AbortController().signal);
  expect(end).toMatchObject({ type: 'failed', error: { code: 'timeout' } });
  return log.mock.calls.map(([, text, isTruncated]) => [text, isTruncated]);
}

test('an attempt that ends soon after its time is over may finish its log', async () => {
  const log = await logOf(
    (context) =>
      new Promise((_resolve, reject) => {
        context.signal.addEventListener('abort', () => {
          context.log('info', 'the last line');
          reject(new Error('over'));
        });
      }),
  );
  expect(log).toEqual([['the last line', undefined]]);
});

test('one that does not end is cut off, which its log says, and logs nothing more', async () => {
  const contexts: AttemptContext[] = [];
  const log = await logOf((context) => {
    contexts.push(context);
    return new Promise(() => {});
  });
  contexts[0]!.log('info', 'too late');
  expect(log).toEqual([[expect.stringContaining('cut off'), true]]);
});
