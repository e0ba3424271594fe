import assert from 'node:assert/strict';
import type { Actor } from './stage.ts';

/** What a process tells of itself: the sum of all samples whose name (and labels, as they are written) begin so. */
export async function readMetric(actor: Actor, begin: string): Promise<number> {
  return sumOf(await readPage(actor), begin);
}

/** Several at once: some figures start anew with each look. */
export async function readMetrics<N extends string>(
  actor: Actor,
  begins: readonly N[],
): Promise<Readonly<Record<N, number>>> {
  const page = await readPage(actor);
  return Object.fromEntries(begins.map((begin) => [begin, sumOf(page, begin)])) as Record<N, number>; // of each name
}

const readPage = async ({ port }: Actor): Promise<string> =>
  (await fetch(`http://127.0.0.1:${port}/metrics`)).text();

function sumOf(text: string, begin: string): number {
  const lines = text.split('\n').filter((line) => line.startsWith(begin));
  assert.ok(
    lines.length > 0 || text.includes(`# TYPE ${begin.split('{', 1)[0]} `),
    `there is no metric ${begin}`,
  );
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/** Hints with this outcome, so far. */
export const hintsOf = (
  actor: Actor,
  outcome: 'published' | 'failed' | 'dropped' | 'received',
): Promise<number> => readMetric(actor, `millrace_hints_total{outcome="${outcome}"}`);
