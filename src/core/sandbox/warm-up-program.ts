import type { PythonProgram, RunPayload } from './protocol.ts';

/** A program that gives back what it is given, so that what a runtime loads at first use is there. */
export interface WarmUpProgram {
  readonly id: string;
  readonly entry: string;
  /** As a `program` frame announces it. */
  readonly source: Uint8Array;
}

export const WARM_UP_INPUT = 'warm-up';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const python: PythonProgram = {
  entry: 'warm_up.py',
  files: { 'warm_up.py': 'def run(ctx, input):\n    return input\n' },
};

export const WARM_UP_PROGRAMS: Readonly<Record<'javascript' | 'python', WarmUpProgram>> = {
  javascript: {
    id: 'warm-up',
    entry: 'warm-up.js',
    source: bytes('module.exports = { default: async (ctx, input) => input };\n'),
  },
  python: { id: 'warm-up', entry: python.entry, source: bytes(JSON.stringify(python)) },
};

export const WARM_UP_PAYLOAD: RunPayload = {
  input: WARM_UP_INPUT,
  context: {
    execution: { id: 'warm-up' },
    workflow: { name: 'warm-up', version: 1 },
    step: { id: 'warm-up', attempt: 1, item: null },
    config: {},
    secrets: {},
    idempotencyKey: 'warm-up',
  },
};
/** Of its output: the input as JSON, and room to see that it is something else. */
export const WARM_UP_OUTPUT_BYTES = 100;
