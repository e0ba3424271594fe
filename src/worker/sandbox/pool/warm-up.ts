import type { PythonProgram } from '../../../core/sandbox/protocol.ts';
import type { Runtime } from '../driver.ts';
import type { Session } from '../session.ts';
import type { Program } from '../types.ts';

const TIMEOUT_MS = 20_000;
const INPUT = 'warm-up';
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

const python: PythonProgram = {
  entry: 'warm_up.py',
  files: { 'warm_up.py': 'def run(ctx, input):\n    return input\n' },
};
const PROGRAMS: Readonly<Record<Runtime, Program>> = {
  javascript: {
    id: 'warm-up',
    runtime: 'javascript',
    entry: 'warm-up.js',
    source: bytes('module.exports = { default: async (ctx, input) => input };\n'),
  },
  python: { id: 'warm-up', runtime: 'python', entry: python.entry, source: bytes(JSON.stringify(python)) },
};

/**
 * Runs a program that does nothing, so that what a runtime loads at first use is there. Only once: runners make slots
 * beyond the first when they are needed, and a spare without them takes a third less memory.
 *
 * @throws when it does not give back what it was given
 */
export async function warmUp(session: Session, runtime: Runtime): Promise<void> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const end = await session.run({
    program: PROGRAMS[runtime],
    payload: {
      input: INPUT,
      context: {
        execution: { id: 'warm-up' },
        workflow: { name: 'warm-up', version: 1 },
        step: { id: 'warm-up', attempt: 1, item: null },
        config: {},
        secrets: {},
        idempotencyKey: 'warm-up',
      },
    },
    maxOutputBytes: 100,
    maxLogBytes: 0,
    isolateProcess: false,
    signal,
    onLog: () => undefined,
    fetch: () => Promise.reject(new Error('a warm-up fetches nothing')),
  });
  if (end.type === 'result' && end.output === INPUT) return;
  throw new Error(
    end.type === 'failed'
      ? `the warm-up failed: ${end.failure}: ${end.detail.message}`
      : 'the warm-up gave back something else',
  );
}
